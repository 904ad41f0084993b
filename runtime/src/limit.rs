//! Named limits: how much of something may go on at once, with a gauge that says how much does.
//!
//! A limit only counts and refuses; what a refusal looks like to a client is the caller's decision. Permits are owned values, so a
//! permit may travel into a task and is given back when that task ends, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At most `max` permits at once. Clones share them.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    max: usize,
    semaphore: Arc<Semaphore>,
    refused: AtomicU64,
}

/// The right to go on; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Limit {
    /// A limit called `name` in metrics. A `max` beyond what the semaphore can count is as good as none.
    pub fn new(name: &'static str, max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            name,
            max,
            semaphore: Arc::new(Semaphore::new(max)),
            refused: AtomicU64::new(0),
        }))
    }

    /// A permit, or `None` (and one more on [`Limit::refused`]) when all are out.
    pub fn try_acquire(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.0.semaphore).try_acquire_owned().ok();
        if permit.is_none() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        permit.map(|permit| Permit { _permit: permit })
    }

    /// Waits for a permit, first come first served. Who calls this must itself be bounded.
    pub async fn acquire(&self) -> Permit {
        let permit = Arc::clone(&self.0.semaphore).acquire_owned().await;
        Permit {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// The name given at construction.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// How many permits there are in all.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// How many permits are out now.
    pub fn current(&self) -> usize {
        self.0
            .max
            .saturating_sub(self.0.semaphore.available_permits())
    }

    /// How often [`Limit::try_acquire`] said no.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn the_gauge_follows_the_permits_and_refusals_are_counted() {
        let limit = Limit::new("fills", 2);
        let first = limit.try_acquire().unwrap();
        let _second = limit.acquire().await;
        assert_eq!(
            (limit.name(), limit.max(), limit.current()),
            ("fills", 2, 2)
        );
        assert!(limit.try_acquire().is_none());
        assert!(limit.acquire().now_or_never().is_none());
        assert_eq!(limit.refused(), 1);
        drop(first);
        assert_eq!(limit.current(), 1);
        assert!(limit.try_acquire().is_some());
    }
}
