//! Reading without storing: what a reader does when the disk takes no more, and when it reads far ahead of the front.
//!
//! When storing stops in mid-blob, each reader goes on from the upstream where the spool ends, with the hash of everything
//! before, so that it can still tell right from wrong: the end of the blob is given out only when the digest is confirmed.
//! The first one takes over the open transfer. Source: `spec/pull-through.md` "Storage", `reference/faults.md` T63.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;
use wire::digest::Hasher;

use super::{
    Error, Fill,
    fetch::Fetch,
    spool::{Phase, State},
};

/// Where storing stopped: the hash of what was stored, and the transfer, open at that offset.
pub(super) struct Tail {
    hasher: Hasher,
    open: Mutex<Option<Fetch>>,
}

impl Tail {
    pub(super) fn new(hasher: Hasher, open: Option<Fetch>) -> Self {
        Self {
            hasher,
            open: Mutex::new(open),
        }
    }

    /// How far the spool is written.
    pub(super) fn front(&self) -> u64 {
        self.hasher.length()
    }

    fn take(&self) -> Option<Fetch> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A read straight from the upstream.
pub(super) struct Direct {
    fill: Arc<Fill>,
    fetch: Fetch,
    check: Check,
    /// Bytes that came and were not given out.
    held: VecDeque<Bytes>,
    /// The offset of the next byte given out.
    at: u64,
    end: u64,
    /// Up to where bytes may be given out now.
    open_to: u64,
}

/// What must be known before the last bytes are given out.
enum Check {
    /// That everything read hashes to the digest.
    Hash(Box<Hasher>),
    /// That the fill, which goes on, has found so.
    Fill(watch::Receiver<State>),
    /// Nothing: an exact slice.
    Nothing,
}

impl Direct {
    /// Reads `range`, far ahead of the front; with `hold` its last bytes wait for the fill's verification.
    pub(super) async fn ahead(
        fill: &Arc<Fill>,
        size: u64,
        range: Range<u64>,
        hold: bool,
    ) -> Result<Self, Error> {
        let end = Some(range.end).filter(|end| *end < size);
        let fetch = Fetch::open(&fill.shared, &fill.origin, Some(size), range.start, end).await?;
        let check = if hold {
            Check::Fill(fill.spool.follow())
        } else {
            Check::Nothing
        };
        Ok(Self::new(fill, fetch, check, range, size))
    }

    /// Reads `range` where storing stopped. `held` are the spool's bytes from the range's start to its front, if it starts
    /// before.
    pub(super) async fn after(
        fill: &Arc<Fill>,
        tail: &Tail,
        size: u64,
        range: Range<u64>,
        held: Bytes,
    ) -> Result<Self, Error> {
        let front = tail.front();
        let from = range.start + held.len() as u64;
        let verify = from == front && range.end > fill.held_from(size);
        let end = Some(range.end).filter(|end| !verify && *end < size);
        let open = if from == front { tail.take() } else { None };
        let fetch = match open {
            Some(fetch) => fetch,
            None => Fetch::open(&fill.shared, &fill.origin, Some(size), from, end).await?,
        };
        let check = if verify {
            Check::Hash(Box::new(tail.hasher.clone()))
        } else {
            Check::Nothing
        };
        let mut direct = Self::new(fill, fetch, check, range, size);
        direct
            .held
            .extend(Some(held).filter(|held| !held.is_empty()));
        Ok(direct)
    }

    fn new(fill: &Arc<Fill>, fetch: Fetch, check: Check, range: Range<u64>, size: u64) -> Self {
        let open_to = match check {
            Check::Nothing => range.end,
            Check::Hash(_) | Check::Fill(_) => range.end.min(fill.held_from(size)),
        };
        let held = VecDeque::new();
        Self {
            fill: Arc::clone(fill),
            fetch,
            check,
            held,
            at: range.start,
            end: range.end,
            open_to,
        }
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.at < self.end {
            if let Some(piece) = self.give() {
                return Ok(Some(piece));
            }
            match self.fetch.next().await? {
                Some(piece) => {
                    if let Check::Hash(hasher) = &mut self.check {
                        hasher.update(&piece);
                    }
                    self.held.push_back(piece);
                }
                None => self.confirm().await?,
            }
        }
        Ok(None)
    }

    /// Bytes that may be given out.
    fn give(&mut self) -> Option<Bytes> {
        let left = usize::try_from(self.open_to.saturating_sub(self.at)).unwrap_or(usize::MAX);
        if left == 0 {
            return None;
        }
        let mut piece = self.held.pop_front()?;
        if piece.len() > left {
            self.held.push_front(piece.split_off(left));
        }
        self.at += piece.len() as u64;
        Some(piece)
    }

    /// Everything came: may the rest go out?
    async fn confirm(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.check, Check::Nothing) {
            Check::Hash(hasher) => {
                let (expected, computed) = (self.fill.origin.digest.clone(), hasher.finish());
                if computed != expected {
                    let error = Error::Mismatch { expected, computed };
                    self.fill.shared.mismatch(&self.fill.origin, &error);
                    return Err(error);
                }
            }
            Check::Fill(mut states) => {
                let ended = states
                    .wait_for(|state| !matches!(state.phase, Phase::Growing))
                    .await;
                let state = ended.map_err(|_| Error::Aborted)?;
                if let Phase::Failed(error) = &state.phase {
                    return Err(error.clone());
                }
            }
            Check::Nothing if self.open_to == self.end => return Err(Error::Aborted),
            Check::Nothing => {}
        }
        self.open_to = self.end;
        Ok(())
    }
}
