//! The client's side of TLS between our own processes: a judge instead of public roots, and optionally a certificate to show.
//!
//! The judge sees the chain and decides by it alone: our servers are known by who signed for them, never by host name. There are no
//! sessions to resume: a resumed one would keep the identity of the certificate it began with, so that a rotated certificate needs a new
//! `Client` and gets a full handshake (`reference/dependencies.md` P1).

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::{Error, provider};

/// Says whether a server's chain (the leaf first) is the one wanted, or why not. The server has to prove that it holds the leaf's key;
/// signatures on the chain and expiry are the judge's to check.
pub type Judge = Arc<dyn Fn(&[CertificateDer<'static>]) -> Result<(), String> + Send + Sync>;

/// What a connection to one of our processes needs. Clones share it.
#[derive(Clone)]
pub struct Client {
    pub(crate) config: Arc<ClientConfig>,
}

impl Client {
    /// A client that believes `judge`, and shows `own` (the leaf first) if it has one. Speaks HTTP/2 alone.
    ///
    /// # Errors
    /// When the key does not belong to the leaf.
    pub fn new(
        judge: Judge,
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, Error> {
        let provider = provider();
        let judged = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::Unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Judged { judge, provider }));
        let mut config = match own {
            None => judged.with_no_client_auth(),
            Some((chain, key)) => judged
                .with_client_auth_cert(chain, key)
                .map_err(Error::Unusable)?,
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

struct Judged {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Judged {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<CertificateDer<'static>> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        match (self.judge)(&chain) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(reason) => Err(rustls::Error::General(reason)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
