//! The other sections of the model as sections of the document.

use wire::secret_ref::SecretRef;

use super::{
    key,
    node::{path, word},
    text,
};
use crate::{
    document::{
        self, Secret, Selector,
        identity::{Flow as WrittenFlow, Kind, Present},
        value::OneOrMany,
    },
    model::{
        Control, Credential, Identity, Issuer, IssuerKeys, Upstream, Webhook,
        identity::{Federation, Flow, IdentityKind},
    },
    place::At,
    value::duration_text,
};

fn secret(secret: &SecretRef) -> Secret {
    match secret {
        SecretRef::Env(name) => Secret {
            env: text(name),
            ..Secret::default()
        },
        SecretRef::File(file) => Secret {
            file: path(file),
            ..Secret::default()
        },
        SecretRef::KeyVault(url) => Secret {
            key_vault: text(url),
            ..Secret::default()
        },
    }
}

pub(crate) fn control(control: &Control) -> document::Control {
    document::Control {
        endpoint: Some(key(&control.endpoint)).filter(|at| !at.is_empty()),
        issuer: control.issuer.as_ref().and_then(text),
        max_offline: control
            .max_offline
            .and_then(|time| word(duration_text(time))),
    }
}

pub(crate) fn credential(set: &Credential) -> document::Credential {
    document::Credential {
        login_server: text(&set.login_server),
        username: Some(secret(&set.username)),
        password: Some(secret(&set.password)),
        identity: set.identity.as_ref().and_then(text),
    }
}

pub(crate) fn account(password: &SecretRef) -> document::credential::Account {
    document::credential::Account {
        password: Some(secret(password)),
    }
}

pub(crate) fn issuer(issuer: &Issuer) -> document::Issuer {
    let (jwks_uri, jwks) = match &issuer.keys {
        None => (None, None),
        Some(IssuerKeys::Uri(uri)) => (text(uri), None),
        Some(IssuerKeys::File(file)) => (None, path(file)),
    };
    document::Issuer {
        url: text(&issuer.url),
        audience: (!issuer.audience.is_empty()).then(|| OneOrMany::of(issuer.audience.clone())),
        algorithms: issuer.algorithms.iter().map(key).collect(),
        jwks_uri,
        jwks,
        ca: issuer.ca.as_deref().and_then(path),
        discovery_token: issuer.discovery_token.as_ref().map(|file| Secret {
            file: path(file),
            ..Secret::default()
        }),
        client_id: issuer.client_id.as_ref().and_then(text),
        client_secret: issuer.client_secret.as_ref().map(secret),
    }
}

pub(crate) fn identity(identity: &Identity, on: Option<Selector>) -> document::Identity {
    let common = document::Identity {
        on,
        sources: identity.sources.iter().map(key).collect(),
        ..document::Identity::default()
    };
    match &identity.kind {
        IdentityKind::Managed => document::Identity {
            kind: Some(At::made(Kind::Managed)),
            ..common
        },
        IdentityKind::Azure {
            client_id,
            object_id,
            resource_id,
            scope,
        } => document::Identity {
            kind: Some(At::made(Kind::Azure)),
            client_id: client_id.as_ref().and_then(text),
            object_id: object_id.as_ref().and_then(text),
            resource_id: resource_id.as_ref().and_then(text),
            scope: scope.as_ref().and_then(text),
            ..common
        },
        IdentityKind::Federated(federation) => federated(federation, common),
    }
}

fn federated(federation: &Federation, common: document::Identity) -> document::Identity {
    let flow = match federation.flow {
        Flow::ClientAssertion => WrittenFlow::ClientAssertion,
        Flow::TokenExchange => WrittenFlow::TokenExchange,
        Flow::Direct => WrittenFlow::Direct,
    };
    let password = federation.password_of.as_ref();
    document::Identity {
        kind: Some(At::made(Kind::Federated)),
        audience: federation.audience.as_ref().and_then(text),
        token_url: federation.token_url.as_ref().and_then(text),
        client_id: federation.client_id.as_ref().and_then(text),
        scope: federation.scope.as_ref().and_then(text),
        flow: Some(At::made(flow)),
        assertion: federation.assertion.as_ref().and_then(text),
        present: password.map(|_| At::made(Present::Password)),
        username: password.and_then(text),
        ..common
    }
}

pub(crate) fn upstream(upstream: &Upstream) -> document::Upstream {
    let default = Upstream::default().max_concurrent;
    document::Upstream {
        ca: upstream.ca.as_deref().and_then(path),
        insecure: Some(At::made(true)).filter(|_| upstream.insecure),
        proxy: upstream.proxy.as_ref().and_then(text),
        realms: upstream.realms.iter().map(key).collect(),
        max_concurrent: u64::try_from(upstream.max_concurrent)
            .ok()
            .filter(|_| upstream.max_concurrent != default)
            .map(At::made),
        requests_per_second: upstream.requests_per_second.map(At::made),
    }
}

pub(crate) fn webhook(webhook: &Webhook, on: Selector) -> document::Webhook {
    document::Webhook {
        on: Some(on),
        url: text(&webhook.url),
        actions: webhook.actions.iter().map(key).collect(),
        scope: Some(key(&webhook.scope)).filter(|at| !at.is_empty()),
        headers: webhook
            .headers
            .iter()
            .map(|(header, value)| (key(header), key(value)))
            .collect(),
        secret: webhook.secret.as_ref().map(secret),
        enabled: Some(At::made(false)).filter(|_| !webhook.enabled),
    }
}
