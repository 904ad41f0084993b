//! Legal and unwise.

use std::collections::BTreeSet;

use wire::assignment::Role;

use super::{Mesh, access, node::is_known, rule::Rules};
use crate::{
    document,
    model::{Topology, identity::IdentityKind, rule::UpstreamRef},
    problem::{Code, Finding, Findings},
    value::{is_loopback, without_port},
};

pub(super) fn check(
    mesh: &Mesh<'_>,
    rules: &Rules<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    docker_hub(rules, findings);
    shadowed(rules, findings);
    unused(mesh.document, findings);
    plaintext(mesh, topology, findings);
    plaintext_issuers(mesh.document, findings);
    unbound(mesh, rules, topology, findings);
    anonymous_write(mesh.document, findings);
}

fn docker_hub(rules: &Rules<'_>, findings: &mut Findings) {
    let mut told = BTreeSet::new();
    for instance in &rules.instances {
        let draft = &rules.drafts[instance.draft];
        let hub =
            matches!(&instance.source.upstream, UpstreamRef::Host(host) if host == "docker.io");
        let named = draft.section.identity.is_some() || draft.section.credentials.is_some();
        if hub && !named && told.insert(instance.draft) {
            let message = format!("the rule `{}` asks Docker Hub anonymously", draft.key.value);
            findings.push(
                Finding::warning(Code::DockerHubAnonymous, draft.source_place(), message).advice(
                    "add `credentials:` with a Docker Hub account: Hub rates anonymous pulls hard",
                ),
            );
        }
    }
}

fn shadowed(rules: &Rules<'_>, findings: &mut Findings) {
    let mut told = BTreeSet::new();
    for (number, instance) in rules.instances.iter().enumerate() {
        if instance.target.is_wildcard() {
            continue;
        }
        let outer = rules
            .by_node
            .get(&instance.node)
            .and_then(|index| index.around(&instance.target).next());
        let Some(outer) = outer.filter(|_| told.insert(instance.draft)) else {
            continue;
        };
        let (inner, outer) = (rules.draft_of(number), rules.draft_of(outer));
        let message = format!(
            "the rule `{}` lies inside the wildcard of `{}` on `{}`",
            inner.key.value, outer.key.value, instance.node
        );
        findings.push(
            Finding::warning(Code::ShadowedRule, inner.target_place(), message)
                .also(
                    outer.target_place(),
                    format!("the target of `{}`", outer.key.value),
                )
                .advice("nothing to do if it is meant: the fixed rule wins for its own repository"),
        );
    }
}

fn unused(document: &document::Document, findings: &mut Findings) {
    let mut identities = BTreeSet::new();
    let mut sets = BTreeSet::new();
    for rule in document.rules.values() {
        identities.extend(rule.identity.as_ref().map(|at| at.as_str()));
        sets.extend(rule.credentials.as_ref().map(|at| at.as_str()));
    }
    for set in document.credentials.values() {
        identities.extend(set.identity.as_ref().map(|at| at.as_str()));
    }
    for identity in document.identities.values() {
        identities.extend(identity.assertion.as_ref().map(|at| at.as_str()));
    }
    for key in document.identities.keys() {
        if !identities.contains(key.as_str()) {
            let message = format!("no rule uses the identity `{}`", key.value);
            findings.push(
                Finding::warning(Code::UnusedIdentity, key.place, message)
                    .advice("remove it, or write `identity:` in a rule"),
            );
        }
    }
    for key in document.credentials.keys() {
        if !sets.contains(key.as_str()) {
            let message = format!("no rule uses the credential set `{}`", key.value);
            findings.push(
                Finding::warning(Code::UnusedCredentials, key.place, message)
                    .advice("remove it, or write `credentials:` in a rule"),
            );
        }
    }
}

fn plaintext(mesh: &Mesh<'_>, topology: &Topology, findings: &mut Findings) {
    for (name, node) in &mesh.nodes {
        let Some(section) = mesh.document.nodes.get(name.as_str()) else {
            continue;
        };
        let written = [
            (section.endpoint.as_ref(), Some(&node.endpoint)),
            (section.peer_endpoint.as_ref(), node.peer_endpoint.as_ref()),
        ];
        for (at, endpoint) in written.into_iter().filter_map(|(at, e)| at.zip(e)) {
            if is_known(endpoint) && !endpoint.secure && !is_loopback(&endpoint.host) {
                let message = format!("`{name}` is reached over plain http: {endpoint}");
                findings.push(
                    Finding::warning(Code::PlaintextEndpoint, at.place, message)
                        .advice("use https beyond loopback: set `tls`, or end TLS before the node"),
                );
            }
        }
    }
    for (key, section) in &mesh.document.upstreams {
        let Some(at) = section.insecure.filter(|at| at.value) else {
            continue;
        };
        let host = crate::value::host(&key.value).unwrap_or_default();
        let declared = topology.upstreams.contains_key(&host);
        if declared && !is_loopback(without_port(&host)) {
            let message = format!("{host} is asked over plain http");
            findings.push(
                Finding::warning(Code::PlaintextEndpoint, at.place, message)
                    .advice("remove `insecure`; for a private certificate authority set `ca`"),
            );
        }
    }
}

/// Issuers whose keys come over plain http: whoever is on the way signs what they like.
fn plaintext_issuers(document: &document::Document, findings: &mut Findings) {
    for (key, section) in &document.issuers {
        for at in [&section.url, &section.jwks_uri].into_iter().flatten() {
            let Some(rest) = at.value.strip_prefix("http://") else {
                continue;
            };
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            // With keys in a file nothing is asked.
            if !is_loopback(without_port(host)) && section.jwks.is_none() {
                let message = format!("keys of the issuer `{}` come over plain http", key.value);
                findings.push(
                    Finding::warning(Code::PlaintextEndpoint, at.place, message)
                        .advice("use https: whoever is on the way could make any token of it; or put its keys into a file with `jwks`"),
                );
            }
        }
    }
}

/// A managed identity towards http on loopback: the grant is not bound to a certificate there.
fn unbound(mesh: &Mesh<'_>, rules: &Rules<'_>, topology: &Topology, findings: &mut Findings) {
    let mut told = BTreeSet::new();
    for instance in &rules.instances {
        let UpstreamRef::Node(upstream) = &instance.source.upstream else {
            continue;
        };
        let draft = &rules.drafts[instance.draft];
        let identity = draft.identity.as_ref().filter(|name| {
            let identity = topology.identities.get(*name);
            identity.is_some_and(|identity| identity.kind == IdentityKind::Managed)
        });
        let http = mesh.nodes.get(upstream).is_some_and(|node| {
            let endpoint = node.peer_endpoint.as_ref().unwrap_or(&node.endpoint);
            !endpoint.secure && is_loopback(&endpoint.host)
        });
        let Some(identity) = identity.filter(|_| http && told.insert((instance.draft, upstream)))
        else {
            continue;
        };
        let message = format!(
            "grants of `{identity}` are not bound to a certificate: `{upstream}` is reached over plain http"
        );
        findings.push(
            Finding::warning(Code::PlaintextEndpoint, draft.identity_place(), message)
                .advice("fine for trying things out on one machine; use https for anything else"),
        );
    }
}

fn anonymous_write(document: &document::Document, findings: &mut Findings) {
    for entry in &document.access {
        let (Some(allow), Some(to)) = (entry.allow, entry.to.as_ref()) else {
            continue;
        };
        let writes = matches!(
            access::role(allow.value),
            Role::RepositoryWriter | Role::RepositoryDeleter
        );
        let anonymous =
            matches!(&to.value, document::Assignee::Name(name) if name.value == "anonymous");
        if writes && anonymous {
            findings.push(
                Finding::warning(
                    Code::AnonymousWrite,
                    to.place,
                    "everybody who reaches the node may change what it holds",
                )
                .advice("give the role to account:NAME, to an issuer's claims, or at least to authenticated"),
            );
        }
    }
}
