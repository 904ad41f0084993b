//! What the newest slice refuses (recalls, revocations, withdrawn grants), in a file of its own: `refused.json`.
//!
//! A node whose newest slice is damaged starts on the one before it, which may not know yet what was recalled. This file says it; it is
//! not signed, because all that it can do is refuse. It is written before the slice, and only when it changes.

use std::{collections::BTreeMap, io, sync::Arc};

use serde::{Deserialize, Serialize};
use topology::model::{Grants, Recall, SliceOf, Topology};
use wire::{
    digest::Digest,
    name::{NodeName, RuleAt},
    time::WallTime,
};

use crate::{agent::home::Home, app::Slice};

const NAME: &str = "refused.json";

/// What is refused, as it lies on the disk.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Refused {
    recalls: BTreeMap<Digest, (String, WallTime)>,
    revoked: BTreeMap<NodeName, WallTime>,
    withdrawn: BTreeMap<RuleAt, WallTime>,
}

/// Writes down what `slice` refuses.
pub(super) fn keep(home: &Home, slice: &Slice) -> io::Result<()> {
    let refused = slice
        .topology
        .slice
        .as_ref()
        .map(Refused::of)
        .unwrap_or_default();
    let before = read(home).ok().flatten().unwrap_or_default();
    if refused == before {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&refused).map_err(io::Error::other)?;
    home.write(NAME, &bytes)
}

/// Adds what is written down to an older slice, and says when that cannot be read.
pub(super) fn add(home: &Home, slice: &mut Slice, damage: &mut Vec<String>) {
    match read(home) {
        Ok(Some(refused)) => refused.add(Arc::make_mut(&mut slice.topology)),
        Ok(None) => {}
        Err(why) => damage.push(format!(
            "what the newest slice recalls and revokes is not known, agent/{NAME} cannot be read: {why}"
        )),
    }
}

fn read(home: &Home) -> Result<Option<Refused>, String> {
    let bytes = home.read(NAME).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let refused = serde_json::from_slice(bytes.expose());
    refused.map(Some).map_err(|_| "it is damaged".to_owned())
}

impl Refused {
    fn of(slice: &SliceOf) -> Self {
        let recalls = slice.recalls.iter();
        Self {
            recalls: recalls
                .map(|(digest, recall)| (digest.clone(), (recall.reason.clone(), recall.at)))
                .collect(),
            revoked: slice.revoked.clone(),
            withdrawn: (slice.grants.as_ref())
                .map(|grants| grants.withdrawn.clone())
                .unwrap_or_default(),
        }
    }

    fn add(self, topology: &mut Topology) {
        let Some(slice) = &mut topology.slice else {
            return;
        };
        for (digest, (reason, at)) in self.recalls {
            slice.recalls.entry(digest).or_insert(Recall { reason, at });
        }
        later(&mut slice.revoked, self.revoked);
        if let Some(Grants { withdrawn, .. }) = &mut slice.grants {
            later(withdrawn, self.withdrawn);
        }
    }
}

/// Of two times the later one, which refuses more.
fn later<N: Ord>(times: &mut BTreeMap<N, WallTime>, more: BTreeMap<N, WallTime>) {
    for (name, at) in more {
        let known = times.entry(name).or_insert(at);
        *known = (*known).max(at);
    }
}
