//! Whom outgoing TLS trusts: the platform's authorities, and a client's own in addition.
//!
//! The platform's are read at the first handshake that needs them and then shared: a node with plain upstreams never loads them, a
//! machine without any still makes clients (and its handshakes say what is missing), and a hundred clients hold one copy. They are
//! read once; who changes the machine's authorities restarts the process.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;

static PLATFORM: OnceLock<Result<Verifier, Error>> = OnceLock::new();

/// A client configuration that offers HTTP/2 and HTTP/1.1 and trusts the platform and `extra`.
pub(super) fn client_config(extra: Vec<CertificateDer<'static>>) -> ClientConfig {
    let provider = crate::tls::provider();
    let trust = Arc::new(Trust {
        provider: Arc::clone(&provider),
        extra,
        own: OnceLock::new(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs knows TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

#[derive(Debug)]
struct Trust {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    /// Of a client with authorities of its own.
    own: OnceLock<Result<Verifier, Error>>,
}

impl Trust {
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
        self.verifier()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
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
