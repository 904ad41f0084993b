//! Certificates for listeners, swapped while running.
//!
//! A `Server` is what a listener needs: a rustls configuration whose certificate is looked up per handshake, and a reconciler that
//! reads the two files again when they change. A pair that cannot be read or does not match keeps the old one in force, since
//! files are replaced one after the other. `Live` is the same for a certificate in memory, `Client` the other end of both. Client certificates are asked for only when somebody can judge them; one that the judge
//! does not know counts as none, so an agent or browser with a certificate of its own still gets in as a stranger.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

mod client;
mod client_certificate;
mod live;

pub use client::{Client, Judge};
pub use live::Live;

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
        let seen = self.fingerprint();
        let current = Arc::new(Current::new(self.load()?, seen));
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
        let reconciler = Reconciler::new("tls-reload", config.reload);
        reconciler.start(tasks, clock, move || {
            let (config, current) = (Arc::clone(&config), Arc::clone(&current));
            let look = blocking.spawn_blocking("tls-read", move || config.reload(&current));
            // Should the look panic, the next turn looks again.
            async move { drop(look.await) }
        });
    }

    /// A file that changes between the fingerprint and the load is seen as changed again at the next turn.
    fn reload(&self, current: &Current) {
        let found = self.fingerprint();
        if current.seen.swap(found, Ordering::Relaxed) == found {
            return;
        }
        match self.load() {
            Ok(pair) => {
                current.pair.store(Arc::new(pair));
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

    /// What changes when the files do: their content, since two writes within one tick of the file system's clock look alike.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in [&self.certificate, &self.key] {
            read(path).ok().as_deref().hash(&mut hasher);
        }
        hasher.finish()
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
        Ok(Self::over(Arc::new(Current::new(pair, 0)), None))
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
struct Current {
    pair: ArcSwap<CertifiedKey>,
    /// The fingerprint of the files last looked at, usable or not.
    seen: AtomicU64,
}

impl Current {
    fn new(pair: CertifiedKey, seen: u64) -> Self {
        Self {
            pair: ArcSwap::from_pointee(pair),
            seen: AtomicU64::new(seen),
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.load_full())
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
mod tests;
