//! Certificates for listeners, swapped while running.
//!
//! A `Server` is what a listener needs: a rustls configuration whose certificate is looked up per handshake, and a reconciler that
//! reads the two files again when they change. A pair that cannot be read or does not match keeps the old one in force, since
//! files are replaced one after the other. Client certificates are asked for only when somebody can judge them; one that the judge
//! does not know counts as none, so an agent or browser with a certificate of its own still gets in as a stranger.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, pki_types};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::clock::Clock;
use crate::reconcile::Reconciler;
use crate::tasks::Tasks;

mod client_certificate;

/// Plaintext that one connection buffers before its writer waits (`reference/dependencies.md` 4.1).
pub const BUFFER_LIMIT: usize = 1 << 20;

/// Says whether a client's chain (the leaf first) is one of ours. Called once per connection, after the client has proved that it
/// holds the leaf's key; expiry and revocation are the judge's to check.
pub type Trust = Arc<dyn Fn(&[CertificateDer<'static>]) -> bool + Send + Sync>;

/// Where the certificate is.
#[derive(Clone)]
pub struct Config {
    /// PEM, the leaf first, then its intermediates.
    pub certificate: PathBuf,
    /// PEM, PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// How often the files are looked at.
    pub reload: Duration,
    /// Who judges client certificates; without it none is asked for.
    pub trust: Option<Trust>,
}

/// What a listener needs to speak TLS. Clones share the certificate.
#[derive(Clone)]
pub struct Server {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) trust: Option<Trust>,
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not the PEM it should be.
    #[error("{path} holds no usable {what}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What the parser said.
        source: pki_types::pem::Error,
    },
    /// The key does not belong to the certificate, or its kind is not supported.
    #[error("the certificate and its private key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// Makes aws-lc-rs the process's cryptography. Call it first in `main` and in tests; more than once does no harm.
pub fn install_crypto() {
    // An error means that one is installed, and nothing else is linked.
    let _ = aws_lc_rs::default_provider().install_default();
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Config {
    /// A pair of files looked at every five seconds; no client certificates.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            reload: Duration::from_secs(5),
            trust: None,
        }
    }

    /// Reads the certificate and starts watching it as a task of `tasks`. Blocks for two small files.
    pub fn build(self, tasks: &Tasks, clock: &Clock) -> Result<Server, Error> {
        let current = Arc::new(Current(ArcSwap::from_pointee(self.load()?)));
        let server = Server::over(
            Arc::clone(&current) as Arc<dyn ResolvesServerCert>,
            self.trust.clone(),
        );
        self.watch(current, tasks, clock);
        Ok(server)
    }

    fn load(&self) -> Result<CertifiedKey, Error> {
        pair(&read(&self.certificate)?, &read(&self.key)?).map_err(|error| match error {
            Unusable::Certificate(source) => self.pem(&self.certificate, "certificate", source),
            Unusable::Key(source) => self.pem(&self.key, "private key", source),
            Unusable::Pair(source) => Error::Unusable(source),
        })
    }

    fn pem(&self, path: &Path, what: &'static str, source: pki_types::pem::Error) -> Error {
        let path = path.to_owned();
        Error::Pem { path, what, source }
    }

    fn watch(self, current: Arc<Current>, tasks: &Tasks, clock: &Clock) {
        let config = Arc::new(self);
        let blocking = tasks.clone();
        let mut seen = config.stamp();
        let reconciler = Reconciler::new("tls-reload", config.reload);
        reconciler.start(tasks, clock, move || {
            let stamp = config.stamp();
            let changed = std::mem::replace(&mut seen, stamp) != seen;
            let (config, current) = (Arc::clone(&config), Arc::clone(&current));
            let blocking = blocking.clone();
            async move {
                if changed {
                    let reload =
                        blocking.spawn_blocking("tls-read", move || config.reload(&current));
                    let _ = reload.await;
                }
            }
        });
    }

    fn reload(&self, current: &Current) {
        match self.load() {
            Ok(pair) => {
                current.0.store(Arc::new(pair));
                tracing::info!(certificate = %self.certificate.display(), "certificate reloaded");
            }
            // The other file of the pair is about to change too, or somebody must look.
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                certificate = %self.certificate.display(),
                "the changed certificate cannot be used; the old one stays in force"
            ),
        }
    }

    /// What changes when a file does. Two calls of `stat`, on local disk: not worth a hop to another thread.
    fn stamp(&self) -> [Option<(std::time::SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

impl Server {
    /// A server with a fixed pair of PEM texts, which nobody reloads: for tests and generated certificates.
    pub fn fixed(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let pair = pair(certificate, key).map_err(|error| match error {
            Unusable::Certificate(source) => Error::Pem {
                path: PathBuf::new(),
                what: "certificate",
                source,
            },
            Unusable::Key(source) => Error::Pem {
                path: PathBuf::new(),
                what: "private key",
                source,
            },
            Unusable::Pair(source) => Error::Unusable(source),
        })?;
        Ok(Self::over(
            Arc::new(Current(ArcSwap::from_pointee(pair))),
            None,
        ))
    }

    fn over(certificate: Arc<dyn ResolvesServerCert>, trust: Option<Trust>) -> Self {
        let provider = provider();
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs knows TLS 1.2 and 1.3");
        let mut config = match &trust {
            None => versions.with_no_client_auth(),
            Some(_) => versions.with_client_cert_verifier(client_certificate::verifier(&provider)),
        }
        .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if trust.is_some() {
            // A resumed session would keep the identity of the certificate it began with, past expiry and revocation.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Self {
            config: Arc::new(config),
            trust,
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asks = self.trust.is_some();
        f.debug_struct("Server")
            .field("asks_for_client_certificates", &asks)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

enum Unusable {
    Certificate(pki_types::pem::Error),
    Key(pki_types::pem::Error),
    Pair(rustls::Error),
}

fn pair(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, Unusable> {
    let chain = certificates(certificate).map_err(Unusable::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(Unusable::Key)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(Unusable::Pair)
}

/// Every certificate of a PEM text; none is an error.
pub(crate) fn certificates(
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, pki_types::pem::Error> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(pki_types::pem::Error::NoItemsFound);
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(zeroize::Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn write(config: &Config, (certificate, key): &(String, String)) {
        std::fs::write(&config.certificate, certificate).unwrap();
        std::fs::write(&config.key, key).unwrap();
    }

    fn in_force(current: &Current) -> CertificateDer<'static> {
        current.0.load().cert[0].clone()
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_mismatched_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
        write(&config, &self_signed());
        let current = Current(ArcSwap::from_pointee(config.load().unwrap()));
        let first = in_force(&current);

        let next = self_signed();
        std::fs::write(&config.certificate, &next.0).unwrap();
        config.reload(&current);
        assert_eq!(
            in_force(&current),
            first,
            "the new certificate with the old key"
        );
        std::fs::write(&config.key, &next.1).unwrap();
        config.reload(&current);
        assert_ne!(in_force(&current), first);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let missing = config.load().unwrap_err();
        assert!(missing.to_string().contains("cert.pem"), "{missing}");
        write(&config, &("no pem".to_owned(), self_signed().1));
        let garbage = config.load().unwrap_err();
        assert!(
            garbage
                .to_string()
                .ends_with("cert.pem holds no usable certificate"),
            "{garbage}"
        );
        assert!(Server::fixed(self_signed().0.as_bytes(), self_signed().1.as_bytes()).is_err());
    }

    #[test]
    fn installing_twice_does_no_harm() {
        install_crypto();
        install_crypto();
    }
}
