//! The difference between two topologies, one line for each thing that is added, changed or removed, per node and rule.
//!
//! Things are compared as they would be written (`slice` writes them), so a change of a default that means the same is none,
//! and a changed label that moves a rule to another node shows as what it does to each node. A rule is written once for all nodes that
//! share it: a thousand rules on a thousand nodes are a million lines, and must not be a million documents.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Map, Value};

use wire::{assignment::Assignment, name::NodeName, pattern::Pattern};

use crate::{
    document::{Selector, value::OneOrMany},
    model::{Rule, Topology},
    slice,
};

/// What happens to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is there before and after, and differs.
    Changed,
    /// It is no longer there.
    Removed,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What happens.
    pub kind: Kind,
    /// What it is: `node`, `rule`, `identity`, `credential set`, `issuer`, `account`, `access`, `upstream`, `webhook`, `control`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// The node on which it happens, for what is in force on nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What differs; every key of a thing that is added, none of one that is removed.
    pub keys: Vec<Difference>,
}

/// A key with its values before and after, as they are written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// The value before, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What becomes different when `new` takes the place of `old`: nodes and what is in force on each first, by name. Empty exactly
/// when both mean the same.
#[must_use]
pub fn between(old: Option<&Topology>, new: &Topology) -> Vec<Change> {
    let mut changes = Vec::new();
    each(old, new, |change| changes.push(change));
    changes
}

/// [`between`], one after the other, for who keeps less of each.
pub fn each(old: Option<&Topology>, new: &Topology, mut take: impl FnMut(Change)) {
    let before = old.map(things).unwrap_or_default();
    let after = things(new);
    let mut changes = Vec::new();
    for (subject, keys) in &after {
        let kind = match before.get(subject) {
            None => Kind::Added,
            Some(same) if same == keys => continue,
            Some(_) => Kind::Changed,
        };
        changes.push((subject, kind, before.get(subject), Some(keys)));
    }
    for (subject, keys) in &before {
        if !after.contains_key(subject) {
            changes.push((subject, Kind::Removed, Some(keys), None));
        }
    }
    changes.sort_by_key(|(subject, ..)| *subject);
    for (subject, kind, before, after) in changes {
        take(Change {
            kind,
            what: subject.what,
            name: subject.name.to_string(),
            node: subject.node.as_ref().map(ToString::to_string),
            keys: differences(kind, before.map(Arc::as_ref), after.map(Arc::as_ref)),
        });
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            Kind::Added => '+',
            Kind::Changed => '~',
            Kind::Removed => '-',
        };
        write!(f, "{sign} {} {}", self.what, self.name)?;
        if let Some(node) = &self.node {
            write!(f, " on {node}")?;
        }
        for (number, difference) in self.keys.iter().enumerate() {
            f.write_str(if number == 0 { ": " } else { ", " })?;
            let Difference { key, before, after } = difference;
            match (before, after) {
                (None, Some(after)) => write!(f, "{key} {}", plain(after))?,
                (Some(before), Some(after)) => {
                    write!(f, "{key} {} => {}", plain(before), plain(after))?;
                }
                (Some(before), None) => write!(f, "{key} {} => default", plain(before))?,
                (None, None) => f.write_str(key)?,
            }
        }
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    /// Things of the mesh come after what is in force on nodes.
    mesh_wide: bool,
    node: Option<NodeName>,
    rank: u8,
    what: &'static str,
    name: Arc<str>,
}

/// Everything, as it would be written.
type Things = BTreeMap<Subject, Arc<Map<String, Value>>>;

/// Rules that were written already, by where they are: nodes share them.
type Written = HashMap<*const Rule, (Arc<str>, Arc<Map<String, Value>>)>;

fn things(topology: &Topology) -> Things {
    let (mut things, mut written) = (Things::new(), Written::new());
    let nowhere = || Selector::Names(OneOrMany::Many(Vec::new()));
    for (name, node) in &topology.nodes {
        let subject = |rank, what, of: Arc<str>| Subject {
            mesh_wide: false,
            node: Some(name.clone()),
            rank,
            what,
            name: of,
        };
        let own = Arc::new(keys(&slice::node(node)));
        things.insert(subject(0, "node", name.as_str().into()), own);
        for rule in &node.rules {
            let (name, own) = written.entry(Arc::as_ptr(rule)).or_insert_with(|| {
                let own = without_on(keys(&slice::rule(rule, nowhere())));
                (rule.name.as_str().into(), Arc::new(own))
            });
            things.insert(subject(1, "rule", Arc::clone(name)), Arc::clone(own));
        }
        for given in &node.access {
            things.insert(
                subject(2, "access", assignment(given).into()),
                Arc::default(),
            );
        }
        for webhook in &node.webhooks {
            let own = Arc::new(without_on(keys(&slice::webhook(webhook, nowhere()))));
            things.insert(subject(3, "webhook", webhook.name.as_str().into()), own);
        }
    }
    mesh_wide(topology, &mut things);
    things
}

fn mesh_wide(topology: &Topology, things: &mut Things) {
    let mut add = |rank, what, name: String, own: Map<String, Value>| {
        let subject = Subject {
            mesh_wide: true,
            node: None,
            rank,
            what,
            name: name.into(),
        };
        things.insert(subject, Arc::new(own));
    };
    if let Some(control) = &topology.control {
        add(
            0,
            "control",
            "plane".to_owned(),
            keys(&slice::control(control)),
        );
    }
    for (name, identity) in &topology.identities {
        let on: Vec<String> = identity.on.iter().map(ToString::to_string).collect();
        let on = Selector::Names(OneOrMany::of(on));
        add(
            1,
            "identity",
            name.to_string(),
            keys(&slice::identity(identity, Some(on))),
        );
    }
    for (name, set) in &topology.credentials {
        add(
            2,
            "credential set",
            name.to_string(),
            keys(&slice::credential(set)),
        );
    }
    for (name, issuer) in &topology.issuers {
        add(3, "issuer", name.to_string(), keys(&slice::issuer(issuer)));
    }
    for (name, password) in &topology.accounts {
        add(
            4,
            "account",
            name.to_string(),
            keys(&slice::account(password)),
        );
    }
    for given in &topology.access {
        add(5, "access", assignment(given), Map::new());
    }
    for user in &topology.identity_users {
        let to = slice::assignee(&user.to);
        let to = serde_json::to_value(to)
            .map(|to| plain(&to))
            .unwrap_or_default();
        let identities: Vec<&str> = user.identities.iter().map(|name| name.as_str()).collect();
        let name = format!("identity-user to {to} for {}", identities.join(", "));
        add(6, "access", name, Map::new());
    }
    for (host, upstream) in &topology.upstreams {
        add(
            7,
            "upstream",
            host.clone(),
            keys(&slice::upstream(upstream)),
        );
    }
}

/// A role assignment has no name: who may do what where is what it is.
fn assignment(given: &Assignment) -> String {
    let to = serde_json::to_value(slice::assignee(&given.to)).unwrap_or_default();
    let role = serde_json::to_value(given.role).unwrap_or_default();
    let mut name = format!("{} to {}", plain(&role), plain(&to));
    if given.repositories != [Pattern::All] {
        let patterns: Vec<String> = given.repositories.iter().map(ToString::to_string).collect();
        name.push_str(&format!(" for {}", patterns.join(", ")));
    }
    name
}

fn keys(section: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(section) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// What is in force on a node is told per node.
fn without_on(mut own: Map<String, Value>) -> Map<String, Value> {
    own.remove("on");
    own
}

fn differences(
    kind: Kind,
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
) -> Vec<Difference> {
    if kind == Kind::Removed {
        return Vec::new();
    }
    let empty = Map::new();
    let (before, after) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| Difference {
            key: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}
