//! The recalls in force: digests that this node refuses whatever else it knows of them. Swapped whole with each slice.
//!
//! Here is only what was named; what contains it is found by `registry/recall.rs`, which can read manifests. Nothing is deleted: a
//! lifted recall serves again what was stored. Source: `spec/operations.md` `regmesh recall`.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use wire::digest::Digest;

/// Digests and why each is refused. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Recalls(Arc<ArcSwap<HashMap<Digest, String>>>);

impl Recalls {
    /// Puts these in force, and no others.
    pub fn replace(&self, recalls: HashMap<Digest, String>) {
        self.0.store(Arc::new(recalls));
    }

    /// Those in force now.
    #[must_use]
    pub fn now(&self) -> Arc<HashMap<Digest, String>> {
        self.0.load_full()
    }

    /// Whether there are none, as nearly always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Whether this very digest was recalled.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.load().contains_key(digest)
    }
}
