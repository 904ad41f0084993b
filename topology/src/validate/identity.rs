//! `identities`: kinds and what belongs to each, where they are attached, what they may be shown to.

use std::collections::{BTreeMap, BTreeSet};

use wire::{acr, name::IdentityName};

use super::{Mesh, Scope, rule, value};
use crate::{
    document::{
        self,
        identity::{Flow as WrittenFlow, Kind, Present},
    },
    model::{
        Identity,
        identity::{Federation, Flow, IdentityKind, is_for_entra},
    },
    problem::{Code, Finding, Findings},
    selector,
    value::{is_loopback, without_port},
};

/// Every identity that has a legal name and a kind.
pub(super) fn all(mesh: &Mesh<'_>, findings: &mut Findings) -> BTreeMap<IdentityName, Identity> {
    let mut identities = BTreeMap::new();
    for (key, section) in &mesh.document.identities {
        let name = value::name(key, findings);
        let identity = one(section, mesh, findings);
        if let Some((name, identity)) = name.zip(identity) {
            identities.insert(name, identity);
        }
    }
    identities
}

fn one(section: &document::Identity, mesh: &Mesh<'_>, findings: &mut Findings) -> Option<Identity> {
    let on = section.on.as_ref().map_or_else(BTreeSet::new, |on| {
        selector::resolve(on, &mesh.nodes, &mesh.declared, findings)
    });
    let sources = section
        .sources
        .iter()
        .filter_map(|at| rule::source_pattern(at, mesh, findings))
        .collect();
    let text = value::text;
    let kind = match section.kind?.value {
        Kind::Managed => IdentityKind::Managed,
        Kind::Azure => IdentityKind::Azure {
            client_id: text(&section.client_id),
            object_id: text(&section.object_id),
            resource_id: text(&section.resource_id),
            scope: text(&section.scope),
        },
        Kind::Federated => IdentityKind::Federated(federation(section, mesh, findings)),
    };
    Some(Identity { kind, on, sources })
}

fn federation(
    section: &document::Identity,
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> Federation {
    let token_url = section
        .token_url
        .as_ref()
        .and_then(|at| value::url(at, &["https", "http"], findings));
    if let Some((at, url)) = section.token_url.as_ref().zip(token_url.as_ref())
        && !is_safe(url)
    {
        findings.push(
            Finding::error(
                Code::PlaintextIdentity,
                at.place,
                "an assertion would be sent there over plain http",
            )
            .advice("write an https URL: plain http is for loopback alone"),
        );
    }
    let flow = match section.flow.map(|at| at.value) {
        Some(WrittenFlow::ClientAssertion) => Flow::ClientAssertion,
        Some(WrittenFlow::TokenExchange) => Flow::TokenExchange,
        Some(WrittenFlow::Direct) => Flow::Direct,
        None if section.token_url.is_some() => Flow::ClientAssertion,
        None => Flow::Direct,
    };
    if let Some(at) = section
        .flow
        .filter(|_| flow != Flow::Direct && section.token_url.is_none())
    {
        findings.push(
            Finding::error(Code::WrongType, at.place, "this flow needs a `tokenUrl`")
                .advice("add `tokenUrl: https://…`, or write `flow: direct`"),
        );
    }
    let assertion = section
        .assertion
        .as_ref()
        .filter(|at| at.value != "mesh")
        .and_then(|at| azure(at, mesh, findings));
    if mesh.scope == Scope::Mesh {
        audience(section, flow, assertion.is_some(), findings);
    }
    Federation {
        audience: value::text(&section.audience),
        token_url,
        client_id: value::text(&section.client_id),
        scope: value::text(&section.scope),
        flow,
        assertion,
        password_of: password_of(section, findings),
    }
}

/// Where a token may not go: one that every Azure Container Registry takes to a token service, one that Entra takes to a registry.
fn audience(section: &document::Identity, flow: Flow, of_azure: bool, findings: &mut Findings) {
    let Some(at) = &section.audience else { return };
    let (message, advice) = match flow {
        Flow::ClientAssertion | Flow::TokenExchange if of_azure && acr::is_scope(&at.value) => (
            "every Azure Container Registry takes a token for this audience, and it would be shown at `tokenUrl`",
            "leave `audience` out: the assertion is then for Entra's token exchange alone",
        ),
        Flow::Direct if is_for_entra(&at.value) => (
            "Entra takes a token for this audience, and without a `tokenUrl` it would be shown to the registry",
            "leave `audience` out: the token is then for the registry alone; or add the `tokenUrl` that is to take it",
        ),
        Flow::ClientAssertion | Flow::TokenExchange | Flow::Direct => return,
    };
    findings.push(Finding::error(Code::IdentityKindMismatch, at.place, message).advice(advice));
}

/// Whether a secret may be sent there.
fn is_safe(url: &str) -> bool {
    let rest = url.strip_prefix("http://");
    rest.is_none_or(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        is_loopback(without_port(host))
    })
}

fn password_of(section: &document::Identity, findings: &mut Findings) -> Option<String> {
    let at = section.present.filter(|at| at.value == Present::Password)?;
    if section.username.is_none() {
        findings.push(
            Finding::error(
                Code::WrongType,
                at.place,
                "`present: password` needs a `username`",
            )
            .advice("add `username: …`, for example oauth2accesstoken for Google"),
        );
    }
    value::text(&section.username)
}

/// A reference to an identity that must be of the kind `azure`.
pub(super) fn azure(
    at: &crate::place::At<String>,
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> Option<IdentityName> {
    let name = mesh.declared.identity(at, findings)?;
    let kind = mesh.document.identities.get(at.value.as_str())?.kind?.value;
    if kind != Kind::Azure && mesh.scope == Scope::Mesh {
        let message = format!("the identity `{name}` is not of the kind `azure`");
        findings.push(
            Finding::error(Code::IdentityKindMismatch, at.place, message)
                .advice("name an identity with `kind: azure`"),
        );
    }
    Some(name)
}
