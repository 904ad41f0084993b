//! What was decided beside the topology: recalls, revocations and what grants are believed by, in a slice.
//!
//! A digest of an algorithm that this node does not know is passed over with a warning: nothing with such a name can be stored or
//! served here. Everything else about a recall may be odd, the digest is refused all the same. A revocation that cannot be read
//! refuses the slice, because letting it go would let somebody in.

use std::{collections::BTreeMap, str::FromStr};

use wire::{
    digest::Digest,
    generation::Generation,
    name::{NameError, RuleAt},
    time::WallTime,
    withdrawal::{Left, Withdrawal},
};

use super::value;
use crate::{
    document::{self, Entries, Slice},
    model::{Grants, Recall},
    place::At,
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

/// Names, and since when: of nodes whose certificates are worth nothing, of rules on nodes whose grants were withdrawn.
pub(super) fn since<N: FromStr<Err = NameError> + Ord>(
    entries: &Entries<At<String>>,
    findings: &mut Findings,
) -> BTreeMap<N, WallTime> {
    let mut since = BTreeMap::new();
    for (key, at) in entries {
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
            since.insert(name, time);
        }
    }
    since
}

/// What grants are believed by. A key that is none of ours is the reader's to pass over: it opens nothing.
pub(super) fn grants(slice: &Slice, findings: &mut Findings) -> Option<Grants> {
    let grants = slice.grants.as_ref()?;
    let keys = grants.keys.iter();
    Some(Grants {
        issuer: grants.issuer.as_ref()?.value.clone(),
        former: grants.former.iter().map(|url| url.value.clone()).collect(),
        keys: keys
            .map(|(id, point)| (id.value.clone(), point.value.clone()))
            .collect(),
        withdrawn: withdrawn(&grants.withdrawn, findings),
    })
}

fn withdrawn(
    entries: &Entries<document::slice::Withdrawal>,
    findings: &mut Findings,
) -> BTreeMap<RuleAt, Withdrawal> {
    let times = entries.iter().filter_map(|(rule, withdrawal)| {
        let at = withdrawal.at.clone()?;
        Some((rule.clone(), at))
    });
    let mut times: BTreeMap<RuleAt, WallTime> = since(&times.collect(), findings);
    let left = entries.iter().filter_map(|(rule, withdrawal)| {
        let at = withdrawal.left.as_ref()?.at.clone()?;
        Some((rule.clone(), at))
    });
    let mut left: BTreeMap<RuleAt, WallTime> = since(&left.collect(), findings);
    let read = entries.iter().filter_map(|(rule, withdrawal)| {
        let rule: RuleAt = rule.value.parse().ok()?;
        let before = Generation(withdrawal.before.as_ref()?.value);
        let at = times.remove(&rule)?;
        let left = withdrawal.left.as_ref().and_then(|said| {
            let before = Generation(said.before.as_ref()?.value);
            let at = left.remove(&rule)?;
            Some(Left { before, at })
        });
        Some((rule, Withdrawal { before, at, left }))
    });
    read.collect()
}
