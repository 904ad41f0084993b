//! Keys in memory, for tests: an issuer that rotates, goes away and counts how often it is asked.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{Away, KeySet, KeySource};

/// An issuer without a network. Known keys are never too old here.
#[derive(Debug)]
pub struct Memory {
    known: Mutex<Option<Arc<KeySet>>>,
    published: Mutex<Arc<KeySet>>,
    away: AtomicBool,
    asked: AtomicUsize,
}

impl Memory {
    /// An issuer that publishes `keys`.
    #[must_use]
    pub fn publishing(keys: KeySet) -> Self {
        Self {
            known: Mutex::new(None),
            published: Mutex::new(Arc::new(keys)),
            away: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        }
    }

    /// Publishes other keys from now on.
    pub fn rotate(&self, keys: KeySet) {
        *lock(&self.published) = Arc::new(keys);
    }

    /// Whether it can be asked from now on.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn ask(&self) -> Result<Arc<KeySet>, Away> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(Away::new("the issuer is away"));
        }
        let published = Arc::clone(&lock(&self.published));
        *lock(&self.known) = Some(Arc::clone(&published));
        Ok(published)
    }
}

#[async_trait]
impl KeySource for Memory {
    async fn keys(&self) -> Result<Arc<KeySet>, Away> {
        let known = lock(&self.known).clone();
        known.map_or_else(|| self.ask(), Ok)
    }

    async fn newer(&self, seen: &Arc<KeySet>) -> Result<Arc<KeySet>, Away> {
        let known = lock(&self.known).clone();
        match known.filter(|known| !Arc::ptr_eq(known, seen)) {
            Some(known) => Ok(known),
            None => self.ask(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
