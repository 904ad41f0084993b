//! `COPY-STALL`: pulls pass and nothing is stored, or copies fail or wait for nobody.

use std::{collections::BTreeMap, time::Duration};

use wire::name::RuleName;

use super::{Finding, Patient, ago, found, unreadable};
use crate::{
    rule::{Status, describe::describe, status},
    store::metadata::Job,
};

/// How many jobs are looked at.
const JOBS: usize = 1000;
/// After how many tries a copy is not just unlucky.
const TRIES: u32 = 3;
/// How long a job may be due without being worked on.
const OVERDUE: Duration = Duration::from_secs(120);

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let jobs = match patient.store.metadata().jobs(JOBS).await {
        Ok(jobs) => jobs,
        Err(error) => return unreadable(&error),
    };
    let mut findings = unstored(patient);
    findings.extend(failing(&jobs));
    findings.extend(overdue(patient, &jobs));
    let waiting = jobs.len();
    found(
        findings,
        format!("what is pulled is stored; {waiting} copies wait or run, none fails"),
    )
}

fn unstored(patient: &Patient) -> Vec<Finding> {
    let now = patient.now();
    let mut findings = Vec::new();
    for active in patient.rules.iter() {
        let facts = active.state.facts();
        if status::status(active.rule.enabled, &facts, now) == Status::NotStoring {
            let why = describe(active, now).reason.unwrap_or_default();
            findings.push(Finding::failed(
                Some(format!("rule {}", active.rule.name)),
                format!(
                    "NotStoring: {} pulls passed since something was last stored: {why}",
                    facts.unstored_pulls
                ),
                "mend what STORE-WRITE and QUOTA say; the copies are kept and complete by themselves",
            ));
        }
    }
    findings
}

fn failing(jobs: &[Job]) -> Vec<Finding> {
    let mut by_rule: BTreeMap<&RuleName, Vec<&Job>> = BTreeMap::new();
    for job in jobs.iter().filter(|job| job.attempts >= TRIES) {
        by_rule.entry(&job.rule).or_default().push(job);
    }
    let told = by_rule.into_iter().filter_map(|(rule, jobs)| {
        let worst = jobs.iter().max_by_key(|job| job.attempts)?;
        let why = worst.last_error.as_deref().unwrap_or("no reason is known");
        let text = format!(
            "{} copies fail; that of {}@{} {} times: {why}",
            jobs.len(),
            worst.repository,
            worst.root,
            worst.attempts
        );
        let fix = "`regmesh explain` of that repository shows who refuses what; the copies are tried again by themselves";
        Some(Finding::failed(Some(format!("rule {rule}")), text, fix))
    });
    told.collect()
}

fn overdue(patient: &Patient, jobs: &[Job]) -> Option<Finding> {
    let now = patient.now();
    let late = |job: &&Job| {
        let since = job.due_at.age(now).unwrap_or_default();
        since > OVERDUE && !patient.copies.is_running(&job.repository, &job.root)
    };
    let count = jobs.iter().filter(late).count();
    let oldest = jobs.iter().find(late)?;
    let since = ago(oldest.due_at.age(now).unwrap_or_default());
    Some(Finding::warning(
        None,
        format!("{count} copies are due and not begun, the first for {since}"),
        "the workers are busy with others: `--set copy-workers=N` allows more at once, and the upstream's `maxConcurrent` more transfers",
    ))
}
