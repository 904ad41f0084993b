//! The mesh's certificate authority: one signs, all of them are believed.
//!
//! Kept sealed in one value of the state, so that several control planes share it; each looks again now and then. A rotation adds a CA
//! that is believed at once and signs after an overlap, when every node has heard of it; the one before vouches for it, and stays
//! believed as long as something that it signed may still be renewed. Source: `spec/control-plane.md` "State" and "Enrolment".

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use identity::certificate::{Error as CertificateError, LIFE, Leaf, Pin, Request};
use runtime::{Clock, Reconciler, Tasks};
use rustls_pki_types::CertificateDer;
use wire::time::WallTime;

use crate::{
    publish::Publisher,
    seal::{self, Seal},
    state::{self, NewEntry, State},
};

mod ring;
mod signer;

pub use ring::RENEWABLE;
use ring::Ring;
pub use signer::{Signer, Signing};

/// The name of the value.
const VALUE: &str = "ca";
/// How many CAs are kept at most: a chain names all of them.
const MOST: usize = 4;
/// How often a change is tried again because another control plane was faster.
const ATTEMPTS: usize = 8;

/// What may differ.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// From a rotation until the new CA signs.
    pub overlap: Duration,
    /// How long a certificate lasts.
    pub life: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            overlap: Duration::from_secs(24 * 3_600),
            life: LIFE,
        }
    }
}

/// The CA of a mesh.
pub struct Ca {
    state: Arc<dyn State>,
    seal: Arc<Seal>,
    clock: Clock,
    config: Config,
    ring: ArcSwap<Ring>,
}

/// Why the CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] seal::Error),
    /// A certificate cannot be made or read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What is stored is no CA.
    #[error("the stored CA is damaged: {0}")]
    Damaged(String),
    /// A rotation is under way.
    #[error("the last rotation's new key does not sign yet: it will from {0}")]
    Rotating(WallTime),
    /// Too many are still needed.
    #[error(
        "{MOST} CA keys are still needed by certificates that may be renewed: rotate again later"
    )]
    Many,
    /// Others keep changing it.
    #[error("another control plane changed the CA at the same time: try again")]
    Contended,
}

impl Ca {
    /// The CA of the mesh; made when there is none.
    ///
    /// # Errors
    /// When it cannot be read, opened or made.
    pub async fn open(
        state: Arc<dyn State>,
        seal: Arc<Seal>,
        clock: Clock,
        config: Config,
    ) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(ring) = load(&*state, &seal).await? {
                return Ok(Self {
                    ring: ArcSwap::from_pointee(ring),
                    state,
                    seal,
                    clock,
                    config,
                });
            }
            let first = Ring::first(WallTime(clock.wall_ms()))?;
            let sealed = seal.seal(VALUE, &first.write())?;
            state.swap_value(VALUE, None, Some(sealed)).await?;
        }
        Err(Error::Contended)
    }

    /// Looks again at what is stored: another control plane may have rotated.
    ///
    /// # Errors
    /// When it cannot be read or opened; what was known stays.
    pub async fn refresh(&self) -> Result<(), Error> {
        if let Some(ring) = load(&*self.state, &self.seal).await? {
            self.ring.store(Arc::new(ring));
        }
        Ok(())
    }

    /// Adds a CA, which signs after the overlap. `who` is for the audit log.
    ///
    /// # Errors
    /// When the last rotation is not complete, or the store fails.
    pub async fn rotate(&self, who: &str) -> Result<WallTime, Error> {
        let now = self.now();
        for _ in 0..ATTEMPTS {
            let before = self.state.value(VALUE).await?;
            let ring = before
                .as_deref()
                .ok_or_else(|| Error::Damaged("it is gone".to_owned()))?;
            let ring = Ring::read(&self.seal.open_value(VALUE, ring)?)?;
            if let Some(from) = ring.signs_next(now) {
                return Err(Error::Rotating(from));
            }
            if ring.roots(now).len() >= MOST {
                return Err(Error::Many);
            }
            let from = now.plus(self.config.overlap);
            let next = ring.rotated(now, from)?;
            let sealed = self.seal.seal(VALUE, &next.write())?;
            if self.state.swap_value(VALUE, before, Some(sealed)).await? {
                let pin = next.newest().pin();
                self.ring.store(Arc::new(next));
                self.state
                    .record(vec![rotated(now, who, pin, from)])
                    .await?;
                return Ok(from);
            }
        }
        Err(Error::Contended)
    }

    /// The pin of the CA that signs now.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.ring.load().signing(self.now()).pin()
    }

    /// Every CA to believe.
    #[must_use]
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.ring.load().roots(self.now())
    }

    /// How long certificates last.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.config.life
    }

    /// A certificate for the key of `request`, and what helps others to believe it: the leaf first.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue(
        &self,
        request: &Request,
        leaf: &Leaf,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let (ring, now) = (self.ring.load(), self.now());
        let mut chain = vec![ring.signing(now).issue(request, leaf)?];
        chain.extend(ring.companions(now));
        Ok(chain)
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }
}

/// Keeps CA and signer up to date as a task of `tasks`: what another control plane rotated, our own certificate's half-life, the name
/// that the first apply gives the mesh.
pub fn keep(ca: Arc<Ca>, signer: Arc<Signer>, publisher: Publisher, clock: &Clock, tasks: &Tasks) {
    let every = Reconciler::new("ca", Duration::from_secs(30));
    let _ = every.start(tasks, clock, move || {
        let (ca, signer, publisher) = (Arc::clone(&ca), Arc::clone(&signer), publisher.clone());
        async move {
            let refreshed = ca.refresh().await;
            let current = publisher.current();
            let mesh = current.topology.as_ref().map(|topology| &topology.mesh);
            if let Err(error) = refreshed.and(signer.keep(mesh, ca.now())) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the CA cannot be read or used; what is known stays"
                );
            }
        }
    });
}

async fn load(state: &dyn State, seal: &Seal) -> Result<Option<Ring>, Error> {
    let Some(sealed) = state.value(VALUE).await? else {
        return Ok(None);
    };
    Ring::read(&seal.open_value(VALUE, &sealed)?).map(Some)
}

fn rotated(at: WallTime, who: &str, pin: Pin, from: WallTime) -> NewEntry {
    NewEntry {
        at,
        who: who.to_owned(),
        action: "rotate".to_owned(),
        target: "keys/ca".to_owned(),
        before: None,
        after: Some(serde_json::json!({ "pin": pin, "signsFrom": from.to_string() })),
        generation: None,
        refused: None,
    }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ca({})", self.pin())
    }
}

#[cfg(test)]
mod tests;
