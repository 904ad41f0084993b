//! The tree of nodes and how each is: the topology in force joined with what was heard, in one pass, asking nobody.
//!
//! Health is one word, the worst that applies; `reason` says it in words. A node that is declared and was never heard of stands in the
//! tree, too. Alarms are about the control plane itself. Source: `spec/operations.md` `regmesh status`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use topology::model::{Node, Topology};
use wire::{
    api::{
        mesh::{Health, Instance, MeshStatus, NodeInTree, UnwellRule},
        status::{NodeStatus, RuleState},
    },
    generation::Generation,
    name::NodeName,
};

use crate::{
    asking::Seen,
    publish::Current,
    report::{InstanceSeen, NodeSeen},
};

/// Clocks further apart than this are worth a word, in milliseconds.
pub const SKEW_MS: i64 = 30_000;

/// What an operator must know about the control plane itself, by what it is about. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Alarms(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Alarms {
    /// Raises one, or changes what it says.
    pub fn raise(&self, about: &'static str, text: String) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.get(about) != Some(&text) {
            tracing::error!(about, text, "alarm");
            alarms.insert(about, text);
        }
    }

    /// Ends one.
    pub fn clear(&self, about: &'static str) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.remove(about).is_some() {
            tracing::info!(about, "alarm ended");
        }
    }

    /// What one says, if it is raised.
    #[must_use]
    pub fn about(&self, about: &str) -> Option<String> {
        let alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.get(about).cloned()
    }

    /// All that are raised.
    #[must_use]
    pub fn raised(&self) -> Vec<String> {
        let alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.values().cloned().collect()
    }
}

/// The status of the mesh.
#[must_use]
pub fn status(current: &Current, seen: &Seen, alarms: &[String]) -> MeshStatus {
    let newest = current.published.generation;
    let mut alarms = alarms.to_vec();
    alarms.extend(ahead(newest, seen));
    let topology = current.topology.as_deref();
    let ordered = topology.map(depth_first).unwrap_or_default();
    let nodes = ordered.into_iter().filter_map(|node| {
        let revoked = current.published.desired.revoked.get(&node.name).copied();
        let known = seen.nodes.get(&node.name);
        let tier = topology?.tier(&node.name);
        let last_seen = known.and_then(|known| known.instances.values().map(|i| i.last_seen).max());
        let revoked = revoked.is_some_and(|at| last_seen.is_none_or(|seen| seen <= at));
        Some(in_tree(node, tier, known, seen, newest, revoked))
    });
    MeshStatus {
        nodes: nodes.collect(),
        mesh: topology.map(|topology| topology.mesh.clone()),
        generation: newest,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        alarms,
    }
}

/// Nodes that have seen more than this control plane: its store was restored from an older backup.
fn ahead(newest: Generation, seen: &Seen) -> Option<String> {
    let ahead = seen.nodes.iter().filter(|(_, seen)| is_ahead(seen));
    let names: Vec<&str> = ahead.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let shown = names
        .iter()
        .take(10)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    Some(format!(
        "{} nodes are ahead of this control plane, which has generation {newest} ({shown}): it was restored from an older backup; they keep what they have until `regmesh control recover`",
        names.len()
    ))
}

/// Parents before their children, siblings in order of name.
fn depth_first(topology: &Topology) -> Vec<&Node> {
    let mut children: BTreeMap<Option<&NodeName>, Vec<&Node>> = BTreeMap::new();
    for node in topology.nodes.values() {
        children.entry(node.parent.as_ref()).or_default().push(node);
    }
    let mut waiting: Vec<&Node> = children.remove(&None).unwrap_or_default();
    waiting.reverse();
    let mut ordered = Vec::with_capacity(topology.nodes.len());
    while let Some(node) = waiting.pop() {
        ordered.push(node);
        let below = children.remove(&Some(&node.name)).unwrap_or_default();
        waiting.extend(below.into_iter().rev());
    }
    ordered
}

fn in_tree(
    node: &Node,
    tier: u8,
    known: Option<&NodeSeen>,
    seen: &Seen,
    newest: Generation,
    revoked: bool,
) -> NodeInTree {
    let newest_report = known.and_then(NodeSeen::newest);
    let status = newest_report.and_then(|instance| instance.seen.status.as_ref());
    let (health, reason) = health(known, status, newest, revoked, seen);
    let counters = newest_report.map(|instance| instance.seen.counters);
    let instances = known.map(|known| known.instances.iter());
    let unwell = status.map(unwell).unwrap_or_default();
    NodeInTree {
        name: node.name.clone(),
        parent: node.parent.clone(),
        tier,
        endpoint: node.endpoint.to_string(),
        health,
        reason,
        instances: instances
            .into_iter()
            .flatten()
            .map(|(id, instance)| shown(id, instance, seen))
            .collect(),
        generation: known.and_then(NodeSeen::generation),
        refused: known.and_then(refused).cloned(),
        unwell,
        rules: node.rules.len() as u64,
        counters: counters.unwrap_or_default(),
        stored_bytes: status.map_or(0, |status| status.store.bytes),
        capacity_bytes: status.and_then(|status| status.store.capacity),
        copies: status.map_or(0, |status| {
            status.copies.queued + status.copies.running + status.copies.failing
        }),
    }
}

fn shown(id: &str, instance: &InstanceSeen, seen: &Seen) -> Instance {
    let said = &instance.seen;
    Instance {
        id: id.to_owned(),
        connected: instance.connected,
        last_seen: Some(instance.last_seen),
        version: Some(said.version.clone()).filter(|version| !version.is_empty()),
        generation: Some(said.generation),
        certificate_until: Some(said.certificate_until),
        clock_skew_ms: said.clock_skew_ms,
        shut_out: seen.shut_out.get(id).cloned(),
    }
}

fn unwell(status: &NodeStatus) -> Vec<UnwellRule> {
    let rules = status.rules.iter();
    let unwell =
        rules.filter(|rule| !matches!(rule.status, RuleState::Active | RuleState::Disabled));
    unwell
        .map(|rule| UnwellRule {
            name: rule.name.clone(),
            status: rule.status,
            reason: rule.reason.clone(),
        })
        .collect()
}

fn refused(known: &NodeSeen) -> Option<&wire::api::mesh::Refused> {
    let connected = known
        .instances
        .values()
        .filter(|instance| instance.connected);
    connected
        .filter_map(|instance| instance.seen.refused.as_ref())
        .max_by_key(|refused| refused.generation)
}

fn is_ahead(known: &NodeSeen) -> bool {
    let mut connected = known
        .instances
        .values()
        .filter(|instance| instance.connected);
    connected.any(|instance| instance.seen.ahead)
}

/// The worst that applies, and why.
fn health(
    known: Option<&NodeSeen>,
    status: Option<&NodeStatus>,
    newest: Generation,
    revoked: bool,
    seen: &Seen,
) -> (Health, Option<String>) {
    let because = |health, text: String| (health, Some(text));
    let Some(known) = known.filter(|known| !known.instances.is_empty()) else {
        let text = if revoked {
            "it was revoked and has not joined again"
        } else {
            "no instance has ever joined"
        };
        return because(Health::Absent, text.to_owned());
    };
    if !known.connected() {
        if revoked {
            let text = "it was revoked and has not joined again";
            return because(Health::Absent, text.to_owned());
        }
        let out = known.instances.keys().find_map(|id| seen.shut_out.get(id));
        if let Some(out) = out {
            return because(Health::Disconnected, format!("it may not come back: {out}"));
        }
        let last = known
            .instances
            .values()
            .map(|instance| instance.last_seen)
            .max();
        let text = last.map_or_else(String::new, |last| format!("last heard of at {last}"));
        return because(Health::Disconnected, text);
    }
    if is_ahead(known) {
        let text = "it has seen a newer generation than this control plane has".to_owned();
        return because(Health::Ahead, text);
    }
    if let Some(refused) = refused(known) {
        let first = refused
            .problems
            .first()
            .map_or("", |problem| problem.message.as_str());
        let text = format!("it refused generation {}: {first}", refused.generation);
        return because(Health::Refused, text);
    }
    if status.is_some_and(|status| status.draining) {
        return because(Health::Draining, "it is going down".to_owned());
    }
    match wrong(known, status, newest) {
        Some(text) => because(Health::Degraded, text),
        None => (Health::Healthy, None),
    }
}

/// What is wrong with a connected node that has nothing worse.
fn wrong(known: &NodeSeen, status: Option<&NodeStatus>, newest: Generation) -> Option<String> {
    let at = known.generation().unwrap_or_default();
    if at < newest {
        return Some(format!("it has generation {at}, not {newest} yet"));
    }
    let Some(status) = status else {
        return Some("it has not reported yet".to_owned());
    };
    if let Some(why) = &status.store.degraded {
        return Some(format!("its store is degraded: {why}"));
    }
    if !status.ready {
        return Some("it takes no requests".to_owned());
    }
    let skew = known
        .instances
        .values()
        .filter(|instance| instance.connected);
    let skew = skew
        .map(|instance| instance.seen.clock_skew_ms)
        .max_by_key(|skew| skew.abs());
    if let Some(skew) = skew.filter(|skew| skew.abs() > SKEW_MS) {
        return Some(format!("its clock is off by {} s", skew / 1_000));
    }
    let unwell = unwell(status);
    let first = unwell.first()?;
    let reason = first
        .reason
        .as_deref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let others = match unwell.len() {
        1 => String::new(),
        n => format!(", and {} more", n - 1),
    };
    Some(format!(
        "rule {} is {}{reason}{others}",
        first.name,
        first.status.as_str()
    ))
}

#[cfg(test)]
mod tests;
