//! What was decided beside the topology: recalls and revocations of a slice.
//!
//! A digest of an algorithm that this node does not know is passed over with a warning: nothing with such a name can be stored or
//! served here. Everything else about a recall may be odd, the digest is refused all the same. A revocation that cannot be read
//! refuses the slice, because letting it go would let somebody in.

use std::collections::BTreeMap;

use wire::{digest::Digest, name::NodeName, time::WallTime};

use super::value;
use crate::{
    document::Slice,
    model::Recall,
    problem::{Code, Finding, Findings},
};

pub(super) fn recalls(slice: &Slice, findings: &mut Findings) -> BTreeMap<Digest, Recall> {
    let mut recalls = BTreeMap::new();
    for (key, recall) in &slice.recalls {
        let Ok(digest) = key.value.parse::<Digest>() else {
            let message = format!("`{}` is no digest that this node knows", key.value);
            findings.push(
                Finding::warning(Code::UnknownKey, key.place, message)
                    .advice("this node can hold nothing of that name; upgrade it"),
            );
            continue;
        };
        let reason = recall.reason.as_ref().map(|at| at.value.clone());
        let at = recall.at.as_ref().and_then(|at| at.value.parse().ok());
        let recall = Recall {
            reason: reason.unwrap_or_default(),
            at: at.unwrap_or_default(),
        };
        recalls.insert(digest, recall);
    }
    recalls
}

pub(super) fn revoked(slice: &Slice, findings: &mut Findings) -> BTreeMap<NodeName, WallTime> {
    let mut revoked = BTreeMap::new();
    for (key, at) in &slice.revoked {
        let name = value::name(key, findings);
        let time = at.value.parse();
        if time.is_err() {
            let message = format!("`{}` is not a time in RFC 3339", at.value);
            findings.push(
                Finding::error(Code::WrongType, at.place, message)
                    .advice("upgrade this node: it does not guess whom to let in"),
            );
        }
        if let Some((name, time)) = name.zip(time.ok()) {
            revoked.insert(name, time);
        }
    }
    revoked
}
