//! As whom a rule calls its upstream, and whether that upstream understands it: identities, credential sets, or neither.

use std::collections::BTreeSet;

use wire::{
    acr,
    name::{IdentityName, NodeName},
};

use super::{
    Mesh, Scope,
    node::is_known,
    rule::{Draft, Instance, Rules, several},
};
use crate::{
    model::{Topology, identity::IdentityKind, rule::UpstreamRef},
    problem::{Code, Finding, Findings},
    value::{is_loopback, without_port},
};

/// Checks every rule against its upstreams and what it authenticates with.
pub(super) fn check(
    mesh: &Mesh<'_>,
    rules: &Rules<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let mut told = BTreeSet::new();
    for instance in &rules.instances {
        if !told.insert((instance.draft, &instance.source.upstream)) {
            continue;
        }
        let draft = &rules.drafts[instance.draft];
        if mesh.scope == Scope::Mesh {
            needs_authentication(draft, instance, findings);
        }
        login_server(draft, instance, mesh, topology, findings);
        if let Some(name) = &draft.identity {
            identity_kind(draft, name, instance, topology, findings);
            identity_source(draft, name, instance, topology, findings);
            plaintext(draft, name, instance, mesh, topology, findings);
        }
    }
    if mesh.scope == Scope::Mesh {
        for draft in &rules.drafts {
            attached(draft, topology, findings);
        }
    }
}

fn needs_authentication(draft: &Draft<'_>, instance: &Instance, findings: &mut Findings) {
    let named = draft.section.identity.is_some() || draft.section.credentials.is_some();
    if let (UpstreamRef::Node(node), false) = (&instance.source.upstream, named) {
        let message = format!(
            "the rule `{}` asks the node `{node}` and has neither identity nor credentials",
            draft.key.value
        );
        findings.push(
            Finding::error(Code::UpstreamNeedsAuthentication, draft.source_place(), message)
                .advice("add `identity: NAME` or `credentials: NAME`: anonymous pull between nodes is not supported"),
        );
    }
}

fn login_server(
    draft: &Draft<'_>,
    instance: &Instance,
    mesh: &Mesh<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some((at, set)) = draft
        .section
        .credentials
        .as_ref()
        .zip(draft.credentials.as_ref())
        .and_then(|(at, name)| Some((at, topology.credentials.get(name)?)))
    else {
        return;
    };
    let wanted = match &instance.source.upstream {
        UpstreamRef::Host(host) => vec![host.clone()],
        UpstreamRef::Node(node) => {
            let Some(node) = mesh.nodes.get(node).filter(|n| is_known(&n.endpoint)) else {
                return;
            };
            let own = std::iter::once(&node.endpoint).chain(&node.peer_endpoint);
            own.flat_map(|e| [e.login_server(), format!("{}:{}", e.host, e.port)])
                .collect()
        }
    };
    if wanted.contains(&set.login_server) {
        return;
    }
    let message = format!(
        "the credential set `{}` is for {}, and the rule `{}` asks {}",
        at.value, set.login_server, draft.key.value, wanted[0]
    );
    let declared = mesh.document.credentials.get(at.value.as_str());
    let place = declared
        .and_then(|set| set.login_server.as_ref())
        .map(|at| at.place);
    findings.push(
        Finding::error(Code::LoginServerMismatch, at.place, message)
            .also(place.unwrap_or_default(), "its login server")
            .advice(format!(
                "name a credential set with `loginServer: {}`",
                wanted[0]
            )),
    );
}

fn identity_kind(
    draft: &Draft<'_>,
    name: &IdentityName,
    instance: &Instance,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some(identity) = topology.identities.get(name) else {
        return;
    };
    let upstream = &instance.source.upstream;
    let (message, advice) = match (&identity.kind, upstream) {
        (IdentityKind::Managed, UpstreamRef::Host(host)) => (
            format!("`{name}` is a managed identity, and {host} is not a node of this mesh"),
            "managed identities are understood by nodes alone: use credentials, or an azure or federated identity",
        ),
        (kind, UpstreamRef::Node(node)) if shows_acrs(kind) => (
            format!(
                "`{name}` is {}, and the node `{node}` is no Azure Container Registry",
                of(kind)
            ),
            "use a managed identity towards a node, or give this one a `scope` of its own",
        ),
        (kind, UpstreamRef::Host(host)) if shows_acrs(kind) && !is_acr(host) => (
            format!(
                "`{name}` is {}, and {host} is no Azure Container Registry",
                of(kind)
            ),
            "give the identity a `scope` of its own: a token for ACR is never sent to another host",
        ),
        _ => return,
    };
    findings.push(
        Finding::error(Code::IdentityKindMismatch, draft.identity_place(), message).advice(advice),
    );
}

fn of(kind: &IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Managed => "a managed identity",
        IdentityKind::Azure { .. } => "an azure identity",
        IdentityKind::Federated(_) => "a federated identity for ACR",
    }
}

/// Whether a host takes ACR's audience: one of Azure's, or this machine, where things are tried out.
fn is_acr(host: &str) -> bool {
    acr::is_registry(host) || is_loopback(without_port(host))
}

/// Whether it would show the token that every Azure Container Registry takes.
fn shows_acrs(kind: &IdentityKind) -> bool {
    let is_acrs = |scope: &Option<String>| scope.as_deref().is_some_and(acr::is_scope);
    match kind {
        IdentityKind::Managed => false,
        IdentityKind::Azure { scope, .. } => scope.is_none() || is_acrs(scope),
        // What is shown as it is, is the Azure identity's token for that audience.
        IdentityKind::Federated(federation) => {
            is_acrs(&federation.scope)
                || (federation.assertion.is_some() && is_acrs(&federation.audience))
        }
    }
}

fn identity_source(
    draft: &Draft<'_>,
    name: &IdentityName,
    instance: &Instance,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some(identity) = topology.identities.get(name) else {
        return;
    };
    let source = &instance.source;
    if identity.covers(source) {
        return;
    }
    let message = format!("`{name}` may not be presented for {source}");
    findings.push(
        Finding::error(Code::IdentityNotForSource, draft.identity_place(), message).advice(
            format!(
                "its `sources` are {}: add this one, or use another identity",
                identity.sources.join(", ")
            ),
        ),
    );
}

fn plaintext(
    draft: &Draft<'_>,
    name: &IdentityName,
    instance: &Instance,
    mesh: &Mesh<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let beyond = match &instance.source.upstream {
        UpstreamRef::Host(host) => {
            let insecure = topology.upstreams.get(host).is_some_and(|u| u.insecure);
            insecure && !is_loopback(without_port(host))
        }
        UpstreamRef::Node(node) => mesh.nodes.get(node).is_some_and(|node| {
            let endpoint = node.peer_endpoint.as_ref().unwrap_or(&node.endpoint);
            is_known(endpoint) && !endpoint.secure && !is_loopback(&endpoint.host)
        }),
    };
    if beyond {
        let upstream = &instance.source.upstream;
        let message = format!("`{name}` would be presented to {upstream} over plain http");
        findings.push(
            Finding::error(Code::PlaintextIdentity, draft.identity_place(), message)
                .advice("give the upstream an https endpoint: plain http is for loopback alone"),
        );
    }
}

/// The rule's identity, and those that it is shown through or that read its vault, are attached to each of its nodes.
fn attached(draft: &Draft<'_>, topology: &Topology, findings: &mut Findings) {
    let set = draft.credentials.as_ref();
    let set = set.and_then(|name| topology.credentials.get(name));
    let reader = set.and_then(|set| set.identity.as_ref());
    let own = draft.identity.as_ref();
    let through = own.and_then(|name| match &topology.identities.get(name)?.kind {
        IdentityKind::Federated(federation) => federation.assertion.as_ref(),
        IdentityKind::Managed | IdentityKind::Azure { .. } => None,
    });
    for name in own.into_iter().chain(through).chain(reader) {
        attached_as(draft, name, topology, findings);
    }
}

fn attached_as(
    draft: &Draft<'_>,
    name: &IdentityName,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some(identity) = topology.identities.get(name) else {
        return;
    };
    let missing: Vec<NodeName> = draft.on.difference(&identity.on).cloned().collect();
    let text = |node: &NodeName| {
        format!("the identity {name} does not exist or is not associated with node {node}")
    };
    if let Some(message) = several(&missing, text) {
        findings.push(
            Finding::error(
                Code::IdentityNotAttached,
                draft.authentication_place(),
                message,
            )
            .advice(format!("add the node to `on` of the identity `{name}`")),
        );
    }
}
