//! `doctor`: the checks of every node that can be asked, all at once, and TREE, which only the control plane can make.
//!
//! TREE looks at what is known already: depth and loops, nodes that are away, behind, ahead, refusing or off the time, and alarms of the
//! control plane itself. A node that does not answer fails TREE, also when only others were wanted: silence never looks like health. Source:
//! `spec/operations.md` "doctor".

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use wire::{
    api::{
        ask::{Answer, Question},
        doctor::{Check, CheckId, Outcome, Report, Request},
        mesh::{Health, MeshStatus, NodeInTree},
    },
    name::{CredentialName, NodeName},
};

use crate::{asking::Asking, status::SKEW_MS};

/// How many nodes are asked at once.
const AT_ONCE: usize = 64;
/// Tiers that a tree may have.
const TIERS: u8 = 3;

/// Makes the checks that are wanted. Nodes are given `within` to answer.
pub async fn examine(
    status: &MeshStatus,
    request: Request,
    nodes: &dyn Asking,
    within: Duration,
) -> Report {
    let wanted = |id: CheckId| request.only.is_empty() || request.only.contains(&id);
    let of_nodes: Vec<CheckId> = CheckId::ALL
        .into_iter()
        .filter(|id| !matches!(id, CheckId::Tree | CheckId::Client) && wanted(*id))
        .collect();
    let examined: Vec<&NodeInTree> = status
        .nodes
        .iter()
        .filter(|node| request.node.as_ref().is_none_or(|only| *only == node.name))
        .collect();
    let mut checks = Vec::new();
    if wanted(CheckId::Tree) {
        checks.extend(tree(status, &examined, request.node.is_none()));
    }
    if !of_nodes.is_empty() {
        let only = if request.only.is_empty() {
            Vec::new()
        } else {
            of_nodes.clone()
        };
        // Collected first: a stream over borrowed nodes would not be `Send`.
        let asked: Vec<_> = examined
            .iter()
            .map(|node| {
                let question = Question::Doctor {
                    only: only.clone(),
                    credentials: None,
                };
                of_node(node.name.clone(), &of_nodes, question, nodes, within)
            })
            .collect();
        let answers: Vec<Vec<Check>> = futures_util::stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        checks.extend(answers.into_iter().flatten());
    }
    report(checks)
}

/// The health of one credential set: CRED-HEALTH of the rules that use it, on each of the nodes that have such rules. Nothing of rules
/// that use another set is in it, and a set that no rule uses has no health.
pub async fn health(
    set: &CredentialName,
    users: Vec<NodeName>,
    nodes: &dyn Asking,
    within: Duration,
) -> Report {
    let ids = [CheckId::CredHealth];
    // Collected first: a stream over borrowed nodes would not be `Send`.
    let asked: Vec<_> = users
        .into_iter()
        .map(|node| {
            let question = Question::Doctor {
                only: ids.to_vec(),
                credentials: Some(set.clone()),
            };
            of_node(node, &ids, question, nodes, within)
        })
        .collect();
    let answers: Vec<Vec<Check>> = futures_util::stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let own = format!(" (credential set {set})");
    let is_about = |check: &Check| match &check.subject {
        Some(subject) => subject.ends_with(&own),
        // A node of an earlier release vouches for all its rules at once: that says nothing about this set.
        None => check.outcome != Outcome::Ok,
    };
    let checks = answers.into_iter().flatten();
    report(checks.filter(is_about).collect())
}

/// A report of these checks, grouped by id; what did not apply makes nothing worse.
#[must_use]
pub fn report(mut checks: Vec<Check>) -> Report {
    checks.sort_by(|a, b| (a.id, &a.node, &a.subject).cmp(&(b.id, &b.node, &b.subject)));
    let outcomes = checks.iter().map(|check| check.outcome);
    let outcome = outcomes
        .filter(|outcome| *outcome != Outcome::Skipped)
        .max();
    Report {
        outcome: outcome.unwrap_or(Outcome::Ok),
        checks,
    }
}

async fn of_node(
    node: NodeName,
    ids: &[CheckId],
    question: Question,
    nodes: &dyn Asking,
    within: Duration,
) -> Vec<Check> {
    let answer = nodes.ask(&node, question, within).await;
    let why = match answer {
        Ok(Answer::Doctor(checks)) => {
            // A node speaks for itself alone.
            let own = checks.into_iter().map(|check| Check {
                node: Some(node.clone()),
                ..check
            });
            return own.collect();
        }
        Ok(_) => "it answered something else".to_owned(),
        Err(error) => wire::api::problem::Problem::from(error).detail,
    };
    let text = format!(
        "it does not answer, so its checks ({}) were not made: {why}",
        names(ids)
    );
    let fix = format!(
        "look whether {node} runs and reaches the control plane's node service; a node that was never joined needs `regmesh node join-token {node}`"
    );
    vec![check(Some(&node), Outcome::Failed, text, Some(fix))]
}

fn names(ids: &[CheckId]) -> String {
    let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    names.join(", ")
}

/// TREE of these nodes; of the whole mesh, with what belongs to no node.
#[must_use]
pub fn tree(status: &MeshStatus, examined: &[&NodeInTree], whole: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    if whole {
        let alarms = status.alarms.iter().map(|alarm| {
            let fix = "look at the control plane's log and its disk or database; nodes keep what they have meanwhile";
            check(None, Outcome::Failed, alarm.clone(), Some(fix.to_owned()))
        });
        checks.extend(alarms);
    }
    checks.extend(examined.iter().flat_map(|node| of_tree(status, node)));
    let well = checks.iter().all(|check| check.outcome == Outcome::Ok);
    if well {
        let deepest = examined.iter().map(|node| node.tier).max().unwrap_or(0);
        let text = match (status.mesh.as_ref(), whole) {
            (None, _) => "no topology was applied yet".to_owned(),
            (Some(_), true) => format!(
                "{} nodes in {deepest} tiers, without loops, connected and at generation {}",
                examined.len(),
                status.generation
            ),
            (Some(_), false) => format!(
                "tier {deepest}, connected and at generation {}",
                status.generation
            ),
        };
        let node = examined.first().filter(|_| !whole).map(|node| &node.name);
        checks.push(check(node, Outcome::Ok, text, None));
    }
    checks
}

fn check(node: Option<&NodeName>, outcome: Outcome, text: String, fix: Option<String>) -> Check {
    Check {
        id: CheckId::Tree,
        node: node.cloned(),
        subject: None,
        outcome,
        text,
        fix,
    }
}

fn of_tree(status: &MeshStatus, node: &NodeInTree) -> Vec<Check> {
    let name = &node.name;
    let mut found = Vec::new();
    let mut add = |outcome, text: String, fix: String| {
        found.push(check(Some(name), outcome, text, Some(fix)));
    };
    if node.tier > TIERS {
        let fix = "give it a parent further up".to_owned();
        add(
            Outcome::Failed,
            format!("it is in tier {}; {TIERS} are allowed", node.tier),
            fix,
        );
    }
    if loops(status, node) {
        let fix = "change `parent` so that every chain ends at a node without one".to_owned();
        add(
            Outcome::Failed,
            "its parents lead back to itself".to_owned(),
            fix,
        );
    }
    let reason = node.reason.clone().unwrap_or_default();
    match node.health {
        Health::Healthy | Health::Degraded => {}
        Health::Refused => add(
            Outcome::Failed,
            reason,
            "mend what the node names and apply again; it keeps its last good generation meanwhile".to_owned(),
        ),
        Health::Ahead => add(
            Outcome::Failed,
            reason,
            "the store was restored from an older backup: `regmesh control recover` raises the generation above all seen".to_owned(),
        ),
        Health::Disconnected => add(
            Outcome::Failed,
            format!("it is not connected to the control plane: {reason}"),
            "look at the node's log, and at the way from it to the control plane's node service".to_owned(),
        ),
        Health::Absent => add(
            Outcome::Warning,
            reason,
            format!("`regmesh node join-token {name}`, then `regmesh node --join TOKEN` where it is to run"),
        ),
        Health::Draining => add(Outcome::Warning, reason, "start it again".to_owned()),
    }
    skew(status, node, &mut add);
    found
}

/// Generations and clocks of connected instances.
fn skew(status: &MeshStatus, node: &NodeInTree, add: &mut impl FnMut(Outcome, String, String)) {
    for instance in node.instances.iter().filter(|instance| instance.connected) {
        let at = instance.generation.unwrap_or_default();
        let lags = at < status.generation && node.health == Health::Degraded;
        if lags {
            add(
                Outcome::Warning,
                format!(
                    "instance {} has generation {at}, not {} yet",
                    instance.id, status.generation
                ),
                "a node takes a generation within a second; if it stays, look at its log"
                    .to_owned(),
            );
        }
        if instance.clock_skew_ms.abs() > SKEW_MS {
            add(
                Outcome::Warning,
                format!(
                    "the clock of instance {} is off by {} s",
                    instance.id,
                    instance.clock_skew_ms / 1_000
                ),
                "set the time there by NTP: tokens and certificates are judged by it".to_owned(),
            );
        }
    }
    for instance in &node.instances {
        if let Some(why) = &instance.shut_out {
            add(
                Outcome::Warning,
                format!("instance {} may not come back: {why}", instance.id),
                format!(
                    "`regmesh node join-token {}`, and join again with an empty data directory",
                    node.name
                ),
            );
        }
    }
}

fn loops(status: &MeshStatus, node: &NodeInTree) -> bool {
    let mut seen = BTreeSet::from([&node.name]);
    let mut parent = node.parent.as_ref();
    while let Some(name) = parent {
        if !seen.insert(name) {
            return true;
        }
        let above = status.nodes.iter().find(|node| node.name == *name);
        parent = above.and_then(|node| node.parent.as_ref());
    }
    false
}

#[cfg(test)]
mod tests;
