//! One run per key, many waiters.
//!
//! Who asks for a key that is being worked on joins that run; the run belongs to `Tasks`, so a waiter that goes away, the first one
//! included, stops nothing. Every waiter gets an end: the value, or that the run was lost to a panic or an abort. The entry goes
//! before the result is told, so a caller who comes after the end starts afresh: this shares work, it does not remember results.
//!
//! moka's `try_get_with` was refused for this: it runs in the caller's future and starts over when that is dropped.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::tasks::Tasks;

/// Runs in flight, by key. Clones share them.
pub struct Single<K, V> {
    name: &'static str,
    tasks: Tasks,
    runs: Arc<Runs<K, V>>,
}

struct Runs<K, V> {
    limit: usize,
    waiting: AtomicUsize,
    map: Mutex<HashMap<K, watch::Receiver<Option<V>>>>,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The run panicked, or was aborted because its owner ended.
    #[error("the shared work was lost before it finished")]
    Lost,
    /// As many different keys as allowed are being worked on.
    #[error("too much shared work is in flight")]
    Full,
}

impl<K, V> Single<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `limit` runs at once, spawned under `name` as tasks of `tasks`.
    pub fn new(name: &'static str, tasks: &Tasks, limit: usize) -> Self {
        let map = Mutex::new(HashMap::new());
        Self {
            name,
            tasks: tasks.clone(),
            runs: Arc::new(Runs {
                limit,
                waiting: AtomicUsize::new(0),
                map,
            }),
        }
    }

    /// Joins the run for `key`, or starts it with `make`, and waits for its value. Dropping the returned future stops nothing.
    pub async fn run<F, Fut>(&self, key: K, make: F) -> Result<V, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V> + Send + 'static,
    {
        let mut receiver = self.join_or_start(key, make)?;
        let _waiting = Waiting::begin(&self.runs.waiting);
        let value = receiver
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Error::Lost)?;
        value.clone().ok_or(Error::Lost)
    }

    /// How many runs are in flight.
    pub fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// How many callers wait for a run, those who began one among them.
    pub fn waiting(&self) -> usize {
        self.runs.waiting.load(Ordering::Relaxed)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.runs.lock().is_empty()
    }

    fn join_or_start<F, Fut>(&self, key: K, make: F) -> Result<watch::Receiver<Option<V>>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V> + Send + 'static,
    {
        let (entry, receiver) = {
            let mut map = self.runs.lock();
            if let Some(receiver) = map.get(&key) {
                return Ok(receiver.clone());
            }
            if map.len() >= self.runs.limit {
                return Err(Error::Full);
            }
            let (sender, receiver) = watch::channel(None);
            map.insert(key.clone(), receiver.clone());
            (Entry::new(&self.runs, key, sender), receiver)
        };
        // Outside the lock: `make` may panic, and a dying runtime drops the task here and now; either way `entry` cleans up.
        let work = make();
        self.tasks.spawn(self.name, async move {
            let value = work.await;
            entry.finish(value);
        });
        Ok(receiver)
    }
}

impl<K, V> Runs<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<V>>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller who waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A run's place in the map; dropped without `finish`, it tells the waiters by closing the channel.
struct Entry<K: Eq + Hash, V> {
    runs: Arc<Runs<K, V>>,
    key: K,
    sender: watch::Sender<Option<V>>,
}

impl<K: Eq + Hash, V> Entry<K, V> {
    fn new(runs: &Arc<Runs<K, V>>, key: K, sender: watch::Sender<Option<V>>) -> Self {
        Self {
            runs: Arc::clone(runs),
            key,
            sender,
        }
    }

    fn finish(self, value: V) {
        self.runs.lock().remove(&self.key);
        self.sender.send_replace(Some(value));
    }
}

impl<K: Eq + Hash, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        // After `finish` the key may already belong to a new run: only a run that was lost is still its own.
        if self.sender.borrow().is_none() {
            self.runs.lock().remove(&self.key);
        }
    }
}

impl<K, V> Clone for Single<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            tasks: self.tasks.clone(),
            runs: Arc::clone(&self.runs),
        }
    }
}

impl<K, V> std::fmt::Debug for Single<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Single")
            .field("name", &self.name)
            .field("runs", &self.runs.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use std::future::pending;
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn single() -> (Tasks, Single<&'static str, u32>) {
        let tasks = Tasks::new("test");
        let single = Single::new("run", &tasks, 2);
        (tasks, single)
    }

    #[tokio::test]
    async fn many_waiters_cost_one_run_and_the_next_caller_starts_afresh() {
        let (_tasks, single) = single();
        let runs = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let (single, runs) = (single.clone(), Arc::clone(&runs));
            async move {
                let make = || async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    7
                };
                single.run("key", make).await
            }
        };
        let answers = join_all((0..64).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == Ok(7)));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(single.is_empty());
        assert_eq!(ask().await, Ok(7));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_first_waiter_may_leave_and_the_second_gets_the_value() {
        let (_tasks, single) = single();
        let (send, receive) = oneshot::channel();
        let first = single.run("key", || async { receive.await.unwrap() });
        assert!(first.now_or_never().is_none());
        assert_eq!(single.waiting(), 0);
        let second = single.run("key", || async { unreachable!("joins the first run") });
        let mut second = Box::pin(second);
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(single.waiting(), 1);
        send.send(7).unwrap();
        assert_eq!(second.await, Ok(7));
        assert_eq!(single.waiting(), 0);
    }

    #[tokio::test]
    async fn a_panic_reaches_all_waiters_and_frees_the_key() {
        let (_tasks, single) = single();
        let (send, receive) = oneshot::channel::<()>();
        let broken = || async {
            receive.await.unwrap();
            unreachable!("on purpose")
        };
        let (first, second) = (single.run("key", broken), single.run("key", pending));
        send.send(()).unwrap();
        assert_eq!(
            tokio::join!(first, second),
            (Err(Error::Lost), Err(Error::Lost))
        );
        assert_eq!(single.run("key", || async { 8 }).await, Ok(8));
    }

    #[tokio::test]
    async fn an_abort_of_the_owner_reaches_the_waiters() {
        let (tasks, single) = single();
        let waiter = single.run("key", pending);
        let drain = tasks.drain(Duration::ZERO);
        assert_eq!(tokio::join!(waiter, drain), (Err(Error::Lost), false));
        assert!(single.is_empty());
    }

    #[tokio::test]
    async fn the_number_of_runs_is_bounded() {
        let (_tasks, single) = single();
        assert!(single.run("a", pending).now_or_never().is_none());
        assert!(single.run("b", pending).now_or_never().is_none());
        assert_eq!(single.run("c", pending).await, Err(Error::Full));
        assert!(single.run("a", pending).now_or_never().is_none());
        assert_eq!(single.len(), 2);
    }
}
