//! Last use, collected in memory and written in batches: serving must not cost a transaction.
//!
//! What was not written yet is lost with the process, which costs nothing but a slightly older idea of what is used.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use wire::{digest::Digest, repository::RepositoryName};

/// Beyond this many different contents between two flushes, more are not noted.
const MOST: usize = 16_384;

/// What was served since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Used(Mutex<HashSet<(RepositoryName, Digest)>>);

impl Used {
    /// Whether this is the first time since the last flush.
    pub(crate) fn note(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        let mut noted = self.lock();
        noted.len() < MOST && noted.insert((repository.clone(), digest.clone()))
    }

    pub(crate) fn take(&self) -> Vec<(RepositoryName, Digest)> {
        std::mem::take(&mut *self.lock()).into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(RepositoryName, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
