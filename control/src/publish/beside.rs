//! What is decided beside the topology: recalls, revocations, and the number itself after a restore.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use wire::{digest::Digest, generation::Generation, name::NodeName};

use super::{
    Current, Error,
    draft::{Draft, Next, Stamp},
    withdraw,
};
use crate::state::{NewEntry, Recall};

/// The most recalls in force: every node holds them all.
const MOST_RECALLS: usize = 10_000;
/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1_000;
/// A certificate ends a day after it began and may renew for thirty days more; a revocation that is older is about none.
const KEEP_REVOKED: Duration = Duration::from_secs(32 * 24 * 3600);
/// The highest number that an operator may confirm: no mesh gets there by itself, and every JSON parser still reads it exactly.
const HIGHEST: u64 = 1 << 53;

pub(super) fn recall(
    current: &Current,
    digest: &Digest,
    reason: &str,
    stamp: &Stamp,
) -> Result<Draft<Generation>, Error> {
    let recalls = &current.published.desired.recalls;
    let before = recalls.get(digest);
    if let Some(same) = before.filter(|recall| recall.reason == reason) {
        return Ok(Draft::nothing(same.generation));
    }
    if reason.is_empty() || reason.len() > LONGEST_REASON {
        let text = format!("a recall has a reason of 1 to {LONGEST_REASON} bytes");
        return Err(Error::Bad(text));
    }
    if before.is_none() && recalls.len() >= MOST_RECALLS {
        let text = format!("there are {MOST_RECALLS} recalls: lift some first");
        return Err(Error::Bad(text));
    }
    let recall = Recall {
        reason: reason.to_owned(),
        at: stamp.at,
        by: stamp.who.clone(),
        generation: stamp.generation,
    };
    let entry = NewEntry {
        before: before.map(|recall| json!({"reason": recall.reason})),
        after: Some(json!({"reason": reason})),
        ..stamp.entry("recall", format!("recalls/{digest}"))
    };
    let current = stamp.beside(current, |desired| {
        desired.recalls.insert(digest.clone(), recall);
    });
    Ok(published(current, entry))
}

pub(super) fn lift(
    current: &Current,
    digest: &Digest,
    stamp: &Stamp,
) -> Result<Draft<Generation>, Error> {
    let recalls = &current.published.desired.recalls;
    let before = recalls.get(digest).ok_or(Error::NotFound)?;
    let entry = NewEntry {
        before: Some(json!({"reason": before.reason})),
        ..stamp.entry("lift", format!("recalls/{digest}"))
    };
    let current = stamp.beside(current, |desired| {
        desired.recalls.remove(digest);
    });
    Ok(published(current, entry))
}

pub(super) fn revoke(current: &Current, node: &NodeName, stamp: &Stamp) -> Draft<Generation> {
    let before = current.published.desired.revoked.get(node);
    let topology = current.topology.clone();
    let entry = NewEntry {
        before: before.map(|at| json!({"revoked": at.to_string()})),
        after: Some(json!({"revoked": stamp.at.to_string()})),
        ..stamp.entry("revoke", format!("nodes/{node}"))
    };
    let current = stamp.beside(current, |desired| {
        let oldest = stamp.at.minus(KEEP_REVOKED);
        desired.revoked.retain(|_, since| *since >= oldest);
        desired.revoked.insert(node.clone(), stamp.at);
        let withdrawn = &mut desired.grants.withdrawn;
        withdraw::node(withdrawn, topology.as_deref(), node, stamp.withdrawal());
    });
    published(current, entry)
}

pub(super) fn recover(
    current: &Current,
    above: Generation,
    stamp: &Stamp,
) -> Result<Draft<Generation>, Error> {
    if current.topology.is_none() {
        let text = "there is no topology: `regmesh apply` the mesh's first, then recover";
        return Err(Error::Bad(text.to_owned()));
    }
    let raised = above.max(current.generation()).0.checked_add(1);
    let raised = raised.filter(|raised| *raised <= HIGHEST);
    let generation = raised.ok_or_else(|| Error::Bad(format!("{above} cannot be exceeded")))?;
    let stamp = Stamp {
        generation: Generation(generation),
        ..stamp.clone()
    };
    let entry = NewEntry {
        before: Some(json!({"generation": current.generation()})),
        after: Some(json!({"generation": generation})),
        ..stamp.entry("recover", "topology")
    };
    let by = stamp.withdrawal();
    let current = stamp.beside(current, |desired| {
        // Grants of the time that was lost name generations that these may be below.
        let rules = desired.grants.withdrawn.values_mut();
        for known in rules.flat_map(BTreeMap::values_mut) {
            if known.before > Generation(0) {
                known.before = by.before;
            }
            if let Some(left) = &mut known.left {
                left.before = by.before;
            }
        }
    });
    Ok(published(current, entry))
}

fn published(current: Current, entry: NewEntry) -> Draft<Generation> {
    Draft {
        answer: current.generation(),
        next: Some(Next {
            current,
            audit: vec![entry],
        }),
    }
}
