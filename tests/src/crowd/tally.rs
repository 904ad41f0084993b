//! What became of a crowd: who is connected and holds what, and every message that was heard, by kind.

use std::collections::BTreeMap;
use std::ops::Sub;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;
use wire::generation::Generation;

/// Messages to all members, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub welcomes: u64,
    /// Slices with their document.
    pub whole: u64,
    /// Slices that only move the generation.
    pub bare: u64,
    pub heartbeats: u64,
    /// Confirmations of reports.
    pub reported: u64,
    pub others: u64,
}

/// Not all are where they should be.
#[derive(Clone, Debug)]
pub struct Behind {
    pub members: usize,
    pub connected: usize,
    pub current: usize,
    /// Why streams ended or did not begin, and how often, since the start.
    pub losses: BTreeMap<String, usize>,
}

/// A kind of message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Welcome,
    Whole,
    Bare,
    Heartbeat,
    Reported,
    Other,
}

#[derive(Clone, Copy)]
struct Standing {
    connected: bool,
    generation: Generation,
    since: Instant,
}

pub(super) struct Tally {
    members: Mutex<Vec<Standing>>,
    heard: [AtomicU64; 6],
    losses: Mutex<BTreeMap<String, usize>>,
}

impl Tally {
    pub(super) fn new(members: usize, now: Instant) -> Self {
        let nowhere = Standing {
            connected: false,
            generation: Generation(0),
            since: now,
        };
        Self {
            members: Mutex::new(vec![nowhere; members]),
            heard: Default::default(),
            losses: Mutex::default(),
        }
    }

    pub(super) fn hear(&self, kind: Kind) {
        self.heard[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connect(&self, member: usize) {
        self.members.lock().unwrap()[member].connected = true;
    }

    pub(super) fn confirm(&self, member: usize, generation: Generation, now: Instant) {
        let standing = &mut self.members.lock().unwrap()[member];
        (standing.generation, standing.since) = (generation, now);
    }

    pub(super) fn lose(&self, member: usize, why: String) {
        self.members.lock().unwrap()[member].connected = false;
        *self.losses.lock().unwrap().entry(why).or_default() += 1;
    }

    pub(super) fn connected(&self) -> usize {
        let members = self.members.lock().unwrap();
        members.iter().filter(|member| member.connected).count()
    }

    pub(super) fn confirmed(&self, generation: Generation) -> Result<Vec<Instant>, Behind> {
        let members = self.members.lock().unwrap().clone();
        let connected = members.iter().filter(|member| member.connected).count();
        let current = members
            .iter()
            .filter(|member| member.generation >= generation);
        let since: Vec<Instant> = current.map(|member| member.since).collect();
        if connected == members.len() && since.len() == members.len() {
            return Ok(since);
        }
        Err(Behind {
            members: members.len(),
            connected,
            current: since.len(),
            losses: self.losses(),
        })
    }

    pub(super) fn heard(&self) -> Heard {
        let of = |kind: Kind| self.heard[kind as usize].load(Ordering::Relaxed);
        Heard {
            welcomes: of(Kind::Welcome),
            whole: of(Kind::Whole),
            bare: of(Kind::Bare),
            heartbeats: of(Kind::Heartbeat),
            reported: of(Kind::Reported),
            others: of(Kind::Other),
        }
    }

    pub(super) fn losses(&self) -> BTreeMap<String, usize> {
        self.losses.lock().unwrap().clone()
    }
}

impl Sub for Heard {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            welcomes: self.welcomes - before.welcomes,
            whole: self.whole - before.whole,
            bare: self.bare - before.bare,
            heartbeats: self.heartbeats - before.heartbeats,
            reported: self.reported - before.reported,
            others: self.others - before.others,
        }
    }
}

impl Heard {
    pub fn all(self) -> u64 {
        self.welcomes + self.whole + self.bare + self.heartbeats + self.reported + self.others
    }
}
