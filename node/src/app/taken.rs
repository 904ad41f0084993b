//! What a slice takes away, by itself: what it recalls, whom it revokes, which grants it withdraws, which keys and roles it leaves.
//!
//! Taken from an older slice it can do nothing but refuse, so it needs no signature of its own and waits for nothing: not for a disk
//! that takes the slice (`refuse`), nor for a newest slice that is whole (`agent/last_good`). What a slice *gives* waits. A role that
//! became another one leaves what both allow, so that who edits an assignment cuts nobody off meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use topology::model::{Grants, Recall, SliceOf};
use wire::{
    assignment::Assignment,
    digest::Digest,
    generation::Generation,
    name::{NodeName, RuleAt},
    time::WallTime,
    withdrawal::Withdrawal,
};

use super::{Shared, Slice};

mod role;

/// What a slice takes away. What an earlier release wrote down leaves keys and roles alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Taken {
    /// The generation of the slice.
    pub(crate) generation: Generation,
    recalls: BTreeMap<Digest, (String, WallTime)>,
    revoked: BTreeMap<NodeName, WallTime>,
    withdrawn: BTreeMap<RuleAt, Withdrawal>,
    /// The ids of the keys of grants that are left.
    keys: Option<BTreeSet<String>>,
    /// The role assignments on this node that are left.
    roles: Option<Vec<Assignment>>,
}

impl Taken {
    /// What `slice` takes away from every earlier one.
    pub(crate) fn of(slice: &Slice) -> Self {
        let mut taken = Self {
            generation: slice.generation,
            roles: slice.own().map(|own| own.access.clone()),
            ..Self::default()
        };
        let Some(of) = &slice.topology.slice else {
            return taken;
        };
        let recalls = of.recalls.iter();
        taken.recalls = recalls
            .map(|(digest, recall)| (digest.clone(), (recall.reason.clone(), recall.at)))
            .collect();
        taken.revoked.clone_from(&of.revoked);
        let keys = of.grants.as_ref().map(|grants| grants.keys.keys());
        taken.keys = Some(keys.into_iter().flatten().cloned().collect());
        if let Some(grants) = &of.grants {
            taken.withdrawn.clone_from(&grants.withdrawn);
        }
        taken
    }

    /// Whether it takes the same as another, whatever its generation.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let generation = other.generation;
        *other
            == Self {
                generation,
                ..self.clone()
            }
    }

    /// Takes it from an older slice.
    pub(crate) fn take_from(self, slice: &mut Slice) {
        let node = slice.node.clone();
        let topology = Arc::make_mut(&mut slice.topology);
        if let (Some(left), Some(own)) = (&self.roles, topology.nodes.get_mut(&node)) {
            own.access = role::left(&own.access, left);
        }
        if let Some(of) = &mut topology.slice {
            self.take_beside(of);
        }
    }

    fn take_beside(self, slice: &mut SliceOf) {
        for (digest, (reason, at)) in self.recalls {
            slice.recalls.entry(digest).or_insert(Recall { reason, at });
        }
        later(&mut slice.revoked, self.revoked);
        let Some(Grants {
            withdrawn, keys, ..
        }) = &mut slice.grants
        else {
            return;
        };
        later(withdrawn, self.withdrawn);
        if let Some(left) = self.keys {
            keys.retain(|id, _| left.contains(id));
        }
    }
}

/// Of two the later one, which refuses more.
fn later<N: Ord, T: Ord + Copy>(known: &mut BTreeMap<N, T>, more: BTreeMap<N, T>) {
    for (name, at) in more {
        let known = known.entry(name).or_insert(at);
        *known = (*known).max(at);
    }
}

impl Shared {
    /// The slice in force without what a newer one takes away, which is to follow.
    pub(super) async fn refuse_early(self: &Arc<Self>, newer: &Slice) {
        let mut less = Slice::clone(&self.slice.load());
        if newer.generation < less.generation {
            return;
        }
        let taken = Taken::of(newer);
        // Many roles that all changed take a while.
        let left = self.tasks.spawn_blocking("take-away", move || {
            taken.take_from(&mut less);
            less
        });
        match left.await {
            Ok(less) => self.apply(less).await,
            Err(error) => {
                tracing::error!(node = %self.name, %error, "what a newer slice takes away is not in force yet");
            }
        }
    }
}
