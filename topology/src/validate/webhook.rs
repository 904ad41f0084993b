//! `webhooks`: each is parsed once and put on each of its nodes.

use wire::name::WebhookName;

use super::{Mesh, value};
use crate::{
    document,
    model::Webhook,
    problem::{Code, Finding, Findings},
    selector,
};

/// `ping` may be named and need not be: `regmesh webhook ping` asks every receiver, whatever it wants.
const ACTIONS: [&str; 6] = [
    "push",
    "delete",
    "ping",
    "copy_failed",
    "served_stale",
    "recalled",
];
/// Headers that carry a secret wherever they are used.
const SECRET_HEADERS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
];

/// Puts each webhook on its nodes.
pub(super) fn all(mesh: &mut Mesh<'_>, findings: &mut Findings) {
    for (key, section) in &mesh.document.webhooks {
        let name: Option<WebhookName> = value::name(key, findings);
        let webhook = webhook(name, section, findings);
        let on = section
            .on
            .as_ref()
            .map(|on| selector::resolve(on, &mesh.nodes, &mesh.declared, findings));
        for (webhook, name) in on
            .iter()
            .flatten()
            .filter_map(|n| Some((webhook.as_ref()?, n)))
        {
            if let Some(node) = mesh.nodes.get_mut(name) {
                node.webhooks.push(webhook.clone());
            }
        }
    }
}

fn webhook(
    name: Option<WebhookName>,
    section: &document::Webhook,
    findings: &mut Findings,
) -> Option<Webhook> {
    let url = section
        .url
        .as_ref()
        .and_then(|at| value::url(at, &["https", "http"], findings));
    for at in section
        .actions
        .iter()
        .filter(|at| !ACTIONS.contains(&at.value.as_str()))
    {
        let message = format!("`{}` is not an action that events have", at.value);
        findings.push(
            Finding::error(Code::WrongType, at.place, message)
                .advice(format!("it is one of {}", ACTIONS.join(", "))),
        );
    }
    if let Some(at) = section.scope.as_ref().filter(|at| !is_scope(&at.value)) {
        let message = format!("`{}` is not a webhook scope", at.value);
        findings.push(
            Finding::error(Code::InvalidPattern, at.place, message)
                .advice("write a repository, REPOSITORY:TAG, PREFIX*, or leave it out for all"),
        );
    }
    for (header, value) in &section.headers {
        if SECRET_HEADERS.contains(&header.value.to_lowercase().as_str()) {
            findings.conceal(value.place);
            findings.push(
                Finding::error(Code::LiteralSecret, value.place, "a secret is given by value")
                    .advice("let the receiver check X-Regmesh-Signature with `secret: {file: PATH}` instead; and change this secret, it has been written down"),
            );
        }
    }
    let secret = section
        .secret
        .as_ref()
        .and_then(|secret| value::secret(secret, findings));
    Some(Webhook {
        name: name?,
        url: url?,
        actions: actions(section),
        scope: value::text(&section.scope).unwrap_or_default(),
        headers: section
            .headers
            .iter()
            .map(|(header, value)| (header.value.clone(), value.value.clone()))
            .collect(),
        secret,
        enabled: section.enabled.is_none_or(|at| at.value),
    })
}

fn actions(section: &document::Webhook) -> Vec<String> {
    if section.actions.is_empty() {
        return vec!["push".to_owned(), "delete".to_owned()];
    }
    section.actions.iter().map(|at| at.value.clone()).collect()
}

fn is_scope(text: &str) -> bool {
    let prefix = text.strip_suffix('*');
    let (repository, tag) = match text.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (text, None),
    };
    let exact = repository
        .parse::<wire::repository::RepositoryName>()
        .is_ok()
        && tag.is_none_or(|tag| tag.parse::<wire::reference::Tag>().is_ok());
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/:".contains(&b);
    text.is_empty() || exact || prefix.is_some_and(|prefix| prefix.bytes().all(legal))
}
