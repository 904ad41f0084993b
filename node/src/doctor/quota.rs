//! `QUOTA`: what the upstreams say is left of our rate, and what is left of the disk. As last seen; nobody is asked.

use wire::api::doctor::Outcome;

use super::{Finding, Patient, found};

/// Of a rate's remaining requests: from here on it is told.
const FEW: u64 = 20;
/// Room for a layer that is not unusual.
const ROOM: u64 = 64 << 20;

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut findings: Vec<Finding> = patient
        .upstreams()
        .iter()
        .filter_map(|active| {
            let name = active.upstream.name();
            rate(name, (patient.remaining)(name)?)
        })
        .collect();
    findings.extend(disk(patient));
    found(
        findings,
        "no upstream is near its limit, and the disk has room",
    )
}

fn rate(name: &str, remaining: u64) -> Option<Finding> {
    let subject = Some(format!("upstream {name}"));
    let fix = "give the rules a credential of an account with a higher limit, let tags be checked less often (`freshness.check`), or lower `requestsPerSecond`; stored content is served meanwhile";
    match remaining {
        0 => Some(Finding::failed(
            subject,
            "nothing is left of this node's rate there, as last seen",
            fix,
        )),
        1..=FEW => Some(Finding::warning(
            subject,
            format!("{remaining} requests are left of this node's rate there, as last seen"),
            fix,
        )),
        _ => None,
    }
}

fn disk(patient: &Patient) -> Option<Finding> {
    if patient.store.has_room(ROOM) {
        return None;
    }
    let full = patient.store.fullness();
    let text = format!(
        "no room for another {} MiB: {} MiB of {} are stored, {} MiB are free on the disk",
        ROOM >> 20,
        full.stored >> 20,
        full.capacity >> 20,
        full.free >> 20
    );
    let fix = "raise `storage.maxSize` or give the node a larger disk; what is least used is evicted by itself unless `storage.gc` is off, and what does not fit streams through";
    let outcome = if patient.store.has_room(1 << 20) {
        Outcome::Warning
    } else {
        Outcome::Failed
    };
    Some(match outcome {
        Outcome::Failed => Finding::failed(None, text, fix),
        Outcome::Ok | Outcome::Skipped | Outcome::Warning => Finding::warning(None, text, fix),
    })
}
