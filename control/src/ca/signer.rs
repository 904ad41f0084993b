//! The control plane's own certificate: what its node service shows, and what it signs slices with.
//!
//! The key lives in memory and changes with every certificate. A new one is made at half of its life and when the mesh gets its name;
//! it is nothing that a node remembers, since nodes believe the CA.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use identity::certificate::{self, Key, Leaf, Request, SpiffeId, begins, renew_at};
use runtime::tls::Live;
use rustls_pki_types::CertificateDer;
use wire::{
    api::slice::Envelope,
    generation::Generation,
    name::{MeshName, NodeName},
    time::WallTime,
};

use super::{Ca, Error};

/// The control plane's key and certificate, renewed as needed.
pub struct Signer {
    ca: Arc<Ca>,
    current: ArcSwapOption<Signing>,
    live: ArcSwapOption<Live>,
}

/// A key and the chain that speaks for it.
#[derive(Debug)]
pub struct Signing {
    mesh: MeshName,
    key: Key,
    chain: Vec<CertificateDer<'static>>,
    renew_at: WallTime,
    pin: certificate::Pin,
}

impl Signer {
    /// A signer for `mesh`; before the first apply a mesh is called `unnamed`.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(ca: Arc<Ca>, mesh: Option<&MeshName>, now: WallTime) -> Result<Self, Error> {
        let signer = Self {
            ca,
            current: ArcSwapOption::empty(),
            live: ArcSwapOption::empty(),
        };
        signer.keep(mesh, now)?;
        Ok(signer)
    }

    /// Makes a new certificate when the one at hand is due, of another mesh, or by a CA that no longer signs.
    ///
    /// # Errors
    /// When no certificate can be made; the one at hand stays.
    pub fn keep(&self, mesh: Option<&MeshName>, now: WallTime) -> Result<(), Error> {
        let mesh = mesh.cloned().unwrap_or_else(unnamed);
        let pin = self.ca.pin();
        let fresh = |signing: &Signing| {
            signing.mesh == mesh && signing.pin == pin && now < signing.renew_at
        };
        if self.current.load().as_deref().is_some_and(fresh) {
            return Ok(());
        }
        let signing = Signing::make(&self.ca, mesh, now)?;
        let shown = (signing.chain.clone(), signing.key.to_der());
        match &*self.live.load() {
            Some(live) => live.swap(shown.0, shown.1).map_err(unusable)?,
            None => self.live.store(Some(Arc::new(
                Live::new(shown.0, shown.1).map_err(unusable)?,
            ))),
        }
        self.current.store(Some(Arc::new(signing)));
        Ok(())
    }

    /// What the node service's listener shows.
    #[must_use]
    pub fn live(&self) -> Live {
        let live = self.live.load();
        live.as_deref().expect("new() made one").clone()
    }

    /// Signs a slice.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn sign(
        &self,
        node: &NodeName,
        generation: Generation,
        document: &str,
        now: WallTime,
    ) -> Result<Envelope, Error> {
        let current = self.current.load();
        let signing = current.as_deref().expect("new() made one");
        let what = (&signing.mesh, node, generation);
        Ok(certificate::sign(
            what,
            document,
            now,
            &signing.key,
            &signing.chain,
        )?)
    }
}

impl Signing {
    fn make(ca: &Ca, mesh: MeshName, now: WallTime) -> Result<Self, Error> {
        let key = Key::generate()?;
        let request = Request::read(&key.request("control")?)?;
        let leaf = Leaf {
            id: SpiffeId::Control { mesh: mesh.clone() },
            instance: None,
            hosts: Vec::new(),
            begins: begins(now, None),
            ends: now.plus(ca.life()),
        };
        let chain = ca.issue(&request, &leaf)?;
        Ok(Self {
            mesh,
            renew_at: renew_at(leaf.begins, leaf.ends, rand::random()),
            pin: ca.pin(),
            key,
            chain,
        })
    }
}

fn unnamed() -> MeshName {
    "unnamed".parse().expect("a label")
}

fn unusable(error: runtime::tls::Error) -> Error {
    Error::Damaged(error.to_string())
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({:?})", self.ca)
    }
}
