//! One writer's growing content, and how far it may be read: one writer, many followers.
//!
//! The writer publishes; followers wait on a `watch`, so nobody misses an end and nobody holds a lock across I/O. The end is
//! told once: what comes after it has no effect.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

use super::{Error, Opened, through::Tail};
use crate::store::{self, blob::Content};

/// What followers see.
#[derive(Clone, Default)]
pub(super) struct State {
    /// What the upstream's headers said.
    pub(super) opened: Option<Opened>,
    /// Where the bytes can be read.
    pub(super) content: Option<Content>,
    /// How far `content` is written.
    pub(super) front: u64,
    pub(super) phase: Phase,
}

/// How far a fill has come.
#[derive(Clone, Default)]
pub(super) enum Phase {
    /// Bytes arrive.
    #[default]
    Growing,
    /// All bytes are there and hash to the digest.
    Verified,
    /// They are durable and linked.
    Stored,
    /// They are whole and can be read, but could not be made durable.
    Unstored(store::Error),
    /// They could not be written: readers go on from the upstream.
    Through(Arc<Tail>, store::Error),
    /// There will be no more.
    Failed(Error),
}

impl Phase {
    /// Why there will be no more, if that is so.
    pub(super) fn failure(&self) -> Option<Error> {
        match self {
            Self::Failed(error) => Some(error.clone()),
            Self::Growing
            | Self::Verified
            | Self::Stored
            | Self::Unstored(_)
            | Self::Through(..) => None,
        }
    }
}

impl State {
    pub(super) fn failed(error: Error) -> Self {
        Self {
            phase: Phase::Failed(error),
            ..Self::default()
        }
    }

    /// The size, once known.
    pub(super) fn size(&self) -> Option<u64> {
        self.opened.as_ref().map(|opened| opened.size)
    }

    /// Up to where `content` may be given out, when the bytes from `held_from` on wait for the digest.
    pub(super) fn readable(&self, held_from: u64) -> u64 {
        match &self.phase {
            Phase::Verified | Phase::Stored | Phase::Unstored(_) => self.front,
            Phase::Growing | Phase::Failed(_) => self.front.min(held_from),
            Phase::Through(tail, _) => tail.front().min(held_from),
        }
    }
}

/// The writer's side, and where followers begin.
pub(super) struct Spool {
    state: watch::Sender<State>,
    readers: AtomicUsize,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
            readers: AtomicUsize::new(0),
        }
    }

    pub(super) fn follow(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The upstream's headers came.
    pub(super) fn open(&self, opened: Opened) {
        self.state.send_modify(|state| state.opened = Some(opened));
    }

    /// The bytes will be there, `front` of them now.
    pub(super) fn attach(&self, content: Content, front: u64) {
        self.state.send_modify(|state| {
            state.content = Some(content);
            state.front = front;
        });
    }

    /// So many bytes can be read now.
    pub(super) fn front(&self) -> u64 {
        self.state.borrow().front
    }

    pub(super) fn advance(&self, front: u64) {
        self.state.send_modify(|state| state.front = front);
    }

    /// All bytes are there and right.
    pub(super) fn verified(&self) {
        self.step(Phase::Verified);
    }

    /// They are durable.
    pub(super) fn stored(&self) {
        self.step(Phase::Stored);
    }

    /// They are right and readable, but not durable.
    pub(super) fn unstored(&self, error: store::Error) {
        self.step(Phase::Unstored(error));
    }

    /// Nothing more is written.
    pub(super) fn through(&self, tail: Arc<Tail>, error: store::Error) {
        self.step(Phase::Through(tail, error));
    }

    /// There will be no more. Whole bytes stay readable: losing the task after them only means that they are not stored.
    pub(super) fn fail(&self, error: Error) {
        self.state.send_if_modified(|state| {
            let phase = match &state.phase {
                Phase::Growing => Phase::Failed(error),
                Phase::Verified => Phase::Unstored(store::Error::Closed),
                Phase::Stored | Phase::Unstored(_) | Phase::Through(..) | Phase::Failed(_) => {
                    return false;
                }
            };
            state.phase = phase;
            true
        });
    }

    fn step(&self, phase: Phase) {
        self.state.send_if_modified(|state| {
            let on = matches!(state.phase, Phase::Growing | Phase::Verified);
            if on {
                state.phase = phase;
            }
            on
        });
    }

    /// How many read it now.
    pub(super) fn readers(&self) -> usize {
        self.readers.load(Ordering::Acquire)
    }

    pub(super) fn reader_came(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn reader_left(&self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(front: u64) -> State {
        State {
            opened: Some(Opened {
                size: 100,
                cache_status: None,
                stores: true,
                linked: false,
            }),
            front,
            ..State::default()
        }
    }

    #[test]
    fn the_end_of_a_blob_is_readable_only_when_it_is_verified() {
        let cases = [
            (growing(0), 0),
            (growing(50), 50),
            (growing(90), 80),
            (growing(100), 80),
            (
                State {
                    phase: Phase::Verified,
                    ..growing(100)
                },
                100,
            ),
            (
                State {
                    phase: Phase::Stored,
                    ..growing(100)
                },
                100,
            ),
            (
                State {
                    phase: Phase::Unstored(store::Error::Full),
                    ..growing(100)
                },
                100,
            ),
            (
                State {
                    phase: Phase::Failed(Error::Aborted),
                    ..growing(100)
                },
                80,
            ),
            (
                State {
                    phase: Phase::Failed(Error::Aborted),
                    ..growing(30)
                },
                30,
            ),
        ];
        for (index, (state, expected)) in cases.into_iter().enumerate() {
            assert_eq!(state.readable(80), expected, "case {index}");
        }
    }

    #[test]
    fn the_first_end_stays() {
        let spool = Spool::new();
        spool.fail(Error::Busy);
        spool.verified();
        spool.fail(Error::Aborted);
        assert!(matches!(
            spool.follow().borrow().phase,
            Phase::Failed(Error::Busy)
        ));
    }

    #[test]
    fn a_task_lost_after_the_verification_leaves_the_bytes_readable() {
        let spool = Spool::new();
        spool.verified();
        spool.fail(Error::Aborted);
        assert!(matches!(spool.follow().borrow().phase, Phase::Unstored(_)));
    }
}
