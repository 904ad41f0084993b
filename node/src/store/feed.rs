//! What reports to the control plane tell of the store: events as they were committed, and what was used lately.
//!
//! Off until somebody listens, so that a node without a control plane keeps nothing. Both are bounded: the oldest events go first and
//! are counted, further contents are not noted. An event comes in after its commit, so nothing is told that is not durable; what a
//! process did not tell before it ended is in its webhooks' outbox and not here.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use wire::{digest::Digest, time::WallTime};

use super::metadata::Op;

/// Events kept.
const EVENTS: usize = 4_096;
/// Contents whose last use is kept.
const USED: usize = 16_384;

/// What there is to tell.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    on: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    events: VecDeque<Vec<u8>>,
    lost: u64,
    used: HashMap<Digest, WallTime>,
}

impl Feed {
    /// From now on there is somebody to tell.
    pub(crate) fn listen(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// The events of these ops, as they would be sent to a webhook; to be kept once the ops are committed.
    pub(crate) fn of(&self, ops: &[Op]) -> Vec<Vec<u8>> {
        if !self.on.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut events = Vec::new();
        for op in ops {
            if let Op::PutEvent(event, _) = op {
                events.push(event.body.clone());
            }
        }
        events
    }

    /// These events were committed.
    pub(crate) fn committed(&self, events: Vec<Vec<u8>>) {
        if events.is_empty() {
            return;
        }
        let mut told = self.lock();
        told.events.extend(events);
        while told.events.len() > EVENTS {
            told.events.pop_front();
            told.lost += 1;
        }
    }

    /// A content was used.
    pub(crate) fn used(&self, digest: &Digest, now: WallTime) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.lock();
        if told.used.len() < USED || told.used.contains_key(digest) {
            told.used.insert(digest.clone(), now);
        }
    }

    /// Takes up to `most` events out, the oldest first, and how many were lost since the last time.
    pub(crate) fn take_events(&self, most: usize) -> (Vec<Vec<u8>>, u64) {
        let mut told = self.lock();
        let count = most.min(told.events.len());
        let events = told.events.drain(..count).collect();
        (events, std::mem::take(&mut told.lost))
    }

    /// Takes up to `most` contents and their last use out, in no order.
    pub(crate) fn take_used(&self, most: usize) -> Vec<(Digest, WallTime)> {
        let mut told = self.lock();
        let some: Vec<Digest> = told.used.keys().take(most).cloned().collect();
        some.into_iter()
            .filter_map(|digest| told.used.remove_entry(&digest))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_before_somebody_listens_and_the_oldest_go_when_it_is_too_much() {
        let feed = Feed::default();
        feed.used(&Digest::sha256(b"x"), WallTime(1));
        assert_eq!(feed.take_used(9), []);
        feed.listen();
        feed.used(&Digest::sha256(b"x"), WallTime(1));
        feed.used(&Digest::sha256(b"x"), WallTime(2));
        assert_eq!(feed.take_used(9), [(Digest::sha256(b"x"), WallTime(2))]);
        assert_eq!(feed.take_used(9), [], "taken once");

        for n in 0..EVENTS + 3 {
            feed.committed(vec![n.to_string().into_bytes()]);
        }
        let (events, lost) = feed.take_events(2);
        assert_eq!(events, [b"3".to_vec(), b"4".to_vec()]);
        assert_eq!(lost, 3);
        assert_eq!(feed.take_events(EVENTS).0.len(), EVENTS - 2);
    }
}
