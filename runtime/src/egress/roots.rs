//! Whom outgoing TLS trusts: the platform's authorities, and a client's own in addition; and what it shows.
//!
//! The platform's are read at the first handshake that needs them and then shared: a node with plain upstreams never loads them, a
//! machine without any still makes clients (and its handshakes say what is missing), and a hundred clients hold one copy. They are
//! read once; who changes the machine's authorities restarts the process. A server that may be one of our own processes is judged by
//! who signed for it first, and like any other where that says no; there are no sessions to resume then, for a resumed one would keep
//! the identity of the certificate it began with (`reference/dependencies.md` P1).

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;

use crate::tls::Judge;

static PLATFORM: OnceLock<Result<Verifier, Error>> = OnceLock::new();

/// For a server that may be one of our own processes. Clones share it.
#[derive(Clone)]
pub struct Mutual {
    /// Whom to believe beside the platform's authorities and the client's own; it alone looks at who the server is.
    pub judge: Judge,
    /// A chain, the leaf first, and its key, shown to a server that asks.
    pub shown: Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl fmt::Debug for Mutual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutual").finish_non_exhaustive()
    }
}

/// A client configuration that offers HTTP/2 and HTTP/1.1 and trusts the platform and `extra`, and whom `mutual` believes.
pub(super) fn client_config(
    extra: Vec<CertificateDer<'static>>,
    mutual: Option<&Mutual>,
) -> Result<ClientConfig, Error> {
    let provider = crate::tls::provider();
    let trust = Arc::new(Trust {
        provider: Arc::clone(&provider),
        extra,
        mutual: mutual.cloned(),
        own: OnceLock::new(),
    });
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(trust);
    let mut config = match mutual {
        None => trusting.with_no_client_auth(),
        Some(mutual) => {
            let (chain, key) = &*mutual.shown;
            trusting.with_client_auth_cert(chain.clone(), key.clone_key())?
        }
    };
    if mutual.is_some() {
        config.resumption = Resumption::disabled();
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Trust {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    mutual: Option<Mutual>,
    /// Of a client with authorities of its own.
    own: OnceLock<Result<Verifier, Error>>,
}

impl Trust {
    /// Why the server is none of ours; `None` when nobody asked.
    fn foreign(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<ServerCertVerified, Option<String>> {
        let mutual = self.mutual.as_ref().ok_or(None)?;
        let chain: Vec<CertificateDer<'static>> = std::iter::once(leaf)
            .chain(others)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        (mutual.judge)(&chain).map_err(Some)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verifier(&self) -> Result<&Verifier, Error> {
        let verifier = if self.extra.is_empty() {
            PLATFORM.get_or_init(|| Verifier::new(Arc::clone(&self.provider)))
        } else {
            self.own.get_or_init(|| {
                Verifier::new_with_extra_roots(
                    self.extra.iter().cloned(),
                    Arc::clone(&self.provider),
                )
            })
        };
        verifier.as_ref().map_err(Error::clone)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let reason = match self.foreign(end_entity, intermediates) {
            Ok(believed) => return Ok(believed),
            Err(reason) => reason,
        };
        let verified = self.verifier().and_then(|verifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
        // Which of the two reasons counts depends on whose server it is, which nobody knows.
        verified.map_err(|error| match reason {
            Some(reason) => Error::General(format!("{error}; {reason}")),
            None => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
