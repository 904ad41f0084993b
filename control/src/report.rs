//! What is known of a running instance of a node: its hello, heartbeats, ACKs, NACKs and reports, put together.
//!
//! Reports are idempotent (an older sequence changes nothing) and bounded (what is over a limit is cut, what is not about its own node is
//! refused). Pure: who keeps it and how often it is written is `distribute`'s. Source: `spec/control-plane.md` "Reports".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{
    api::{
        event,
        mesh::Refused,
        problem::{DocumentProblem, Problem},
        report::{self, Counters, Report},
        status::{NodeStatus, RuleState},
    },
    generation::Generation,
    name::NodeName,
    time::WallTime,
};

/// Problems kept of a refused slice.
const PROBLEMS: usize = 50;
/// Characters kept of each text of a problem.
const TEXT: usize = 2_000;
/// Events made of changed rules in one report.
const CHANGES: usize = 50;

/// What one instance said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seen {
    /// Its version.
    pub version: String,
    /// When its stream was opened.
    pub connected_at: WallTime,
    /// The generation in force there.
    pub generation: Generation,
    /// SHA-256 (hex) of the slice's document in force there.
    pub document_digest: String,
    /// The generation it confirmed last to a control plane over this database.
    pub confirmed: Generation,
    /// The slice it refused, until it confirms a newer one.
    pub refused: Option<Refused>,
    /// Whether it is ahead of this control plane.
    pub ahead: bool,
    /// When its certificate ends.
    pub certificate_until: WallTime,
    /// Milliseconds its clock is ahead of ours.
    pub clock_skew_ms: i64,
    /// The sequence of its last report.
    pub sequence: u64,
    /// Everything its last report said of its status.
    pub status: Option<NodeStatus>,
    /// Totals since its start.
    pub counters: Counters,
}

/// A node as all its instances show it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeSeen {
    /// By id.
    pub instances: BTreeMap<String, InstanceSeen>,
}

/// An instance as it was last heard of.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSeen {
    /// Whether its stream is open, here or at another control plane.
    pub connected: bool,
    /// Whether its stream is open here.
    pub here: bool,
    /// When it was last heard of.
    pub last_seen: WallTime,
    /// What it said.
    pub seen: std::sync::Arc<Seen>,
}

impl NodeSeen {
    /// Whether any instance is connected.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.instances.values().any(|instance| instance.connected)
    }

    /// The lowest generation in force on connected instances.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        let connected = self
            .instances
            .values()
            .filter(|instance| instance.connected);
        connected.map(|instance| instance.seen.generation).min()
    }

    /// The newest report of a connected instance, else of any.
    #[must_use]
    pub fn newest(&self) -> Option<&InstanceSeen> {
        let reported = self
            .instances
            .values()
            .filter(|instance| instance.seen.status.is_some());
        reported.max_by_key(|instance| (instance.connected, instance.last_seen))
    }
}

/// Why a report is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No report.
    #[error("the report cannot be read: {0}")]
    Unreadable(String),
    /// It is about another node.
    #[error("the report is about node '{0}'")]
    OtherNode(NodeName),
}

/// What came of a report, beside the `Seen` that it changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct News {
    /// Events to be kept, without their sequence.
    pub events: Vec<event::Entry>,
    /// Whether the report was new at all.
    pub fresh: bool,
}

impl Seen {
    /// Takes a report in.
    ///
    /// # Errors
    /// When it is no report, or another node's; nothing changes then.
    pub fn report(
        &mut self,
        node: &NodeName,
        sequence: u64,
        bytes: &[u8],
        now: WallTime,
    ) -> Result<News, Invalid> {
        if sequence <= self.sequence {
            return Ok(News::default());
        }
        let report: Report = serde_json::from_slice(bytes)
            .map_err(|error| Invalid::Unreadable(error.to_string()))?;
        if report.status.node != *node {
            return Err(Invalid::OtherNode(report.status.node));
        }
        let foreign = report
            .events
            .iter()
            .find(|event| event.regmesh.node != *node);
        if let Some(event) = foreign {
            return Err(Invalid::OtherNode(event.regmesh.node.clone()));
        }
        let mut events: Vec<_> = report
            .events
            .into_iter()
            .take(report::EVENTS)
            .map(|event| told(event, now))
            .collect();
        events.extend(self.changes(node, &report.status, now));
        self.sequence = sequence;
        self.counters = report.counters;
        self.status = Some(report.status);
        Ok(News {
            events,
            fresh: true,
        })
    }

    /// Rules whose state is another than in the report before.
    fn changes(&self, node: &NodeName, next: &NodeStatus, now: WallTime) -> Vec<event::Entry> {
        let Some(before) = &self.status else {
            return Vec::new();
        };
        let states: BTreeMap<_, RuleState> = before
            .rules
            .iter()
            .map(|rule| (&rule.name, rule.status))
            .collect();
        let changed = next.rules.iter().filter_map(|rule| {
            let was = states.get(&rule.name)?;
            let reason = rule.reason.as_deref().map(|reason| format!(": {reason}"));
            (*was != rule.status).then(|| event::Entry {
                sequence: 0,
                at: now,
                node: Some(node.clone()),
                kind: "rule_status".to_owned(),
                text: cut(&format!(
                    "rule {} is {}, was {}{}",
                    rule.name,
                    rule.status.as_str(),
                    was.as_str(),
                    reason.unwrap_or_default()
                )),
                event: None,
            })
        });
        changed.take(CHANGES).collect()
    }

    /// Takes in that the node put a generation in force.
    pub fn confirm(&mut self, generation: Generation, document_digest: &str) {
        self.generation = generation;
        self.confirmed = generation;
        self.document_digest = document_digest.to_owned();
        self.refused = None;
    }

    /// Takes in that the node refused a generation, with JSON of `Problem` each.
    pub fn refuse(&mut self, generation: Generation, problems: &[Vec<u8>]) {
        let problems = problems.iter().take(PROBLEMS);
        let read = problems.filter_map(|bytes| serde_json::from_slice::<Problem>(bytes).ok());
        let mut problems: Vec<DocumentProblem> =
            read.flat_map(document_problems).take(PROBLEMS).collect();
        if problems.is_empty() {
            problems.push(document_problem("refused", "the node did not say why"));
        }
        self.refused = Some(Refused {
            generation,
            problems,
        });
    }
}

fn document_problems(problem: Problem) -> Vec<DocumentProblem> {
    if problem.problems.is_empty() {
        return vec![document_problem(&problem.code, &problem.detail)];
    }
    let all = problem.problems.into_iter();
    all.map(|problem| DocumentProblem {
        message: cut(&problem.message),
        advice: problem.advice.as_deref().map(cut),
        rendered: problem.rendered.as_deref().map(cut),
        ..problem
    })
    .collect()
}

fn document_problem(code: &str, message: &str) -> DocumentProblem {
    DocumentProblem {
        code: cut(code),
        severity: "error".to_owned(),
        message: cut(message),
        advice: None,
        file: None,
        line: None,
        column: None,
        rendered: None,
    }
}

fn told(event: wire::event::Event, now: WallTime) -> event::Entry {
    let target = &event.target;
    let tag = target.tag.as_ref().map(|tag| format!(":{tag}"));
    event::Entry {
        sequence: 0,
        at: now,
        node: Some(event.regmesh.node.clone()),
        kind: event.action.as_str().to_owned(),
        text: format!(
            "{} {}{}@{} on {}",
            event.action.as_str(),
            target.repository,
            tag.unwrap_or_default(),
            target.digest,
            event.regmesh.node
        ),
        event: Some(event),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
pub(crate) mod tests;
