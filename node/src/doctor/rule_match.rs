//! `RULE-MATCH`: rules that do not take effect, and what was filled by rules that are no longer there.

use wire::{api::status::RuleState, repository::RepositoryName};

use super::{Finding, Patient, REPOSITORIES, found, unreadable};
use crate::{
    rule::describe::describe,
    store::{Error, metadata::Origin},
};

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let mut findings = idle(patient);
    match orphans(patient).await {
        Ok(orphans) => findings.extend(told(&orphans)),
        Err(error) => return unreadable(&error),
    }
    let count = patient.working().len();
    found(
        findings,
        format!("{count} rules are in force, and none stands in its own way"),
    )
}

fn idle(patient: &Patient) -> Vec<Finding> {
    let now = patient.now();
    let mut findings = Vec::new();
    for active in patient.rules.iter() {
        let rule = describe(active, now);
        let subject = Some(format!("rule {}", rule.name));
        if rule.status == RuleState::Conflict {
            let with = active.state.facts().conflict;
            let name = with.map_or_else(String::new, |name| name.to_string());
            findings.push(Finding::failed(
                subject,
                format!("does not take effect: '{name}' below its target {} holds pushed content", rule.target),
                format!("give the rule another target, or keep that content elsewhere and delete '{name}' here (`regmesh repository delete`)"),
            ));
        } else if rule.status == RuleState::Disabled {
            let text = format!(
                "is switched off: of {} only what is stored is served",
                rule.target
            );
            findings.push(Finding::skipped(subject, text));
        }
    }
    findings
}

/// Repositories that some rule filled and none covers now.
async fn orphans(patient: &Patient) -> Result<Vec<RepositoryName>, Error> {
    let metadata = patient.store.metadata();
    let mut orphans = Vec::new();
    for repository in metadata.repositories(None, REPOSITORIES).await? {
        if patient.rules.resolve(&repository).is_some() {
            continue;
        }
        let tags = metadata.tags(&repository, None, 1).await?;
        let Some(tag) = tags.into_iter().flatten().next() else {
            continue;
        };
        let record = metadata.tag(&repository, &tag).await?;
        if record.is_some_and(|record| matches!(record.origin, Origin::Filled(_))) {
            orphans.push(repository);
        }
    }
    Ok(orphans)
}

fn told(orphans: &[RepositoryName]) -> Option<Finding> {
    let first = orphans.first()?;
    let text = format!(
        "{} repositories were filled by rules that cover them no more, '{first}' for one: they are served as they are and never checked",
        orphans.len()
    );
    let fix = "bring the rule back (`regmesh explain` names the closest one), or delete them with `regmesh repository delete`";
    Some(Finding::warning(None, text, fix))
}
