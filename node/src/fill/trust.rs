//! Digests that were sent wrong lately: their bytes are given out only once they are verified.
//!
//! Without this a client whose body was cut before its last bytes would come back with `Range`, and get the bad tail of a
//! transfer that nobody has checked. Source: `reference/faults.md` T01.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use wire::digest::Digest;

/// For how long.
const MEMORY: Duration = Duration::from_secs(300);
/// How many; beyond, the oldest are forgotten.
const MAX: usize = 1024;

/// The digests, each with the time from which it is trusted again.
#[derive(Debug, Default)]
pub(super) struct Distrusted(Mutex<HashMap<Digest, Instant>>);

impl Distrusted {
    pub(super) fn add(&self, digest: &Digest, now: Instant) {
        let mut map = self.lock();
        map.retain(|_, until| *until > now);
        if map.len() >= MAX {
            let oldest = map
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(digest, _)| digest.clone());
            oldest.and_then(|digest| map.remove(&digest));
        }
        map.insert(digest.clone(), now + MEMORY);
    }

    pub(super) fn contains(&self, digest: &Digest, now: Instant) -> bool {
        self.lock().get(digest).is_some_and(|until| *until > now)
    }

    /// It arrived whole.
    pub(super) fn clear(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::Clock;

    #[test]
    fn distrust_ends_with_time_or_with_a_right_transfer_and_is_bounded() {
        let now = Clock::manual(0).now();
        let distrusted = Distrusted::default();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        distrusted.add(&a, now);
        distrusted.add(&b, now);
        distrusted.clear(&b);
        assert!(distrusted.contains(&a, now) && !distrusted.contains(&b, now));
        assert!(!distrusted.contains(&a, now + MEMORY));
        for i in 0..2 * MAX {
            distrusted.add(&Digest::sha256(&i.to_be_bytes()), now);
        }
        assert_eq!(distrusted.lock().len(), MAX);
    }
}
