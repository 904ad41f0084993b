//! What tests of fills and copies stand on: a scripted upstream, a store in memory whose disk can be broken, one rule.
//!
//! The repository `mirror/NAME` is filled from `team/NAME`.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use runtime::{Backoff, Clock, Tasks};
use topology::model::{
    Rule,
    rule::{Authentication, Freshness, Platforms, Referrers, Source, UpstreamRef, WhenGone},
};
use wire::{digest::Digest, repository::RepositoryName};

use super::{Config, Error, Fill, Fills, Hooks, Want};
use crate::{
    request::Request,
    rule::ActiveRule,
    store::{
        self, Store,
        blob::{
            Blobs, Content, ReadAt, Space, Stage, StageInfo, StageName, buffer, memory::Memory,
        },
        metadata,
    },
    upstream::scripted::Scripted,
};

pub(crate) struct World {
    pub(crate) upstream: Arc<Scripted>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) store: Store,
    pub(crate) metadata: Arc<metadata::memory::Memory>,
    pub(crate) fills: Fills,
    pub(crate) active: Arc<ActiveRule>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) mismatches: Arc<AtomicUsize>,
    pub(crate) ends: Arc<Mutex<HashMap<&'static str, usize>>>,
}

/// Small sizes, no delays.
pub(crate) fn config() -> Config {
    Config {
        near: 8 << 10,
        small: 2 << 10,
        hold_back: 1 << 10,
        backoff: Backoff {
            base: Duration::ZERO,
            max: Duration::ZERO,
        },
        disk_patience: Duration::from_secs(5),
        ..Config::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config(), Platforms::Requested, Referrers::OnDemand)
    }

    /// With a `storage.maxSize`.
    pub(crate) fn limited(max_size: u64) -> Self {
        let (platforms, referrers) = (Platforms::Requested, Referrers::OnDemand);
        Self::build(config(), platforms, referrers, Some(max_size))
    }

    pub(crate) fn with(config: Config, platforms: Platforms, referrers: Referrers) -> Self {
        Self::build(config, platforms, referrers, None)
    }

    fn build(
        config: Config,
        platforms: Platforms,
        referrers: Referrers,
        max_size: Option<u64>,
    ) -> Self {
        let clock = Clock::system();
        let disk = Arc::new(Disk::new(&clock));
        let metadata = Arc::new(metadata::memory::Memory::new());
        let store = store::limited(
            Arc::clone(&disk) as Arc<dyn Blobs>,
            Arc::<metadata::memory::Memory>::clone(&metadata),
            clock.clone(),
            max_size,
        );
        let upstream = Scripted::new("origin");
        let rule = Rule {
            name: "mirror".parse().unwrap(),
            source: Source {
                upstream: UpstreamRef::Host("origin".into()),
                repositories: "team/*".parse().unwrap(),
            },
            target: "mirror/*".parse().unwrap(),
            authentication: Authentication::Anonymous,
            freshness: Freshness::default(),
            when_gone: WhenGone::Keep,
            platforms,
            referrers,
            enabled: true,
            origins: Arc::from([]),
        };
        let active = Arc::new(ActiveRule {
            rule: Arc::new(rule),
            upstream: Arc::clone(&upstream) as _,
            state: Arc::default(),
        });
        let (mismatches, ends) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(Mutex::new(HashMap::new())),
        );
        let (count, note) = (Arc::clone(&mismatches), Arc::clone(&ends));
        let hooks = Hooks {
            mismatch: Arc::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            ended: Arc::new(move |_, word| *note.lock().unwrap().entry(word).or_default() += 1),
        };
        let tasks = Tasks::new("test");
        let fills = Config { hooks, ..config }.build(store.clone(), clock.clone(), &tasks);
        Self {
            upstream,
            disk,
            store,
            metadata,
            fills,
            active,
            clock,
            tasks,
            mismatches,
            ends,
        }
    }

    /// Another process over the same store: what was in flight is gone.
    pub(crate) async fn restart(&mut self) {
        self.tasks.abort();
        assert!(self.tasks.drain(Duration::from_secs(10)).await);
        self.tasks = Tasks::new("test");
        self.fills = config().build(self.store.clone(), self.clock.clone(), &self.tasks);
    }

    pub(crate) fn want(&self, digest: &Digest) -> Want {
        Want {
            digest: digest.clone(),
            size: None,
            repository: app(),
            source: source(),
            active: Arc::clone(&self.active),
            request: request(),
        }
    }

    pub(crate) fn fill(&self, digest: &Digest) -> Arc<Fill> {
        self.fills.join(self.want(digest)).fill
    }

    /// Whether the content is stored, whole and linked to `repository`.
    pub(crate) async fn has(&self, repository: &RepositoryName, bytes: &[u8]) -> bool {
        let digest = Digest::sha256(bytes);
        let link = self
            .store
            .metadata()
            .link(repository, &digest)
            .await
            .unwrap();
        let record = self.store.metadata().blob(&digest).await.unwrap();
        let whole = match self.store.blobs().open(&digest).await.unwrap() {
            None => false,
            Some(Content::Memory(stored)) => stored == bytes,
            Some(Content::File(file, size)) => {
                buffer::read_exact(&*file, 0, size as usize).unwrap() == bytes
            }
        };
        link.is_some() && record.is_some_and(|record| record.size == bytes.len() as u64) && whole
    }

    /// Whether the digest is nowhere to be seen.
    pub(crate) async fn has_nothing_of(&self, digest: &Digest) -> bool {
        self.store.blobs().open(digest).await.unwrap().is_none()
            && self.store.metadata().blob(digest).await.unwrap().is_none()
            && self
                .store
                .metadata()
                .link(&app(), digest)
                .await
                .unwrap()
                .is_none()
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn idle(&self) {
        within(async {
            while self.fills.in_flight() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) fn ended(&self, word: &str) -> usize {
        self.ends.lock().unwrap().get(word).copied().unwrap_or(0)
    }
}

pub(crate) fn app() -> RepositoryName {
    "mirror/app".parse().unwrap()
}

pub(crate) fn other() -> RepositoryName {
    "mirror/other".parse().unwrap()
}

pub(crate) fn source() -> RepositoryName {
    "team/app".parse().unwrap()
}

pub(crate) fn request() -> Request {
    Request {
        info: Arc::default(),
        trace: runtime::telemetry::TraceContext::fresh(),
        hops: wire::hops::Hops::default(),
        no_cache: false,
        only_stored: false,
        began: None,
    }
}

/// Bytes that no slice of them repeats early.
pub(crate) fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    next.take(length).collect::<Vec<u8>>().into()
}

/// Everything until the end, and the error if that is how it ends.
pub(crate) async fn read(
    fill: &Arc<Fill>,
    range: std::ops::Range<u64>,
) -> (Vec<u8>, Option<Error>) {
    let mut stream = fill.read(range);
    let (mut bytes, mut error) = (Vec::new(), None);
    while let Some(item) = within(stream.next()).await {
        match item {
            Ok(piece) => {
                assert!(error.is_none() && piece.len() <= 1 << 20);
                bytes.extend_from_slice(&piece);
            }
            Err(end) => error = Some(end),
        }
    }
    (bytes, error)
}

pub(crate) async fn read_all(fill: &Arc<Fill>) -> (Vec<u8>, Option<Error>) {
    read(fill, 0..u64::MAX).await
}

/// Fails the test instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it does not hang")
}

/// How the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// No file can be made.
    Stage,
    /// Flushing fails.
    Commit,
    /// The code panics.
    Panic,
}

/// A disk in memory that can be full, read-only or broken.
pub(crate) struct Disk {
    pub(crate) inner: Memory,
    left: Arc<AtomicU64>,
    fault: Mutex<Fault>,
}

impl Disk {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            inner: Memory::new(clock.clone()),
            left: Arc::new(AtomicU64::new(u64::MAX)),
            fault: Mutex::default(),
        }
    }

    /// Only so many bytes can be written from now on.
    pub(crate) fn leave(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn is(&self, fault: Fault) -> bool {
        *self.fault.lock().unwrap() == fault
    }
}

/// A stage on that disk.
struct Limited {
    inner: Arc<dyn Stage>,
    left: Arc<AtomicU64>,
}

impl ReadAt for Limited {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
}

impl Stage for Limited {
    fn name(&self) -> &StageName {
        self.inner.name()
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(bytes.len() as u64);
        let taken = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        self.inner.write_at(bytes, offset)
    }
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.inner.truncate(length)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[async_trait]
impl Blobs for Disk {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, store::Error> {
        self.inner.size(digest).await
    }
    async fn open(&self, digest: &Digest) -> Result<Option<Content>, store::Error> {
        assert!(!self.is(Fault::Panic), "as the test wants");
        self.inner.open(digest).await
    }
    async fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, store::Error> {
        if self.is(Fault::Stage) {
            return Err(store::Error::ReadOnly);
        }
        let inner = self.inner.stage(name).await?;
        Ok(Arc::new(Limited {
            inner,
            left: Arc::clone(&self.left),
        }))
    }
    async fn commit(
        &self,
        stage: Arc<dyn Stage>,
        digest: &Digest,
        size: u64,
    ) -> Result<(), store::Error> {
        if self.is(Fault::Commit) {
            self.inner.discard(stage.name()).await?;
            return Err(store::Error::failed("the flush failed"));
        }
        self.inner.commit(stage, digest, size).await
    }
    async fn discard(&self, name: &StageName) -> Result<(), store::Error> {
        self.inner.discard(name).await
    }
    async fn stages(&self) -> Result<Vec<StageInfo>, store::Error> {
        // As from a pool of threads: others get on meanwhile.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.inner.stages().await
    }
    async fn delete(&self, digest: &Digest) -> Result<bool, store::Error> {
        self.inner.delete(digest).await
    }
    async fn quarantine(&self, digest: &Digest) -> Result<bool, store::Error> {
        self.inner.quarantine(digest).await
    }
    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, store::Error> {
        self.inner.list(after, limit).await
    }
    async fn space(&self) -> Result<Space, store::Error> {
        self.inner.space().await
    }
}
