//! May a rule read its upstream node: the identity's rights there, and the network of that node.
//!
//! What an account behind a credential set may do is not known here (the user name is a secret); the upstream says so itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use wire::{
    assignment::{Assignee, Role},
    name::{IdentityName, NodeName},
    pattern::Pattern,
};

use super::{
    Mesh,
    rule::{Rules, several},
};
use crate::{
    model::{Node, Topology, identity::IdentityKind, network::Access, rule::UpstreamRef},
    problem::{Code, Finding, Findings},
    value,
};

pub(super) fn check(
    mesh: &Mesh<'_>,
    rules: &Rules<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let mut told = BTreeSet::new();
    let mut excluded: BTreeMap<(usize, &NodeName), Vec<NodeName>> = BTreeMap::new();
    for instance in &rules.instances {
        let UpstreamRef::Node(upstream) = &instance.source.upstream else {
            continue;
        };
        let Some((there, here)) = mesh.nodes.get(upstream).zip(mesh.nodes.get(&instance.node))
        else {
            continue;
        };
        let draft = &rules.drafts[instance.draft];
        let named = draft.section.identity.is_some() || draft.section.credentials.is_some();
        if named && !lets_in(there, here) {
            let nodes = excluded.entry((instance.draft, upstream)).or_default();
            nodes.push(instance.node.clone());
        }
        let managed = draft.identity.as_ref().filter(|name| {
            let identity = topology.identities.get(*name);
            identity.is_some_and(|identity| identity.kind == IdentityKind::Managed)
        });
        let Some(identity) = managed else { continue };
        if may_read(there, identity, &instance.source.repositories)
            || !told.insert((instance.draft, upstream))
        {
            continue;
        }
        let repositories = &instance.source.repositories;
        let message = format!(
            "the identity `{identity}` has no repository-reader on `{upstream}` that covers {repositories}"
        );
        findings.push(
            Finding::error(Code::NoReadAccess, draft.identity_place(), message).advice(format!(
                "add to `access`: {{allow: repository-reader, to: identity:{identity}, on: {upstream}, repositories: [\"{repositories}\"]}}"
            )),
        );
    }
    for ((draft, upstream), nodes) in excluded {
        let text = |node: &NodeName| format!("the network of `{upstream}` turns `{node}` away");
        if let Some(message) = several(&nodes, text) {
            let place = rules.drafts[draft].source_place();
            findings.push(
                Finding::error(Code::NetworkExcludesPeer, place, message).advice(format!(
                    "set `trustMeshPeers: true` in the network of `{upstream}`"
                )),
            );
        }
    }
}

/// Whether somebody who shows a grant of `identity` may read all of `repositories`: what anybody may, who shows one may too.
fn may_read(node: &Node, identity: &IdentityName, repositories: &Pattern) -> bool {
    node.access.iter().any(|assignment| {
        let theirs = match &assignment.to {
            Assignee::Identity(name) => name == identity,
            Assignee::Anonymous | Assignee::Authenticated => true,
            Assignee::Account(_) | Assignee::Node(_) | Assignee::Claims { .. } => false,
        };
        let reads = matches!(
            assignment.role,
            Role::RepositoryReader | Role::RepositoryWriter | Role::RepositoryDeleter
        );
        let mut patterns = assignment.repositories.iter();
        theirs && reads && patterns.any(|pattern| pattern.contains(repositories))
    })
}

/// The table of `spec/topology.md`, as far as it is known beforehand from which address `from` will come.
fn lets_in(to: &Node, from: &Node) -> bool {
    let network = &to.network;
    if network.trust_mesh_peers || network.access == Access::Public {
        return true;
    }
    let Some(address) = address(to, from) else {
        return false;
    };
    match network.access {
        Access::Public => true,
        Access::Selected => network.allow.iter().any(|net| net.contains(&address)),
        Access::Private => address.is_loopback(),
    }
}

/// A node that is reached over loopback is reached from loopback; else the caller's endpoint says where it is, if it does.
fn address(to: &Node, from: &Node) -> Option<IpAddr> {
    let reached = to.peer_endpoint.as_ref().unwrap_or(&to.endpoint);
    if value::is_loopback(&reached.host) {
        return value::address(&reached.host);
    }
    value::address(&from.endpoint.host)
}
