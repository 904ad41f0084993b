//! Every task has an owner: `Tasks` is the only place that spawns.
//!
//! A tree of owners shares nothing but the way down: `cancel` asks all below to end, `drain` asks, waits and then aborts the rest.
//! Tasks decide themselves what being asked means; whoever ignores the token is aborted at the deadline. Blocking work cannot be
//! aborted, only waited for.
//!
//! When the last handle of a whole tree is dropped, its tasks are aborted. A task that itself holds a `Tasks` keeps the tree alive,
//! so an owner that may be dropped without a drain calls `abort` in its `Drop`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

/// How long an aborted task gets to reach its next `.await`.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// An owner of tasks. Clones are the same owner; [`Tasks::child`] makes one below it.
#[derive(Clone, Debug)]
pub struct Tasks {
    name: Arc<str>,
    token: CancellationToken,
    /// This owner and all above it, the root first.
    lineage: Arc<[Arc<Owner>]>,
}

#[derive(Debug, Default)]
struct Owner {
    tracker: TaskTracker,
    running: Mutex<Running>,
    /// Of the root only: with it the whole tree ends when the last handle is gone.
    ends: Option<CancellationToken>,
}

#[derive(Debug, Default)]
struct Running {
    aborts: HashMap<u64, AbortHandle>,
    next: u64,
    aborted: bool,
}

impl Tasks {
    /// The root of a tree.
    pub fn new(name: impl AsRef<str>) -> Self {
        let token = CancellationToken::new();
        let mut root = Owner::default();
        root.ends = Some(token.clone());
        Self {
            name: Arc::from(name.as_ref()),
            token,
            lineage: Arc::from([Arc::new(root)]),
        }
    }

    /// An owner below this one: cancelled and drained with it, or alone.
    pub fn child(&self, name: impl AsRef<str>) -> Self {
        let own = Arc::new(Owner::default());
        let lineage: Vec<Arc<Owner>> = self.lineage.iter().cloned().chain([own]).collect();
        let tasks = Self {
            name: Arc::from(format!("{}/{}", self.name, name.as_ref())),
            token: self.token.child_token(),
            lineage: Arc::from(lineage),
        };
        if self.own().lock().aborted {
            tasks.abort();
        }
        tasks
    }

    /// The path of names from the root, `/` between them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `future` as a task of this owner, in a span that carries `name`. Must be called inside a tokio runtime.
    ///
    /// Dropping the handle detaches the task but does not free it of its owner. After [`Tasks::abort`] or a [`Tasks::drain`]
    /// whose deadline passed, a new task is aborted at once.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that spawns, with an owner"
    )]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let presence = self.presence();
        let span = tracing::info_span!("task", task = name, owner = %self.name);
        let ended = presence.ended();
        let handle = tokio::spawn(
            async move {
                let _presence = presence;
                future.await
            }
            .instrument(span),
        );
        self.register(&ended, &handle.abort_handle());
        handle
    }

    /// Runs `work` on tokio's blocking pool as a task of this owner. It cannot be aborted once begun: it must be short, or look at
    /// the token.
    pub fn spawn_blocking<F, R>(&self, name: &'static str, work: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let presence = self.presence();
        let span = tracing::info_span!("task", task = name, owner = %self.name);
        let ended = presence.ended();
        let handle = tokio::task::spawn_blocking(move || {
            let _presence = presence;
            span.in_scope(work)
        });
        self.register(&ended, &handle.abort_handle());
        handle
    }

    /// By this token tasks are asked to end. Cancelling a clone of it cancels this owner.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Asks every task of this owner and below to end; does not wait.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Cancels, and aborts every task of this owner and below at its next `.await`; does not wait.
    pub fn abort(&self) {
        self.token.cancel();
        self.own().abort();
    }

    /// Cancels, waits until `deadline` for all tasks of this owner and below, then aborts the rest.
    ///
    /// `true` when every task ended by itself. If not, it waits a moment more for the aborted to be gone; only blocking work can
    /// still run afterwards.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.token.cancel();
        let tracker = &self.own().tracker;
        tracker.close();
        if tokio::time::timeout(deadline, tracker.wait()).await.is_ok() {
            return true;
        }
        tracing::warn!(owner = %self.name, tasks = tracker.len(), "tasks did not end in time and are aborted");
        self.own().abort();
        if tokio::time::timeout(LAST_GRACE, tracker.wait())
            .await
            .is_err()
        {
            tracing::error!(owner = %self.name, tasks = tracker.len(), "tasks are still running after being aborted");
        }
        false
    }

    /// How many tasks of this owner and below there are.
    pub fn len(&self) -> usize {
        self.own().tracker.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.own().tracker.is_empty()
    }

    fn own(&self) -> &Arc<Owner> {
        self.lineage
            .last()
            .expect("a lineage has at least its root")
    }

    fn presence(&self) -> Presence {
        let places = self.lineage.iter().map(Place::new).collect();
        Presence {
            places,
            ended: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Makes a task abortable by each of its owners. The task may have ended before, or never begun on a dying runtime: the flag,
    /// read under the same lock under which its end removes the entry, says so.
    fn register(&self, ended: &Ended, handle: &AbortHandle) {
        for (owner, id) in self.lineage.iter().zip(&ended.ids) {
            let mut running = owner.lock();
            if ended.flag.load(Ordering::Acquire) {
                return;
            }
            if running.aborted {
                handle.abort();
            }
            running.aborts.insert(*id, handle.clone());
        }
    }
}

impl Owner {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort(&self) {
        let handles: Vec<AbortHandle> = {
            let mut running = self.lock();
            running.aborted = true;
            running.aborts.values().cloned().collect()
        };
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// An owner further down that loses its handles leaves its tasks to those above, to whom every task belongs as well: aborting them
/// would break `tasks.child("x").spawn(…)`.
impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(token) = self.ends.take() {
            token.cancel();
            self.abort();
        }
    }
}

/// That a task exists: it counts in every owner's tracker and is forgotten when dropped, which is when the task ends in any way.
struct Presence {
    places: Vec<Place>,
    ended: Arc<AtomicBool>,
}

struct Place {
    owner: Weak<Owner>,
    id: u64,
    _counted: TaskTrackerToken,
}

/// What the spawner keeps of a [`Presence`] it gave away.
struct Ended {
    flag: Arc<AtomicBool>,
    ids: Vec<u64>,
}

impl Place {
    fn new(owner: &Arc<Owner>) -> Self {
        let mut running = owner.lock();
        let id = running.next;
        running.next += 1;
        Self {
            owner: Arc::downgrade(owner),
            id,
            _counted: owner.tracker.token(),
        }
    }
}

impl Presence {
    fn ended(&self) -> Ended {
        Ended {
            flag: Arc::clone(&self.ended),
            ids: self.places.iter().map(|place| place.id).collect(),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        for place in &self.places {
            if let Some(owner) = place.owner.upgrade() {
                owner.lock().aborts.remove(&place.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(30);

    /// A task that never ends by itself, and a receiver that resolves when it is gone.
    fn endless(tasks: &Tasks) -> oneshot::Receiver<()> {
        let (gone, is_gone) = oneshot::channel::<()>();
        tasks.spawn("endless", async move {
            let _gone = gone;
            pending::<()>().await;
        });
        is_gone
    }

    #[tokio::test]
    async fn a_drain_waits_for_those_who_heed_the_token() {
        let tasks = Tasks::new("test");
        let child = tasks.child("part");
        let token = child.token();
        let handle = child.spawn("polite", async move {
            token.cancelled().await;
            7
        });
        assert_eq!(child.name(), "test/part");
        assert!(tasks.drain(LONG).await);
        assert_eq!(handle.await.unwrap(), 7);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn a_drain_aborts_the_rest_at_the_deadline() {
        let tasks = Tasks::new("test");
        let gone = endless(&tasks.child("part"));
        assert!(!tasks.drain(Duration::ZERO).await);
        assert!(gone.await.is_err());
        assert!(tasks.is_empty());
        let late = tasks.spawn("late", pending::<()>());
        assert!(late.await.unwrap_err().is_cancelled());
        let later = tasks.child("new").spawn("later", pending::<()>());
        assert!(later.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn a_child_ends_alone_and_its_siblings_go_on() {
        let tasks = Tasks::new("test");
        let (one, two) = (tasks.child("one"), tasks.child("two"));
        let gone = endless(&one);
        let _going = endless(&two);
        assert!(!one.drain(Duration::ZERO).await);
        assert!(gone.await.is_err());
        assert_eq!((one.len(), two.len(), tasks.len()), (0, 1, 1));
        assert!(!two.token().is_cancelled());
    }

    #[tokio::test]
    async fn dropping_the_last_handle_leaves_no_task() {
        let tasks = Tasks::new("test");
        let gone = endless(&tasks.child("part"));
        drop(tasks);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    async fn dropping_a_child_leaves_its_tasks_to_the_parent() {
        let tasks = Tasks::new("test");
        let (send, receive) = oneshot::channel();
        let handle = tasks.child("part").spawn("works", receive);
        send.send(7).unwrap();
        assert_eq!(handle.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn a_panic_reaches_who_waits_and_nobody_else() {
        let tasks = Tasks::new("test");
        let handle = tasks.spawn("broken", async { unreachable!("on purpose") });
        assert!(handle.await.unwrap_err().is_panic());
        assert!(tasks.drain(LONG).await);
    }

    #[tokio::test]
    async fn blocking_work_is_waited_for() {
        let tasks = Tasks::new("test");
        let (send, receive) = std::sync::mpsc::channel();
        let handle = tasks.spawn_blocking("reads", move || receive.recv());
        assert_eq!(tasks.len(), 1);
        send.send(7).unwrap();
        assert!(tasks.drain(LONG).await);
        assert_eq!(handle.await.unwrap(), Ok(7));
    }
}
