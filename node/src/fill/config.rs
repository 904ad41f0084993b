//! How fills behave, and how they are made.
//!
//! All of it is bounded; every number can be small in a test.

use std::{sync::Arc, time::Duration};

use runtime::{Backoff, Clock, Limit, Tasks};
use wire::name::RuleName;

use super::{
    Fills, Shared, leftover::Leftovers, manifest::Manifests, table::Table, trust::Distrusted,
};
use crate::{rule::recalls::Recalls, store::Store};

/// How fills behave. All of it is bounded.
#[derive(Clone)]
pub struct Config {
    /// Fills at once; beyond, callers get [`super::Error::Busy`].
    pub max: usize,
    /// A range that begins at most so far ahead of the front waits for it, in bytes.
    pub near: u64,
    /// Blobs up to this size are verified in memory before anything of them is given out, in bytes.
    pub small: u64,
    /// How much of the end of a larger blob is held back until its digest is confirmed, in bytes; less than `small`.
    pub hold_back: u64,
    /// How often a broken transfer is continued.
    pub resumes: u32,
    /// The delays before it is.
    pub backoff: Backoff,
    /// How long the disk may take for one step before the fill goes on without it.
    pub disk_patience: Duration,
    /// Reads of spools at once, and writes at once: the share of the blocking pool that fills may take.
    pub disk_limit: usize,
    /// What is not fetched because it was recalled.
    pub recalls: Recalls,
    /// Who is told what metrics count.
    pub hooks: Hooks,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max: 256,
            near: 8 << 20,
            small: 1 << 20,
            hold_back: 64 << 10,
            resumes: 5,
            backoff: Backoff {
                base: Duration::from_millis(250),
                max: Duration::from_secs(5),
            },
            disk_patience: Duration::from_secs(30),
            disk_limit: 64,
            recalls: Recalls::default(),
            hooks: Hooks::default(),
        }
    }
}

/// What metrics count: `regmesh_digest_mismatch_total{upstream}` and `regmesh_fills_total{rule,result}`.
#[derive(Clone)]
pub struct Hooks {
    /// An upstream sent bytes that do not hash to their digest, or a wrong size.
    pub mismatch: Arc<Mismatched>,
    /// A fill ended: `stored`, `linked`, `through`, `mismatch`, `failed` or `aborted`.
    pub ended: Arc<Ended>,
}

/// Takes the upstream's name.
pub type Mismatched = dyn Fn(&str) + Send + Sync;
/// Takes the rule and the word for how it ended.
pub type Ended = dyn Fn(&RuleName, &'static str) + Send + Sync;

impl Default for Hooks {
    fn default() -> Self {
        Self {
            mismatch: Arc::new(|_| {}),
            ended: Arc::new(|_, _| {}),
        }
    }
}

impl Config {
    /// Makes the table of fills, and looks for what an earlier process left unfinished.
    pub fn build(self, store: Store, clock: Clock, tasks: &Tasks) -> Fills {
        let tasks = tasks.child("fill");
        let shared = Arc::new(Shared {
            table: Table::new(self.max),
            distrusted: Distrusted::default(),
            leftovers: Leftovers::default(),
            reads: Limit::new("fill-reads", self.disk_limit),
            writes: Limit::new("fill-writes", self.disk_limit),
            config: self,
            store,
            clock,
            tasks: tasks.clone(),
        });
        let finder = Arc::clone(&shared);
        tasks.spawn("fill-leftovers", async move {
            finder.leftovers.find(&finder.store, finder.now()).await;
        });
        let manifests = Manifests::new(&shared);
        Fills { shared, manifests }
    }
}
