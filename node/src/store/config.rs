//! A store of one node, opened and kept in order: its directory, its limits, and the reconcilers that work beside the serving.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use runtime::{Clock, Nudge, Reconciler, Tasks, file::Files};
use tokio::sync::Mutex;

use super::{
    Error, Parts, Store,
    adopt::Adopt,
    collect::{self, Collect},
    metadata::Op,
    recover::{self, Opened},
    scrub::Scrub,
    stale,
};

/// Where a store is and how it is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's directory: made when it is not there, locked while the store is open.
    pub path: PathBuf,
    /// `storage.maxSize` in bytes.
    pub max_size: Option<u64>,
    /// What the memory cache may weigh in bytes.
    pub memory_cache_bytes: u64,
    /// `storage.scrub`: within which time everything is hashed once.
    pub scrub: Duration,
    /// `storage.gc`: whether anything is ever deleted.
    pub gc: bool,
    /// How old a content that nothing links must be to be deleted.
    pub grace: Duration,
    /// How long an upload or a partial fill may rest.
    pub upload_ttl: Duration,
}

const LOOK: Duration = Duration::from_secs(5);
const HEAL: Duration = Duration::from_secs(5);
const FLUSH: Duration = Duration::from_secs(30);
const FLUSHED_AT_ONCE: usize = 256;
const MINUTE: Duration = Duration::from_mins(1);

impl Config {
    /// The defaults of the specification, for the store in `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_size: None,
            memory_cache_bytes: 256 << 20,
            scrub: Duration::from_hours(7 * 24),
            gc: true,
            grace: Duration::from_hours(1),
            upload_ttl: Duration::from_hours(24),
        }
    }

    /// Opens the store, recovers it and starts what runs beside it. Serving may begin when this returns; nothing was scanned.
    ///
    /// An error when another process has the directory, or a newer release made it. Damaged metadata are no error: they are set
    /// aside, and [`Store::degraded`] says so.
    pub async fn build(
        self,
        files: Arc<dyn Files>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Store, Error> {
        let path = self.path.clone();
        let open = tasks.spawn_blocking("open store", move || recover::open(&path, &files));
        let opened: Opened = open.await.unwrap_or(Err(Error::Closed))?;
        let store = Parts {
            blobs: Arc::new(opened.blobs),
            metadata: Arc::new(opened.metadata),
            clock,
            tasks: tasks.clone(),
            max_size: self.max_size,
            gc: self.gc,
            memory_cache_bytes: self.memory_cache_bytes,
            lock: Some(opened.lock),
        }
        .build();
        if let Some(damage) = opened.damage {
            store.0.health.damaged(damage);
            noted(&store, "recover", collect::keep(&store).await);
        }
        let swept = stale::sweep_at_start(&store, store.now(), self.upload_ttl, self.gc).await;
        noted(&store, "recover", swept);
        let begun = store.0.metadata.commit(vec![Op::Begin(store.now())]).await;
        noted(&store, "recover", begun);
        noted(&store, "space", collect::look(&store).await);
        self.start(&store, tasks);
        Ok(store)
    }

    fn start(&self, store: &Store, tasks: &Tasks) {
        let collect = Collect {
            gc: self.gc,
            grace: self.grace,
            stage_ttl: self.upload_ttl,
        };
        let collecting = begin(store, tasks, "store_collect", MINUTE, move |store| {
            Box::pin(async move { collect.run(&store).await })
        });
        begin(store, tasks, "store_look", LOOK, move |store| {
            let collecting = collecting.clone();
            Box::pin(async move {
                collect::look(&store).await?;
                if collect::is_nearly_full(&store) {
                    collecting.nudge();
                }
                Ok(())
            })
        });
        begin(store, tasks, "store_used", FLUSH, |store| {
            Box::pin(async move { flush_used(&store).await })
        });
        let healing = begin(store, tasks, "store_heal", HEAL, |store| {
            Box::pin(async move {
                if store.0.health.is_failing() && store.probe().await.is_ok() {
                    store.0.health.healed();
                }
                Ok(())
            })
        });
        store.0.health.set_nudge(healing);
        let scrub = Arc::new(Mutex::new(Scrub::new(self.scrub, tasks.token())));
        begin(store, tasks, "store_scrub", MINUTE, move |store| {
            let scrub = Arc::clone(&scrub);
            Box::pin(async move { scrub.lock().await.turn(&store).await })
        });
        let adopt = Arc::new(Mutex::new(Adopt::default()));
        begin(store, tasks, "store_adopt", MINUTE, move |store| {
            let adopt = Arc::clone(&adopt);
            Box::pin(async move { adopt.lock().await.turn(&store).await })
        });
    }
}

type Turn = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Starts one reconciler of the store; what goes wrong in a turn is reported and tried again in the next.
fn begin<F>(store: &Store, tasks: &Tasks, name: &'static str, every: Duration, mut turn: F) -> Nudge
where
    F: FnMut(Store) -> Turn + Send + 'static,
{
    let (clock, store) = (store.0.clock.clone(), store.clone());
    Reconciler::new(name, every).start(tasks, &clock, move || {
        let (done, store) = (turn(store.clone()), store.clone());
        async move { noted(&store, name, done.await) }
    })
}

fn noted(store: &Store, op: &'static str, result: Result<(), Error>) {
    if let Err(error) = result {
        store.report(op, &error);
    }
}

/// Writes down what was served since the last time, a few hundred at once: SQLite's rollback of a savepoint gets slow in large
/// transactions, and others wait for the one writer.
pub(super) async fn flush_used(store: &Store) -> Result<(), Error> {
    let used = store.0.used.take();
    for some in used.chunks(FLUSHED_AT_ONCE) {
        let used = vec![Op::Used(some.to_vec(), store.now())];
        store.0.metadata.commit(used).await?;
    }
    Ok(())
}
