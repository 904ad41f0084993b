//! What somebody works with at the moment, so that nothing deletes it from under them.
//!
//! A `Hold` belongs to a fill, a copy, a reader or a push and keeps its digest from being deleted while it lives. A `Claim` is
//! the other side: who deletes has the digest to itself. Taking a hold never waits; who then looks whether the content is there
//! waits until a claim on it is over (`settled`), so whoever holds first and looks second sees either all of it or none.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use wire::digest::Digest;

/// The holds and claims of one store. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// How many claims there are, so that nearly always nobody takes the lock to find out.
    claims: AtomicUsize,
    released: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<Digest, usize>,
    claimed: HashSet<Digest>,
}

/// Keeps a content from being deleted or evicted while it lives.
#[derive(Debug)]
pub struct Hold {
    holds: Holds,
    digest: Digest,
}

/// The right to delete a content: nobody holds it, and who comes now waits.
#[derive(Debug)]
pub(crate) struct Claim {
    holds: Holds,
    digest: Digest,
}

impl Holds {
    pub(crate) fn hold(&self, digest: &Digest) -> Hold {
        *self.lock().held.entry(digest.clone()).or_insert(0) += 1;
        Hold {
            holds: self.clone(),
            digest: digest.clone(),
        }
    }

    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.lock().held.contains_key(digest)
    }

    /// `None` when somebody holds it or deletes it already.
    pub(crate) fn claim(&self, digest: &Digest) -> Option<Claim> {
        let mut state = self.lock();
        if state.held.contains_key(digest) || !state.claimed.insert(digest.clone()) {
            return None;
        }
        self.0.claims.fetch_add(1, Ordering::SeqCst);
        Some(Claim {
            holds: self.clone(),
            digest: digest.clone(),
        })
    }

    /// Returns once nobody has a claim on `digest`. Nearly always at once, without a lock.
    pub(crate) async fn settled(&self, digest: &Digest) {
        while self.0.claims.load(Ordering::SeqCst) > 0 {
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if !self.lock().claimed.contains(digest) {
                return;
            }
            released.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// What is held.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.holds.hold(&self.digest)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.holds.lock();
        if let Some(count) = state.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.digest);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.holds.lock().claimed.remove(&self.digest);
        self.holds.0.claims.fetch_sub(1, Ordering::SeqCst);
        self.holds.0.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_is_held_cannot_be_claimed_until_the_last_hold_goes() {
        let (holds, digest) = (Holds::default(), Digest::sha256(b"a"));
        let first = holds.hold(&digest);
        let second = first.clone();
        drop(first);
        assert!(holds.claim(&digest).is_none());
        assert!(holds.claim(&Digest::sha256(b"b")).is_some());
        drop(second);
        assert!(!holds.is_held(&digest));
        let claim = holds.claim(&digest).unwrap();
        assert!(holds.claim(&digest).is_none(), "one deletes at a time");
        drop(claim);
        assert!(holds.claim(&digest).is_some());
    }

    #[test]
    fn who_looks_waits_for_the_claim_on_that_digest_alone() {
        let (holds, digest) = (Holds::default(), Digest::sha256(b"a"));
        let claim = holds.claim(&digest).unwrap();
        let _held = holds.hold(&digest);
        let other = Digest::sha256(b"b");
        assert!(holds.settled(&other).now_or_never().is_some());
        let mut waits = Box::pin(holds.settled(&digest));
        assert!((&mut waits).now_or_never().is_none());
        drop(claim);
        assert!(waits.now_or_never().is_some());
    }
}
