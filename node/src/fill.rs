//! Fills: one transfer from an upstream per digest and node, whoever asks and however often.
//!
//! Called by registry and copy. Calls upstream and store. A fill belongs to `Tasks` and never to a request, so a client that
//! hangs up stops nothing; every reader, the first one too, follows the growing spool, and a slow one slows nobody. What
//! cannot be stored is streamed through instead of failing. `join` asks nobody for permission: whether a repository may show
//! a digest is `registry/visible.rs`'s to say, and [`Fills::begin`] never joins another repository's fill.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use runtime::{Clock, Limit, Tasks};
use tokio::sync::watch;
use wire::{digest::Digest, repository::RepositoryName, time::WallTime};

use crate::{
    request::Request,
    rule::ActiveRule,
    store::Store,
    upstream::{self, ManifestBody},
};

mod adopt;
pub mod config;
mod error;
mod fetch;
pub mod keep;
mod leftover;
mod link;
mod manifest;
pub(crate) mod observe;
mod range;
mod reader;
mod resume;
mod run;
mod small;
mod spool;
mod table;
#[cfg(test)]
mod tests;
mod through;
mod trust;
#[cfg(test)]
pub(crate) mod world;
mod write;

pub use config::{Config, Hooks};
pub use error::Error;
pub use manifest::ManifestWant;
pub use run::RESULTS;

use fetch::Origin;
use leftover::Leftovers;
use manifest::Manifests;
use spool::{Phase, Spool, State};
use table::{Owner, Table};
use trust::Distrusted;

/// What somebody wants filled, for which repository and under which rule.
#[derive(Debug, Clone)]
pub struct Want {
    /// The content.
    pub digest: Digest,
    /// Its size, where a manifest says it; another size is refused.
    pub size: Option<u64>,
    /// The repository on this node that will be linked to it.
    pub repository: RepositoryName,
    /// The repository at the upstream.
    pub source: RepositoryName,
    /// The rule.
    pub active: Arc<ActiveRule>,
    /// On whose behalf.
    pub request: Request,
}

/// A fill, and whether it was running already.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The fill.
    pub fill: Arc<Fill>,
    /// Whether somebody else had begun it: `collapsed` in `Cache-Status`.
    pub collapsed: bool,
}

/// What is known once the upstream's headers came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The blob's size in bytes.
    pub size: u64,
    /// The upstream's `Cache-Status`.
    pub cache_status: Option<String>,
    /// Whether the store has room for it and takes writes: `stored` in `Cache-Status`.
    pub stores: bool,
    /// Whether it is stored already and only linked: nothing is transferred.
    pub linked: bool,
}

/// All fills of a node. Cheap to clone.
#[derive(Clone)]
pub struct Fills {
    shared: Arc<Shared>,
    manifests: Manifests,
}

/// One transfer. Lives as long as somebody reads it; the transfer itself does not depend on that.
pub struct Fill {
    shared: Arc<Shared>,
    origin: Origin,
    repository: RepositoryName,
    expected: Option<u64>,
    spool: Spool,
}

/// What every fill of a node stands on.
struct Shared {
    config: Config,
    store: Store,
    clock: Clock,
    tasks: Tasks,
    table: Arc<Table>,
    distrusted: Distrusted,
    leftovers: Leftovers,
    reads: Limit,
    writes: Limit,
}

impl Fills {
    /// Joins the fill of `want.digest` or starts it. At its end the content is linked to `want.repository`, so the caller has
    /// made sure that this repository may show it: by the rule's own answer, or because this starts the fill (then the
    /// upstream's answer to the fill is the right). Never waits; when there are too many fills the one returned has failed.
    #[must_use]
    pub fn join(&self, want: Want) -> Joined {
        self.enter(want, |_| true)
            .unwrap_or_else(|want| self.ended(*want, Error::Busy))
    }

    /// Like [`Fills::join`], but gives `want` back when the fill in flight was begun for another repository: then the caller
    /// asks this rule's upstream first (a HEAD) and calls `join`.
    ///
    /// # Errors
    /// The want, when another repository's fill of that digest is in flight.
    pub fn begin(&self, want: Want) -> Result<Joined, Box<Want>> {
        let own = want.repository.clone();
        self.enter(want, |fill| fill.repository == own)
    }

    /// GET of a manifest by digest, shared by all who want it now; verified, not stored.
    ///
    /// # Errors
    /// What the upstream said; `Wrong` when the bytes do not hash to the digest.
    pub async fn manifest(&self, want: ManifestWant) -> Result<ManifestBody, upstream::Error> {
        self.manifests.get(want).await
    }

    /// A manifest that came with the answer to a check, verified: the next [`Fills::manifest`] for it asks nobody.
    pub fn came(&self, want: &ManifestWant, body: ManifestBody) {
        self.manifests.came(want, body);
    }

    /// How many fills are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.table.len()
    }

    /// How many bytes of a content that is on its way are here; `None` when it is not.
    #[must_use]
    pub fn arrived(&self, digest: &Digest) -> Option<u64> {
        self.shared.table.get(digest).map(|fill| fill.spool.front())
    }

    fn enter(&self, want: Want, may_join: impl Fn(&Fill) -> bool) -> Result<Joined, Box<Want>> {
        let owner = Owner {
            repository: want.repository.clone(),
            rule: want.active.rule.name.clone(),
        };
        let digest = want.digest.clone();
        if self.shared.config.recalls.contains(&digest) {
            return Ok(self.ended(want, Error::Recalled(digest)));
        }
        let entered = self
            .shared
            .table
            .enter(&digest, owner, &may_join, || Arc::new(self.fill(&want)));
        match entered {
            table::Entered::Joined(fill) => Ok(Joined {
                fill,
                collapsed: true,
            }),
            table::Entered::Other => Err(Box::new(want)),
            table::Entered::Full => Ok(self.ended(want, Error::Busy)),
            table::Entered::Started(fill, flight) => {
                self.shared
                    .tasks
                    .spawn("fill", run::run(Arc::clone(&fill), flight));
                Ok(Joined {
                    fill,
                    collapsed: false,
                })
            }
        }
    }

    /// A fill that has failed before it began.
    fn ended(&self, want: Want, error: Error) -> Joined {
        let fill = self.fill(&want);
        fill.spool.fail(error);
        Joined {
            fill: Arc::new(fill),
            collapsed: false,
        }
    }

    fn fill(&self, want: &Want) -> Fill {
        Fill {
            shared: Arc::clone(&self.shared),
            origin: Origin {
                active: Arc::clone(&want.active),
                source: want.source.clone(),
                digest: want.digest.clone(),
                request: want.request.clone(),
            },
            repository: want.repository.clone(),
            expected: want.size,
            spool: Spool::new(),
        }
    }
}

impl Fill {
    /// Waits for the upstream's headers, and of a small blob for its verification, so that wrong bytes are a clean error. Of a
    /// digest that was sent wrong lately too, whatever its size: else a client would come back for the tail it missed.
    ///
    /// # Errors
    /// Why there will be no content.
    pub async fn opened(&self) -> Result<Opened, Error> {
        let distrusted = self
            .shared
            .distrusted
            .contains(&self.origin.digest, self.shared.clock.now());
        let state = self.wait(|state| match state.phase {
            Phase::Growing => state.size().is_some_and(|size| !self.is_small(size)) && !distrusted,
            Phase::Verified
            | Phase::Stored
            | Phase::Unstored(_)
            | Phase::Through(..)
            | Phase::Failed(_) => true,
        });
        let state = state.await;
        match (state.phase, state.opened) {
            (Phase::Failed(error), _) => Err(error),
            (_, Some(opened)) => Ok(opened),
            (_, None) => Err(Error::Aborted),
        }
    }

    /// Waits until all bytes were hashed to the digest.
    ///
    /// # Errors
    /// Why they were not; also when this fill is streamed through without storing, where each reader verifies for itself.
    pub async fn verified(&self) -> Result<(), Error> {
        match self
            .wait(|state| !matches!(state.phase, Phase::Growing))
            .await
            .phase
        {
            Phase::Failed(error) => Err(error),
            Phase::Through(_, error) => Err(Error::Store(error)),
            Phase::Growing | Phase::Verified | Phase::Stored | Phase::Unstored(_) => Ok(()),
        }
    }

    /// Waits until the bytes are durable and linked to every repository that joined.
    ///
    /// # Errors
    /// Why they are not.
    pub async fn stored(&self) -> Result<(), Error> {
        match self
            .wait(|state| !matches!(state.phase, Phase::Growing | Phase::Verified))
            .await
            .phase
        {
            Phase::Stored => Ok(()),
            Phase::Failed(error) => Err(error),
            Phase::Through(_, error) | Phase::Unstored(error) => Err(Error::Store(error)),
            Phase::Growing | Phase::Verified => Err(Error::Aborted),
        }
    }

    /// The bytes of `range` (end exclusive, cut to the size) as they arrive, in chunks of at most 1 MiB. The end of the blob
    /// comes only when its digest is confirmed. An error is the last item: the body must be cut there.
    #[must_use]
    pub fn read(self: &Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, Error>> {
        reader::stream(Arc::clone(self), range)
    }

    async fn wait(&self, done: impl FnMut(&State) -> bool) -> State {
        let mut states: watch::Receiver<State> = self.spool.follow();
        match states.wait_for(done).await {
            Ok(state) => state.clone(),
            Err(_) => State::failed(Error::Aborted),
        }
    }

    /// Whether blobs of this size are verified in memory first.
    fn is_small(&self, size: u64) -> bool {
        size <= self.shared.config.small
    }

    /// The offset from which bytes are held back until the digest is confirmed.
    fn held_from(&self, size: u64) -> u64 {
        size.saturating_sub(self.shared.config.hold_back)
    }
}

impl Shared {
    fn now(&self) -> WallTime {
        WallTime(self.clock.steady_ms())
    }

    /// Wrong bytes or a wrong size under a digest: count it, say it, and believe no unverified tail of it for a while.
    fn mismatch(&self, origin: &Origin, error: &Error) {
        let upstream = origin.active.upstream.name();
        tracing::warn!(digest = %origin.digest, rule = %origin.active.rule.name, upstream, %error, "wrong bytes from an upstream");
        (self.config.hooks.mismatch)(upstream);
        self.distrusted.add(&origin.digest, self.clock.now());
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill")
            .field("digest", &self.origin.digest)
            .finish_non_exhaustive()
    }
}
