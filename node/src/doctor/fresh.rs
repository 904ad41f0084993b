//! `FRESH`: tags that cannot be checked, and so are served stale or not at all.
//!
//! Only rules whose upstream is away or refuses us are looked into; whether a tag still counts as fresh and whether it may be served
//! stale are the pull's own decisions (`registry::freshness`, `registry::verdict`).

use std::{collections::BTreeMap, time::Duration};

use wire::{name::RuleName, time::WallTime};

use super::{Finding, Patient, REPOSITORIES, ago, found, unreadable};
use crate::{
    registry::{
        freshness::{self, Freshness},
        verdict::{self, Case, Verdict},
    },
    rule::ActiveRule,
    store::{Error, metadata::TagRecord},
    upstream::error::Kind,
};

/// How many tags of one repository are looked at.
const TAGS: usize = 50;

/// What was counted of one rule.
#[derive(Debug, Default)]
struct Seen {
    stale: u64,
    refused: u64,
    oldest: Duration,
    why: String,
}

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    match look(patient).await {
        Ok((tags, by_rule)) => {
            let findings = by_rule.iter().filter_map(|(rule, seen)| told(rule, seen));
            let findings = findings.collect();
            found(
                findings,
                format!("{tags} tags were looked at, and each can be checked when it is due"),
            )
        }
        Err(error) => unreadable(&error),
    }
}

async fn look(patient: &Patient) -> Result<(u64, BTreeMap<RuleName, Seen>), Error> {
    let metadata = patient.store.metadata();
    let (now, mut count) = (patient.now(), 0);
    let mut by_rule: BTreeMap<RuleName, Seen> = BTreeMap::new();
    for repository in metadata.repositories(None, REPOSITORIES).await? {
        let covered = patient.rules.resolve(&repository);
        let Some(covered) = covered.filter(|covered| covered.active.rule.enabled) else {
            continue;
        };
        let tags = metadata.tags(&repository, None, TAGS).await?;
        for tag in tags.into_iter().flatten() {
            let Some(record) = metadata.tag(&repository, &tag).await? else {
                continue;
            };
            count += 1;
            let name = covered.active.rule.name.clone();
            let seen = by_rule.entry(name).or_default();
            weigh(&covered.active, &record, now, seen);
        }
    }
    Ok((count, by_rule))
}

fn weigh(active: &ActiveRule, record: &TagRecord, now: WallTime, seen: &mut Seen) {
    let facts = active.state.facts();
    let answer = match (facts.denied_since, facts.away_since) {
        (Some(_), _) => Kind::Denied,
        (None, Some(_)) => Kind::Away { retry_after: None },
        (None, None) => return,
    };
    let rule = &active.rule;
    if freshness::decide(record, &rule.freshness, now) != Freshness::Check {
        return;
    }
    let case = Case {
        answer,
        stored: Some(record),
        denied_since: facts.denied_since,
        moved: false,
    };
    let is_served = matches!(verdict::decide(&case, rule, now), Verdict::Serve { .. });
    seen.stale += u64::from(is_served);
    seen.refused += u64::from(!is_served);
    seen.oldest = seen
        .oldest
        .max(record.checked_at.age(now).unwrap_or_default());
    if let Some(failure) = facts.last_error {
        seen.why = format!("{}: {}", failure.refusal, failure.detail);
    }
}

fn told(rule: &RuleName, seen: &Seen) -> Option<Finding> {
    let Seen {
        stale,
        refused,
        oldest,
        why,
    } = seen;
    let subject = Some(format!("rule {rule}"));
    let oldest = ago(*oldest);
    if *refused > 0 {
        let text = format!(
            "{refused} tags are not served any more and {stale} are served stale, last checked up to {oldest} ago: {why}"
        );
        let fix = "mend what NET-PATH and CRED-HEALTH say about the upstream; a longer `freshness.serveStale` or `deniedGrace` lets tags be served meanwhile, digests always are";
        return Some(Finding::failed(subject, text, fix));
    }
    (*stale > 0).then(|| {
        let text = format!("{stale} tags are served stale, last checked up to {oldest} ago: {why}");
        let fix = "mend what NET-PATH and CRED-HEALTH say about the upstream; the tags are checked by themselves from then on";
        Finding::warning(subject, text, fix)
    })
}
