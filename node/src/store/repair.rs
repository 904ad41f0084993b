//! What happens when stored content turns out damaged or lost, whoever finds it: a read, the memory cache, the scrubber.
//!
//! Damaged bytes go to quarantine, a record without bytes goes; links stay, so that the next pull fills the content again. Both
//! are told to whoever listens (events, refills) and counted. Nothing is deleted here because of an error: only because bytes were
//! read whole and hash to something else, or because the file system says clearly that there are none.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use runtime::Tasks;
use tokio::sync::broadcast;
use wire::digest::Digest;

use super::{
    Error,
    blob::Blobs,
    holds::Holds,
    memory_cache::{MemoryCache, Touched},
    metadata::{Metadata, Op},
};

/// How many reports a listener may be behind before it misses some.
const REPORTS: usize = 64;

/// A content that was found damaged or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which.
    pub digest: Digest,
    /// What was found, for people.
    pub what: String,
}

/// Takes damage away. One per store.
pub(crate) struct Repair {
    /// The undecorated ones.
    pub(super) blobs: Arc<dyn Blobs>,
    /// The decorated ones, so that what is repaired is seen everywhere.
    pub(super) metadata: Arc<dyn Metadata>,
    pub(super) cache: MemoryCache,
    pub(super) holds: Holds,
    pub(super) tasks: Tasks,
    reports: broadcast::Sender<Damage>,
    count: AtomicU64,
}

impl Repair {
    pub(crate) fn new(
        blobs: Arc<dyn Blobs>,
        metadata: Arc<dyn Metadata>,
        cache: MemoryCache,
        holds: Holds,
        tasks: Tasks,
    ) -> Self {
        Self {
            blobs,
            metadata,
            cache,
            holds,
            tasks,
            reports: broadcast::Sender::new(REPORTS),
            count: AtomicU64::new(0),
        }
    }

    /// How much was found since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Damage> {
        self.reports.subscribe()
    }

    /// Bytes that hash to something else.
    pub(crate) async fn rotten(&self, digest: &Digest, what: &str) -> Result<(), Error> {
        tracing::error!(%digest, what, "stored content is damaged and was quarantined");
        let (blobs, wanted) = (Arc::clone(&self.blobs), digest.clone());
        self.removal(digest, async move { blobs.quarantine(&wanted).await })
            .await?;
        self.forget(digest, what).await
    }

    /// A record whose bytes seem not to be there. Not while somebody holds it: a fill may be about to commit it.
    pub(crate) async fn lost(&self, digest: &Digest) -> Result<(), Error> {
        if self.metadata.blob(digest).await?.is_none() {
            return Ok(());
        }
        let Some(_claim) = self.holds.claim(digest) else {
            return Ok(());
        };
        if self.blobs.size(digest).await?.is_some() {
            return Ok(());
        }
        tracing::error!(%digest, "stored content is missing; the next pull fills it again");
        self.forget(digest, "its file is missing").await
    }

    async fn forget(&self, digest: &Digest, what: &str) -> Result<(), Error> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let damage = Damage {
            digest: digest.clone(),
            what: what.to_owned(),
        };
        // Nobody may be listening.
        let _ = self.reports.send(damage);
        let gone = Op::DeleteBlob(digest.clone());
        self.metadata.commit(vec![gone]).await
    }

    /// Runs a removal of `digest` to its end, whoever waits for it, and then moves its stamps.
    pub(crate) async fn removal<T, F>(&self, digest: &Digest, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let touched: Touched = self.cache.touched_content(digest);
        let cache = self.cache.clone();
        let run = self.tasks.spawn("remove content", async move {
            let result = work.await;
            cache.moved(&touched);
            result
        });
        run.await.unwrap_or(Err(Error::Closed))
    }
}
