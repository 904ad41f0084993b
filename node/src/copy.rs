//! Copies: what a pulled manifest needs becomes complete here, without a client and across restarts.
//!
//! Called by registry. Calls fill, upstream, store, event. Serving a manifest from an upstream records a durable job in the
//! transaction that stores the manifest; workers take jobs in order of their due time, fetch what is missing, and commit
//! children before parents, the tag last, with the events, in one transaction. Decisions are pure: `closure` (what is
//! missing), `job` (when to try again), `commit` (what changes).

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use runtime::{Backoff, Clock, Limit, Nudge, Reconciler, Tasks};
use wire::{
    digest::Digest, name::RuleName, platform::Platform, reference::Tag, repository::RepositoryName,
    time::WallTime,
};

use crate::{
    event::Recorder,
    fill::Fills,
    request::Request,
    rule::{ActiveRule, Rules},
    store::{self, Store, metadata::ManifestRecord},
};

mod attempt;
pub mod closure;
pub mod commit;
pub mod describe;
mod gather;
pub mod job;
mod owed;
mod record;
mod referrer;
mod stall;
#[cfg(test)]
mod tests;
mod transfer;
mod widen;
mod worker;

pub use worker::RESULTS;

pub(crate) use gather::is_here;

/// How many repositories' changes can be under way at once, roughly.
const GATES: usize = 64;
/// How many jobs are counted at most.
const COUNTED: usize = 100_000;

/// How copies behave.
#[derive(Clone)]
pub struct Config {
    /// Jobs at once.
    pub workers: usize,
    /// Transfers at once for one job.
    pub transfers: usize,
    /// The delays between tries of a job that fails; it is tried for ever.
    pub backoff: Backoff,
    /// After how many failures a `copy_failed` event is recorded.
    pub alarm: u32,
    /// Who counts `regmesh_copies_total{rule,result}`: `stored`, `waiting` or `failed`.
    pub ended: Arc<Ended>,
}

/// Takes the rule and the word for how a try ended.
pub type Ended = dyn Fn(&RuleName, &'static str) + Send + Sync;

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 4,
            transfers: 4,
            backoff: Backoff {
                base: Duration::from_secs(1),
                max: Duration::from_secs(300),
            },
            alarm: 5,
            ended: Arc::new(|_, _| {}),
        }
    }
}

/// A manifest that came from an upstream and is about to be served.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The repository on this node.
    pub repository: RepositoryName,
    /// The rule.
    pub active: Arc<ActiveRule>,
    /// The manifest's bytes as they came, verified.
    pub bytes: Bytes,
    /// What they say.
    pub manifest: Arc<ManifestRecord>,
    /// The tag it was pulled by.
    pub tag: Option<Observed>,
    /// Its platform, where an index names one; looked up when this is `None`.
    pub platform: Option<Platform>,
    /// On whose behalf.
    pub request: Request,
}

/// An observation of a tag at an upstream.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The tag.
    pub tag: Tag,
    /// When the origin was known to agree.
    pub checked_at: WallTime,
    /// When the observation began.
    pub observed_at: WallTime,
}

/// The copies of a node. Cheap to clone.
#[derive(Clone)]
pub struct Copies(Arc<Inner>);

struct Inner {
    config: Config,
    store: Store,
    fills: Fills,
    rules: Arc<ArcSwap<Rules>>,
    events: Recorder,
    clock: Clock,
    tasks: Tasks,
    workers: Limit,
    /// Jobs that are being worked on.
    running: Mutex<HashSet<(RepositoryName, Digest)>>,
    /// Jobs that the store let down, and arrivals that it did not take.
    stalls: stall::Stalls,
    owed: owed::Owed,
    /// What the copies of each rule take along, as far as it was caught up with.
    scopes: Mutex<HashMap<RuleName, widen::Scope>>,
    /// Reading what is there and changing it accordingly is one step for a repository.
    gates: Vec<tokio::sync::Mutex<()>>,
    queue: AtomicUsize,
    /// Before this wall time, in milliseconds, there is nothing to do.
    next_due: AtomicI64,
    nudge: Mutex<Option<Nudge>>,
    widen: Mutex<Option<Nudge>>,
}

impl Config {
    /// Starts the workers; jobs that an earlier process recorded go on.
    pub fn build(
        self,
        store: Store,
        fills: Fills,
        rules: Arc<ArcSwap<Rules>>,
        events: Recorder,
        clock: Clock,
        tasks: &Tasks,
    ) -> Copies {
        let tasks = tasks.child("copy");
        let copies = Copies(Arc::new(Inner {
            workers: Limit::new("copy-jobs", self.workers),
            config: self,
            store,
            fills,
            rules,
            events,
            clock: clock.clone(),
            tasks: tasks.clone(),
            running: Mutex::default(),
            stalls: stall::Stalls::default(),
            owed: owed::Owed::default(),
            scopes: Mutex::default(),
            gates: (0..GATES).map(|_| tokio::sync::Mutex::default()).collect(),
            queue: AtomicUsize::new(0),
            next_due: AtomicI64::new(i64::MIN),
            nudge: Mutex::default(),
            widen: Mutex::default(),
        }));
        let worker = copies.clone();
        let nudge =
            Reconciler::new("copy", Duration::from_secs(1)).start(&tasks, &clock, move || {
                let worker = worker.clone();
                async move { worker.turn().await }
            });
        let widener = copies.clone();
        let every = Duration::from_secs(5);
        let widen = Reconciler::new("copy-scope", every).start(&tasks, &clock, move || {
            let widener = widener.clone();
            async move { widener.widen().await }
        });
        *copies
            .0
            .widen
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(widen);
        let payer = copies.clone();
        let _ =
            Reconciler::new("copy-owed", Duration::from_secs(1)).start(&tasks, &clock, move || {
                let payer = payer.clone();
                async move { payer.pay().await }
            });
        *copies
            .0
            .nudge
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(nudge);
        copies
    }
}

impl Copies {
    /// Stores a manifest and what it was pulled as, with a job for what it needs: bytes first, then one transaction. Called
    /// before the client's response ends. An unchanged manifest that is complete here makes no job.
    ///
    /// # Errors
    /// Why it could not be made durable; the manifest can be served all the same.
    pub async fn record(&self, arrival: Arrival) -> Result<(), store::Error> {
        record::record(self, arrival).await
    }

    /// The tag of this manifest was checked: what its copy lacked is asked for again, at most every 10 seconds.
    pub async fn wanted(&self, repository: &RepositoryName, digest: &Digest) {
        if let Err(error) = record::wanted(self, repository, digest).await {
            self.0.store.report("job", &error);
        }
    }

    /// How many jobs there are, those included that only wait for something the upstream lacks.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        self.0.queue.load(Ordering::Relaxed)
    }

    /// Jobs that are being worked on now.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.running().len()
    }

    /// Whether the copy of this manifest is being worked on now.
    #[must_use]
    pub fn is_running(&self, repository: &RepositoryName, root: &Digest) -> bool {
        self.running().contains(&(repository.clone(), root.clone()))
    }

    /// Other rules are in force: jobs may go on, and a rule may ask for more.
    pub fn rules_changed(&self) {
        let widen = self.0.widen.lock().unwrap_or_else(PoisonError::into_inner);
        widen.iter().for_each(Nudge::nudge);
        self.nudge();
    }

    /// Looks at the jobs now: one was recorded.
    pub fn nudge(&self) {
        self.0.next_due.store(i64::MIN, Ordering::SeqCst);
        let nudge = self.0.nudge.lock().unwrap_or_else(PoisonError::into_inner);
        nudge.iter().for_each(Nudge::nudge);
    }

    fn scopes(&self) -> std::sync::MutexGuard<'_, HashMap<RuleName, widen::Scope>> {
        self.0.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> WallTime {
        WallTime(self.0.clock.steady_ms())
    }

    async fn gate(&self, repository: &RepositoryName) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % GATES as u64).unwrap_or(0);
        self.0.gates[index].lock().await
    }

    /// Sets the gauge right: exactly when there are few jobs, by a real count when there are more than it says.
    async fn count(&self, seen: usize, limit: usize) {
        if seen < limit {
            self.0.queue.store(seen, Ordering::Relaxed);
        } else if self.queue_length() < limit {
            match self.0.store.metadata().jobs(COUNTED).await {
                Ok(jobs) => self.0.queue.store(jobs.len(), Ordering::Relaxed),
                Err(error) => self.0.store.report("jobs", &error),
            }
        }
    }

    fn job_came(&self) {
        self.0.queue.fetch_add(1, Ordering::Relaxed);
    }

    fn job_went(&self) {
        let less = |queue: usize| Some(queue.saturating_sub(1));
        // Cannot fail: the closure always answers.
        let _ = self
            .0
            .queue
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}
