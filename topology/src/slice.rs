//! What one node needs of a topology, as a topology document of its own.
//!
//! Its own rules, role assignments and webhooks; the identities and credential sets that these name; the endpoints of the nodes that
//! its rules ask; nothing else of other nodes. Accounts and issuers are the mesh's and not a node's, so every slice has all of them:
//! who is known in the mesh and has no right on the node is refused as somebody known. What follows from the rest of the mesh and could not
//! be seen from the slice (tier, where chains of rules end) is in the section `slice`. Selectors are written out as this node's
//! name and `parent://` as the node it is, so that the slice means the same without the mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use wire::{
    digest::Digest,
    name::{CredentialName, IdentityName, NodeName},
    time::WallTime,
    withdrawal::Withdrawal,
};

use crate::{
    document::{self, Document, Entries, Selector, Slice, slice::Origin, value::OneOrMany},
    model::{
        Grants, Node, Recall, Topology,
        identity::IdentityKind,
        rule::{Authentication, UpstreamRef},
    },
    place::At,
};

mod access;
mod node;
mod rule;
mod section;

pub(crate) use access::{assignee, assignment};
pub(crate) use node::{bare, node};
pub(crate) use rule::rule;
pub(crate) use section::{account, control, credential, identity, issuer, upstream, webhook};

pub(crate) fn text(value: impl ToString) -> Option<At<String>> {
    Some(At::made(value.to_string()))
}

pub(crate) fn key(name: impl ToString) -> At<String> {
    At::made(name.to_string())
}

/// The slice of node `name`; `None` when there is no such node. `load_slice` reads its text.
#[must_use]
pub fn slice(topology: &Topology, name: &NodeName) -> Option<Document> {
    slice_with(topology, name, &Beside::default())
}

/// What was decided beside the topology.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    /// Digests that every node refuses.
    pub recalls: BTreeMap<Digest, Recall>,
    /// Certificates of these nodes that began before the time are worth nothing.
    pub revoked: BTreeMap<NodeName, WallTime>,
    /// What rule grants are believed by at this node.
    pub grants: Option<Grants>,
}

/// The slice of node `name` with what was decided beside the topology.
#[must_use]
pub fn slice_with(topology: &Topology, name: &NodeName, beside: &Beside) -> Option<Document> {
    let own = topology.nodes.get(name)?;
    let on = Selector::Names(OneOrMany::One(key(name)));
    let needs = Needs::of(topology, own);
    let mut nodes = pick(&topology.nodes, |other| needs.nodes.contains(other), bare);
    nodes.insert(key(name), node(own));
    Some(Document {
        version: Some(At::made(1)),
        mesh: text(&topology.mesh),
        control: topology.control.as_ref().map(control),
        nodes,
        identities: pick(
            &topology.identities,
            |name| needs.identities.contains(name),
            |identity_| identity(identity_, identity_.on.contains(name).then(|| on.clone())),
        ),
        credentials: pick(
            &topology.credentials,
            |name| needs.credentials.contains(name),
            credential,
        ),
        rules: (own.rules.iter())
            .map(|own| (key(&own.name), rule(own, on.clone())))
            .collect(),
        issuers: pick(&topology.issuers, |_| true, issuer),
        accounts: pick(&topology.accounts, |_| true, account),
        access: (own.access.iter())
            .map(|given| assignment(given, Some(on.clone())))
            .collect(),
        upstreams: pick(
            &topology.upstreams,
            |host| needs.upstreams.contains(host),
            upstream,
        ),
        webhooks: (own.webhooks.iter())
            .map(|own| (key(&own.name), webhook(own, on.clone())))
            .collect(),
        slice: Some(At::made(Slice {
            recalls: beside.recalls.iter().map(recall).collect(),
            revoked: since(&beside.revoked),
            grants: beside.grants.as_ref().map(grants),
            ..facts(topology, own)
        })),
    })
}

fn pick<N: Ord + fmt::Display, T, W>(
    all: &BTreeMap<N, T>,
    needed: impl Fn(&N) -> bool,
    write: impl Fn(&T) -> W,
) -> Entries<W> {
    all.iter()
        .filter(|(name, _)| needed(name))
        .map(|(name, value)| (key(name), write(value)))
        .collect()
}

/// What a node's own sections name.
#[derive(Default)]
struct Needs {
    nodes: BTreeSet<NodeName>,
    identities: BTreeSet<IdentityName>,
    credentials: BTreeSet<CredentialName>,
    upstreams: BTreeSet<String>,
}

impl Needs {
    fn of(topology: &Topology, node: &Node) -> Self {
        let mut needs = Self::default();
        needs.nodes.extend(node.parent.clone());
        for rule in &node.rules {
            match &rule.source.upstream {
                UpstreamRef::Node(upstream) => {
                    needs.nodes.insert(upstream.clone());
                    let said = topology.node(upstream).and_then(|n| topology.said_of(n));
                    needs.upstreams.extend(said.map(|(host, _)| host.clone()));
                }
                UpstreamRef::Host(host) => drop(needs.upstreams.insert(host.clone())),
            }
            match &rule.authentication {
                Authentication::Anonymous => {}
                Authentication::Identity(name) => needs.identity(topology, name),
                Authentication::Credentials(name) => {
                    needs.credentials.insert(name.clone());
                    let set = topology.credentials.get(name);
                    if let Some(reader) = set.and_then(|set| set.identity.as_ref()) {
                        needs.identity(topology, reader);
                    }
                }
            }
        }
        needs
    }

    /// An identity, the one whose token is its assertion, and what is said of its token service.
    fn identity(&mut self, topology: &Topology, name: &IdentityName) {
        self.identities.insert(name.clone());
        let identity = topology.identities.get(name);
        let service = identity.and_then(|identity| identity.kind.token_service());
        self.upstreams.extend(service);
        if let Some(IdentityKind::Federated(federation)) = identity.map(|i| &i.kind) {
            self.identities.extend(federation.assertion.clone());
        }
    }
}

fn recall((digest, recall): (&Digest, &Recall)) -> (At<String>, document::slice::Recall) {
    let written = document::slice::Recall {
        reason: text(&recall.reason),
        at: text(recall.at),
    };
    (key(digest), written)
}

fn since<N: fmt::Display>(since: &BTreeMap<N, WallTime>) -> Entries<At<String>> {
    let entries = since.iter();
    entries.map(|(name, at)| (key(name), key(at))).collect()
}

fn grants(grants: &Grants) -> document::slice::Grants {
    document::slice::Grants {
        issuer: text(&grants.issuer),
        keys: (grants.keys.iter())
            .map(|(id, point)| (key(id), key(point)))
            .collect(),
        former: grants.former.iter().map(key).collect(),
        withdrawn: (grants.withdrawn.iter())
            .map(|(rule, withdrawal)| (key(rule), withdrawn(withdrawal)))
            .collect(),
    }
}

fn withdrawn(withdrawal: &Withdrawal) -> document::slice::Withdrawal {
    document::slice::Withdrawal {
        before: Some(At::made(withdrawal.before.0)),
        at: text(withdrawal.at),
        left: withdrawal.left.map(|left| document::slice::Left {
            before: Some(At::made(left.before.0)),
            at: text(left.at),
        }),
    }
}

fn facts(topology: &Topology, node: &Node) -> Slice {
    let to_nodes =
        (node.rules.iter()).filter(|rule| matches!(rule.source.upstream, UpstreamRef::Node(_)));
    Slice {
        node: text(&node.name),
        tier: Some(At::made(u64::from(topology.tier(&node.name)))),
        origins: to_nodes
            .map(|rule| {
                let ends = rule.origins.iter().map(|end| Origin {
                    source: text(format_args!("{}/{}", end.host, end.repositories)),
                    via: text(&end.via),
                });
                (key(&rule.name), ends.collect())
            })
            .collect(),
        ..Slice::default()
    }
}
