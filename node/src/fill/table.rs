//! Which fills are in flight, and which repositories wait for each.
//!
//! Joining and leaving happen under one short lock, so that a repository which joins at the last moment is linked too, and
//! nobody joins a fill that has told its end. A [`Flight`] takes its fill out when it is dropped, however the task ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wire::{digest::Digest, name::RuleName, repository::RepositoryName};

use super::{Error, Fill};

/// How many repositories one fill links; whoever comes later is linked by its own next pull.
const MAX_OWNERS: usize = 1024;

/// A repository that is linked to the content at the end, and under which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) repository: RepositoryName,
    pub(super) rule: RuleName,
}

/// The fills in flight.
pub(super) struct Table {
    max: usize,
    map: Mutex<HashMap<Digest, Entry>>,
}

struct Entry {
    fill: Arc<Fill>,
    owners: Vec<Owner>,
}

/// What became of a wish to enter.
pub(super) enum Entered {
    Joined(Arc<Fill>),
    Started(Arc<Fill>, Flight),
    /// One is in flight that the caller did not want to join.
    Other,
    Full,
}

/// A fill's place in the table.
pub(super) struct Flight {
    table: Arc<Table>,
    fill: Arc<Fill>,
}

impl Table {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            map: Mutex::new(HashMap::new()),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn enter(
        self: &Arc<Self>,
        digest: &Digest,
        owner: Owner,
        may_join: impl Fn(&Fill) -> bool,
        make: impl FnOnce() -> Arc<Fill>,
    ) -> Entered {
        let mut map = self.lock();
        if let Some(entry) = map.get_mut(digest) {
            if !may_join(&entry.fill) {
                return Entered::Other;
            }
            if entry.owners.len() < MAX_OWNERS && !entry.owners.contains(&owner) {
                entry.owners.push(owner);
            }
            return Entered::Joined(Arc::clone(&entry.fill));
        }
        if map.len() >= self.max {
            return Entered::Full;
        }
        let fill = make();
        map.insert(
            digest.clone(),
            Entry {
                fill: Arc::clone(&fill),
                owners: vec![owner],
            },
        );
        let flight = Flight {
            table: Arc::clone(self),
            fill: Arc::clone(&fill),
        };
        Entered::Started(fill, flight)
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Fill>> {
        self.lock().get(digest).map(|entry| Arc::clone(&entry.fill))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The owners after the first `known`.
    pub(super) fn owners(&self, known: usize) -> Vec<Owner> {
        let map = self.table.lock();
        map.get(&self.fill.origin.digest)
            .map_or_else(Vec::new, |entry| {
                entry.owners.iter().skip(known).cloned().collect()
            })
    }

    /// Takes the fill out unless more than `known` owners wait; whether it did.
    pub(super) fn leave_if(&self, known: usize) -> bool {
        let mut map = self.table.lock();
        let more = map
            .get(&self.fill.origin.digest)
            .is_some_and(|entry| entry.owners.len() > known);
        if !more {
            map.remove(&self.fill.origin.digest);
        }
        !more
    }

    /// Takes the fill out: whoever comes from now on gets one of their own. Called before an end is told.
    pub(super) fn leave(&self) {
        let mut map = self.table.lock();
        let own = map
            .get(&self.fill.origin.digest)
            .is_some_and(|entry| Arc::ptr_eq(&entry.fill, &self.fill));
        if own {
            map.remove(&self.fill.origin.digest);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.leave();
        // Without effect when the fill has told its end; otherwise its task panicked or was aborted.
        self.fill.spool.fail(Error::Aborted);
    }
}
