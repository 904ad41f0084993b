//! Jobs whose last try ended at our own store: when the store takes writes again they are tried at once, not when their back-off
//! ends.
//!
//! In memory, because a store that refuses writes cannot note it either: here is also how often and when such a job is tried
//! while nothing can be written down. A restart tries them when their back-off ends. Waking is decided by what the store says
//! of itself (no failure since its last probe, room for what was refused) and not oftener than every few seconds.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use wire::{digest::Digest, name::RuleName, repository::RepositoryName, time::WallTime};

use super::Copies;
use crate::store::{
    self, Store,
    metadata::{Job, Op},
};

/// How many are remembered; further ones end by their back-off.
const MOST: usize = 10_000;
/// How many are woken at once.
const WOKEN: usize = 64;
/// How long one rests at least before it is woken.
pub(super) const REST: Duration = Duration::from_secs(10);

type Key = (RepositoryName, Digest);

/// A job that the store let down.
#[derive(Debug, Clone)]
pub(super) struct Stall {
    pub(super) rule: RuleName,
    pub(super) failed_at: WallTime,
    /// When it is tried next, whatever the record says.
    pub(super) due_at: WallTime,
    pub(super) attempts: u32,
    /// Bytes that there was no room for.
    pub(super) needs: u64,
}

/// Those of one node.
#[derive(Debug, Default)]
pub(super) struct Stalls(Mutex<HashMap<Key, Stall>>);

impl Stalls {
    /// How often it was tried, and when it is next; none of a job that the store did not let down.
    pub(super) fn get(&self, key: &Key) -> Option<Stall> {
        self.lock().get(key).cloned()
    }

    pub(super) fn put(&self, key: Key, stall: Stall) {
        let mut stalls = self.lock();
        if stalls.len() < MOST || stalls.contains_key(&key) {
            stalls.insert(key, stall);
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Whether one of this rule is here.
    pub(super) fn has(&self, rule: &RuleName) -> bool {
        self.lock().values().any(|stall| stall.rule == *rule)
    }

    /// Those that may be tried now; each rests again from here on.
    fn rested(&self, store: &Store, now: WallTime) -> Vec<Key> {
        let mut stalls = self.lock();
        let ready = stalls.iter_mut().filter(|(_, stall)| {
            stall.due_at > now && has_rested(stall.failed_at, now) && store.has_room(stall.needs)
        });
        ready
            .take(WOKEN)
            .map(|(key, stall)| {
                (stall.failed_at, stall.due_at) = (now, now);
                key.clone()
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Stall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    /// Makes jobs due that the store let down and would not any more.
    ///
    /// # Errors
    /// When that cannot be written down; those jobs are woken at a later turn.
    pub(super) async fn wake(&self) -> Result<(), store::Error> {
        if self.0.store.is_failing() {
            return Ok(());
        }
        let now = self.now();
        for (repository, root) in self.0.stalls.rested(&self.0.store, now) {
            let metadata = self.0.store.metadata();
            let _gate = self.gate(&repository).await;
            match metadata.job(&repository, &root).await? {
                Some(job) if job.due_at > now => {
                    let due = Job { due_at: now, ..job };
                    metadata.commit(vec![Op::PutJob(due)]).await?;
                    self.nudge();
                }
                Some(_) => self.nudge(),
                None => self.0.stalls.remove(&(repository.clone(), root)),
            }
        }
        Ok(())
    }
}

/// Whether that was long enough ago; a time in the future is of a clock that was wrong.
pub(super) fn has_rested(since: WallTime, now: WallTime) -> bool {
    since.age(now).is_none_or(|age| age >= REST)
}
