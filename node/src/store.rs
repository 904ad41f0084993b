//! Blobs and metadata as one store.
//!
//! Called by registry, fill, copy, event and doctor. Knows neither HTTP nor upstreams. The two traits, `blob::Blobs` and
//! `metadata::Metadata`, are where the node meets its disk; `memory_cache` decorates them. Bytes are durable before the
//! transaction that makes them visible.
//!
//! Who works with a content takes a `hold` on it first and looks whether it is there second; then it cannot vanish in between.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use runtime::{Clock, Limit, Tasks};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use wire::{digest::Digest, manifest, repository::RepositoryName, time::WallTime};

mod adopt;
pub mod blob;
mod collect;
mod config;
pub mod error;
mod evict;
mod feed;
mod health;
mod holds;
mod memory_cache;
pub mod metadata;
pub(crate) mod recover;
mod repair;
mod scrub;
mod space;
mod stale;
mod used;
pub mod verify;

pub use config::Config;
pub use error::Error;
pub use health::OPS;
pub use holds::Hold;
pub use memory_cache::CacheStats;
pub use repair::Damage;
pub use space::Reservation;

use blob::{Blobs, Content};
use feed::Feed;
use health::Health;
use holds::Holds;
use memory_cache::{CachedBlobs, CachedMetadata, Key, MemoryCache, Value};
use metadata::Metadata;
use repair::Repair;
use space::Room;
use used::Used;

/// The largest content that is read at once, in bytes: that of a manifest.
pub const READ_AT_ONCE: u64 = manifest::MAX_BYTES as u64;
/// How many contents are read at once at the same time.
const READERS: usize = 16;

/// One node's store. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    blobs: Arc<dyn Blobs>,
    metadata: Arc<dyn Metadata>,
    /// The undecorated ones, for whoever deletes: under their own claim the others would wait for themselves.
    raw_blobs: Arc<dyn Blobs>,
    raw_metadata: Arc<dyn Metadata>,
    cache: MemoryCache,
    holds: Holds,
    repair: Arc<Repair>,
    room: Room,
    /// `storage.gc`.
    gc: bool,
    health: Health,
    used: Used,
    lately: scrub::Lately,
    evicted: Evicted,
    feed: Arc<Feed>,
    clock: Clock,
    readers: Limit,
    /// Cancelled once the store's owner ends.
    ending: CancellationToken,
    /// Held as long as the store is open.
    lock: Option<recover::DirectoryLock>,
}

/// Bytes that left, by reason.
#[derive(Debug, Default)]
struct Evicted {
    full: AtomicU64,
    unreferenced: AtomicU64,
}

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness {
    /// Bytes of all contents.
    pub stored: u64,
    /// Bytes that may be stored: `storage.maxSize`, or what the disk holds; whichever is less.
    pub capacity: u64,
    /// Bytes promised to fills and uploads.
    pub reserved: u64,
    /// Bytes free on the disk.
    pub free: u64,
}

/// What a store is put together from.
struct Parts {
    blobs: Arc<dyn Blobs>,
    metadata: Arc<dyn Metadata>,
    clock: Clock,
    tasks: Tasks,
    max_size: Option<u64>,
    gc: bool,
    memory_cache_bytes: u64,
    lock: Option<recover::DirectoryLock>,
}

impl Parts {
    fn build(self) -> Store {
        let (holds, cache) = (Holds::default(), MemoryCache::new(self.memory_cache_bytes));
        let tasks = self.tasks.child("store");
        let ending = tasks.token();
        let feed = Arc::new(Feed::default());
        let metadata: Arc<dyn Metadata> = Arc::new(CachedMetadata::new(
            Arc::clone(&self.metadata),
            cache.clone(),
            holds.clone(),
            Arc::clone(&feed),
            tasks.clone(),
        ));
        let repair = Arc::new(Repair::new(
            Arc::clone(&self.blobs),
            Arc::clone(&metadata),
            cache.clone(),
            holds.clone(),
            tasks,
        ));
        Store(Arc::new(Inner {
            blobs: Arc::new(CachedBlobs::new(Arc::clone(&repair))),
            metadata,
            raw_blobs: self.blobs,
            raw_metadata: self.metadata,
            cache,
            holds,
            repair,
            room: Room::new(self.max_size),
            gc: self.gc,
            health: Health::default(),
            used: Used::default(),
            lately: scrub::Lately::default(),
            evicted: Evicted::default(),
            feed,
            clock: self.clock,
            readers: Limit::new("store_readers", READERS),
            ending,
            lock: self.lock,
        }))
    }
}

/// A store in memory, for tests of what stands on one. Nothing runs in its background.
#[cfg(any(test, feature = "testing"))]
pub fn memory(clock: Clock) -> Store {
    let blobs = Arc::new(blob::memory::Memory::new(clock.clone()));
    let metadata = Arc::new(metadata::memory::Memory::new());
    over(blobs, metadata, clock)
}

/// A store over these halves, for tests that want to reach behind it. Nothing runs in its background.
#[cfg(any(test, feature = "testing"))]
pub fn over(blobs: Arc<dyn Blobs>, metadata: Arc<dyn Metadata>, clock: Clock) -> Store {
    limited(blobs, metadata, clock, None)
}

/// The same with a `storage.maxSize`.
#[cfg(any(test, feature = "testing"))]
pub fn limited(
    blobs: Arc<dyn Blobs>,
    metadata: Arc<dyn Metadata>,
    clock: Clock,
    max_size: Option<u64>,
) -> Store {
    Parts {
        blobs,
        metadata,
        clock,
        tasks: Tasks::new("store"),
        max_size,
        gc: true,
        memory_cache_bytes: 16 << 20,
        lock: None,
    }
    .build()
}

impl Store {
    /// Contents, with memory in front. A content that turns out damaged or lost when it is opened is taken away and answered as
    /// not there.
    pub fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.0.blobs
    }

    /// Metadata, with memory in front.
    pub fn metadata(&self) -> &Arc<dyn Metadata> {
        &self.0.metadata
    }

    /// Keeps a content from being collected or evicted while the hold lives. Take it before looking whether the content is there.
    pub fn hold(&self, digest: &Digest) -> Hold {
        self.0.holds.hold(digest)
    }

    /// Reserves room before a fill or an upload begins; never waits. `Error::Full` means: `make_room`.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        self.0.room.reserve(bytes)
    }

    /// Reserves room, and makes it where there is none: least recently used closures leave, as few as that takes. `Error::Full` means
    /// that nothing more may leave: stream through without storing.
    pub async fn make_room(&self, bytes: u64) -> Result<Reservation, Error> {
        match self.reserve(bytes) {
            Err(Error::Full) => collect::room_for(self, bytes).await,
            reserved => reserved,
        }
    }

    /// Whether so many bytes could ever be stored, with everything else gone.
    pub fn can_hold(&self, bytes: u64) -> bool {
        self.0.room.can_hold(bytes)
    }

    /// Whether it is `storage.maxSize` that leaves no room for so many bytes: then the store does what it should.
    pub fn exceeds_max_size(&self, bytes: u64) -> bool {
        self.0.room.exceeds_max_size(bytes)
    }

    /// Whether there is room for so many bytes, as of the last look a few seconds ago; nothing is reserved.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.0.room.has(bytes)
    }

    /// Notes that a content was served. Written in batches, later; costs a lock and no I/O.
    pub fn used(&self, repository: &RepositoryName, digest: &Digest) {
        if self.0.used.note(repository, digest) {
            self.0.lately.note(digest);
            self.0.feed.used(digest, self.now());
        }
    }

    /// What reports tell of this store.
    pub(crate) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// Notes that `op` failed: the store counts as degraded until a real write passes again. That it is closed while its owner
    /// ends is no failure.
    pub fn report(&self, op: &'static str, error: &Error) {
        if matches!(error, Error::Closed) && self.0.ending.is_cancelled() {
            return;
        }
        self.0.health.report(op, error);
    }

    /// Why the store counts as degraded; `None` when it works.
    pub fn degraded(&self) -> Option<String> {
        self.0.health.degraded()
    }

    /// Whether something failed since a real write last passed.
    pub fn is_failing(&self) -> bool {
        self.0.health.is_failing()
    }

    /// How often each op failed, for `regmesh_store_errors_total`.
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        self.0.health.errors()
    }

    /// A real write, flush, read and removal in both halves. For `doctor` and for healing.
    pub async fn probe(&self) -> Result<(), Error> {
        health::probe(self.0.blobs.as_ref(), self.0.metadata.as_ref()).await
    }

    /// How the memory cache fares.
    pub fn cache_stats(&self) -> CacheStats {
        self.0.cache.stats()
    }

    /// Reads a content of at most [`READ_AT_ONCE`] bytes, a manifest above all; `None` when it is not there, also when it turned
    /// out damaged just now. From disk it is verified, and then kept in memory.
    pub async fn read_small(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let key = Key::Content(digest.clone());
        if let Some(bytes) = self.0.cache.content(digest) {
            return Ok(Some(bytes));
        }
        let stamp = self.0.cache.stamp(&key);
        let (file, size) = match self.0.blobs.open(digest).await? {
            None => return Ok(None),
            Some(Content::Memory(bytes)) => return Ok(Some(bytes)),
            Some(Content::File(file, size)) => (file, size),
        };
        if size > READ_AT_ONCE {
            let text = format!("{digest} has {size} bytes, too many to read at once");
            return Err(Error::failed(text));
        }
        let permit = self.0.readers.acquire().await;
        let wanted = digest.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            blob::read_verified(file.as_ref(), size, &wanted)
        });
        match read.await {
            Ok(Ok(bytes)) => {
                let value = Value::Content(bytes.clone());
                self.0.cache.insert(key, stamp, value);
                Ok(Some(bytes))
            }
            Ok(Err(Error::Corrupt(what))) => {
                let taken = self.0.repair.rotten(digest, &what).await;
                taken.map(|()| None)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Closed),
        }
    }

    /// Tells of content that is found damaged or lost from now on. Links stay, so the next pull fills it again; who wants it
    /// sooner may listen here.
    pub fn damage(&self) -> broadcast::Receiver<Damage> {
        self.0.repair.listen()
    }

    /// How many contents were found damaged or lost since the start.
    pub fn damaged(&self) -> u64 {
        self.0.repair.count()
    }

    /// Bytes that left since the start, by reason, for `regmesh_evicted_bytes_total`.
    pub fn evicted(&self) -> [(&'static str, u64); 2] {
        let evicted = &self.0.evicted;
        [
            ("full", evicted.full.load(Ordering::Relaxed)),
            ("unreferenced", evicted.unreferenced.load(Ordering::Relaxed)),
        ]
    }

    /// How full the store is, as of the last look a few seconds ago.
    pub fn fullness(&self) -> Fullness {
        let seen = self.0.room.seen();
        let disk = seen.space.total;
        Fullness {
            stored: seen.stored,
            capacity: self.0.room.max_size().unwrap_or(disk).min(disk),
            reserved: seen.reserved,
            free: seen.space.free,
        }
    }

    fn now(&self) -> WallTime {
        WallTime(self.0.clock.steady_ms())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("degraded", &self.degraded())
            .field("lock", &self.0.lock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_ends_is_not_degraded() {
        let clock = Clock::manual(0);
        let tasks = Tasks::new("test");
        let parts = Parts {
            blobs: Arc::new(blob::memory::Memory::new(clock.clone())),
            metadata: Arc::new(metadata::memory::Memory::new()),
            clock,
            tasks: tasks.clone(),
            max_size: None,
            gc: true,
            memory_cache_bytes: 1 << 20,
            lock: None,
        };
        let store = parts.build();
        tasks.cancel();
        store.report("jobs", &Error::Closed);
        assert_eq!(store.degraded(), None);
        store.report("jobs", &Error::ReadOnly);
        assert!(store.degraded().is_some());
    }
}
