//! What a rule shows its upstream: a token source of its own, by how the slice says that it authenticates.
//!
//! One arm for each kind of identity. A source belongs to one rule: the same identity on another rule is another source, so that what is
//! got for one is never shown for the other. What a source is made of is part of its upstream's fingerprint (`definition`): an identity
//! that is defined anew, or another one, is in force with the next request, and pulls in flight go on with what they began with. A grant
//! goes to a node only over a connection that is known to be that node's, or on loopback. Source: `spec/identity.md`.

use std::sync::Arc;

use identity::{
    mint::{Audience, Wanted},
    token_source::{Anonymous, Managed, Password, TokenSource},
};
use topology::{
    model::{
        Identity, Rule, Topology,
        identity::IdentityKind,
        rule::{Authentication, UpstreamRef},
    },
    value,
};
use wire::{
    name::{CredentialName, IdentityName},
    refusal::Refusal,
};

use super::{Pool, target::Target};
use crate::upstream::{Error, error::Kind};

mod foreign;

pub use foreign::reader_of;

/// What the slice says of what a rule shows, as part of its upstream's fingerprint. No secret: those are read when they are used.
pub(super) fn definition(rule: &Rule, topology: &Topology) -> String {
    match &rule.authentication {
        Authentication::Anonymous => "anonymous".to_owned(),
        Authentication::Credentials(name) => {
            let set = topology.credentials.get(name);
            let reader = set.and_then(|set| set.identity.as_ref());
            let reader = reader.map(|name| topology.identities.get(name));
            format!("{name} {set:?} {reader:?}")
        }
        Authentication::Identity(name) => {
            let identity = topology.identities.get(name);
            // A federated identity may show what another one gets, at a token service of which `upstreams` may say something.
            let shown = identity.and_then(|identity| match &identity.kind {
                IdentityKind::Federated(federation) => federation.assertion.as_ref(),
                IdentityKind::Managed | IdentityKind::Azure { .. } => None,
            });
            let shown = shown.map(|name| topology.identities.get(name));
            let service = identity.and_then(|identity| identity.kind.token_service());
            let service = service.map(|host| topology.upstreams.get(&host));
            format!("{name} {identity:?} {shown:?} {service:?}")
        }
    }
}

impl Pool {
    /// The rule's own source. `is_peer` says that the connection is judged to be the upstream node's and shows our certificate.
    pub(super) fn source(
        &self,
        rule: &Rule,
        topology: &Topology,
        target: &Target,
        is_peer: bool,
    ) -> Result<Arc<dyn TokenSource>, Error> {
        match &rule.authentication {
            Authentication::Anonymous => Ok(Arc::new(Anonymous)),
            Authentication::Credentials(name) => self.credentials(name, topology),
            Authentication::Identity(name) => {
                let identity = self.attached(name, topology)?;
                match &identity.kind {
                    IdentityKind::Managed => self.managed(rule, name, topology, target, is_peer),
                    IdentityKind::Azure { .. } => {
                        self.azure(rule, name, identity, topology, target)
                    }
                    IdentityKind::Federated(federation) => {
                        self.federated(rule, name, federation, topology, target)
                    }
                }
            }
        }
    }

    fn credentials(
        &self,
        name: &CredentialName,
        topology: &Topology,
    ) -> Result<Arc<dyn TokenSource>, Error> {
        let set = topology.credentials.get(name).ok_or_else(|| {
            let detail = format!("the credential set '{name}' is not in this node's slice");
            away(Refusal::SecretUnavailable, &detail)
        })?;
        let secrets = self.parts.secrets.reading_as(self.reader(set, topology)?);
        let (username, password) = (set.username.clone(), set.password.clone());
        Ok(Arc::new(Password::new(secrets, username, password)))
    }

    /// An identity that rules of this node may use.
    fn attached<'a>(
        &self,
        name: &IdentityName,
        topology: &'a Topology,
    ) -> Result<&'a Identity, Error> {
        let identity = topology.identities.get(name);
        let attached = identity.filter(|identity| identity.on.contains(&self.parts.node));
        attached.ok_or_else(|| {
            let node = &self.parts.node;
            let detail = format!("the identity '{name}' is not attached to node {node}");
            Error::new(Kind::Denied, Refusal::IdentityNotAttached, detail)
        })
    }

    fn managed(
        &self,
        rule: &Rule,
        name: &IdentityName,
        topology: &Topology,
        target: &Target,
        is_peer: bool,
    ) -> Result<Arc<dyn TokenSource>, Error> {
        let Some(mint) = &self.parts.mint else {
            return Err(token_failed(format!(
                "the identity '{name}' gets its tokens from the control plane, and this node has none: give the rule a credential set, or join the node to a control plane"
            )));
        };
        let UpstreamRef::Node(node) = &rule.source.upstream else {
            return Err(token_failed(format!(
                "the identity '{name}' is understood by nodes of this mesh alone, and {} is none",
                target.name
            )));
        };
        let upstream = &target.realms.upstream;
        let on_loopback = !upstream.secure && value::is_loopback(&upstream.host);
        if !is_peer && !on_loopback {
            return Err(token_failed(format!(
                "a grant for '{name}' goes to node {node} only over TLS under this node's certificate, or by plain http on loopback"
            )));
        }
        let login_server = topology.login_server(&rule.source.upstream);
        let wanted = Wanted {
            rule: rule.name.clone(),
            identity: name.clone(),
            audience: Audience::Upstream(login_server.unwrap_or_default()),
        };
        let (clock, tasks) = (self.parts.clock.clone(), &self.parts.tasks);
        Ok(Arc::new(Managed::new(
            wanted,
            Arc::clone(mint),
            clock,
            tasks,
        )))
    }
}

/// There is no token, and asking again may help.
fn token_failed(detail: String) -> Error {
    away(Refusal::IdentityTokenFailed, &detail)
}

fn away(refusal: Refusal, detail: &str) -> Error {
    Error::new(Kind::Away { retry_after: None }, refusal, detail)
}
