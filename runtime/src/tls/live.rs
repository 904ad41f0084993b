//! A certificate that lives in memory and is swapped by its owner: the mesh's own, which no file system watches.
//!
//! New handshakes get the new one; connections that stand keep what they began with. It may begin empty: a machine that is yet to be
//! given its certificate listens all the same, and handshakes fail until then.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, Server, Trust};

/// A chain and its key, swapped while listeners serve it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Held>);

#[derive(Debug, Default)]
struct Held(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl Live {
    /// Begins with this pair; the leaf first.
    ///
    /// # Errors
    /// When the key does not belong to the leaf.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let live = Self::default();
        live.swap(chain, key)?;
        Ok(live)
    }

    /// Replaces the pair for every handshake from now on.
    ///
    /// # Errors
    /// When the key does not belong to the leaf; the old pair stays.
    pub fn swap(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), Error> {
        self.0.0.store(Some(Arc::new(certified(chain, key)?)));
        Ok(())
    }

    /// A server that shows it. With `trust`, clients are asked for a certificate, and nobody gets a session to resume.
    pub fn server(&self, trust: Option<Trust>) -> Server {
        Server::over(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>, trust)
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(Error::Unusable)
}
