//! The sources whose proof somebody else's token service gives: Azure identities and federated ones, and who reads a vault.
//!
//! What they show goes over https, or to loopback. A token service is asked at its own host, by what `upstreams` says of that host (`ca`,
//! `proxy`). An identity that is shown through another one, or that reads a vault, is attached to this node as any other.

use std::sync::Arc;

use identity::{
    mint::Mint,
    token_source::{
        self, Azure, TokenSource,
        azure::Id,
        federated::{self, Assertion, Endpoint, Flow},
    },
};
use runtime::egress;
use topology::{
    model::{
        Credential, Identity, Rule, Topology,
        identity::{self as model, Federation, IdentityKind},
    },
    value,
};
use url::Url;
use wire::{acr, name::IdentityName, refusal::Refusal};

use super::{Pool, Target, away, token_failed};
use crate::upstream::{Error, error::Kind, pool::ca};

impl Pool {
    pub(super) fn azure(
        &self,
        rule: &Rule,
        name: &IdentityName,
        identity: &Identity,
        topology: &Topology,
        target: &Target,
    ) -> Result<Arc<dyn TokenSource>, Error> {
        only_where_it_is_safe(name, target)?;
        let host = shown_to(rule, topology);
        let (id, scope) = azure(identity).unwrap_or_default();
        let machine = self.parts.machine.clone();
        let source = Azure::new(machine, id, scope, &host, &self.parts.tasks);
        Ok(Arc::new(source.map_err(|error| misused(name, &error))?))
    }

    pub(super) fn federated(
        &self,
        rule: &Rule,
        name: &IdentityName,
        federation: &Federation,
        topology: &Topology,
        target: &Target,
    ) -> Result<Arc<dyn TokenSource>, Error> {
        only_where_it_is_safe(name, target)?;
        let endpoint = match federation.flow {
            model::Flow::Direct => None,
            model::Flow::ClientAssertion => Some(Flow::ClientAssertion),
            model::Flow::TokenExchange => Some(Flow::TokenExchange),
        };
        let host = shown_to(rule, topology);
        only_to_registries_of_azure(name, federation, &host)?;
        let endpoint = endpoint.map(|flow| self.endpoint(name, flow, federation, &host, topology));
        let config = federated::Config {
            assertion: self.assertion(rule, name, federation, topology)?,
            audience: federation.audience_at(&host).to_owned(),
            endpoint: endpoint.transpose()?,
            password_of: federation.password_of.clone(),
        };
        Ok(Arc::new(config.build(&self.parts.clock, &self.parts.tasks)))
    }

    fn assertion(
        &self,
        rule: &Rule,
        name: &IdentityName,
        federation: &Federation,
        topology: &Topology,
    ) -> Result<Assertion, Error> {
        if let Some(other) = &federation.assertion {
            let identity = self.attached(other, topology)?;
            let (id, _) = azure(identity).ok_or_else(|| not_azure(other))?;
            let machine = self.parts.machine.clone();
            return Ok(Assertion::Azure { machine, id });
        }
        let mint: &Arc<dyn Mint> = self.parts.mint.as_ref().ok_or_else(|| {
            token_failed(format!(
                "the identity '{name}' gets its tokens from the control plane, and this node has none: join the node to a control plane"
            ))
        })?;
        Ok(Assertion::Mesh {
            mint: Arc::clone(mint),
            rule: rule.name.clone(),
            identity: name.clone(),
        })
    }

    fn endpoint(
        &self,
        name: &IdentityName,
        flow: Flow,
        federation: &Federation,
        host: &str,
        topology: &Topology,
    ) -> Result<Endpoint, Error> {
        let service = federation.token_service().unwrap_or_default();
        let url = federation.token_url.as_deref().unwrap_or_default();
        let client = self.token_client(&service, topology)?;
        let says = (federation.client_id.clone(), federation.scope.clone());
        let made = Endpoint::new(url, flow, says, host, (client, self.config.token));
        made.map_err(|error| misused(name, &error))
    }

    fn token_client(&self, host: &str, topology: &Topology) -> Result<egress::Client, Error> {
        let settings = topology.upstreams.get(host);
        let proxy = settings.and_then(|said| said.proxy.as_deref());
        let proxy = proxy.map(Url::parse).transpose();
        let proxy = proxy.map_err(|_| Error::away("the token service's proxy is not a URL"))?;
        let ca_pem = match settings.and_then(|said| said.ca.as_deref()) {
            Some(path) => Some(ca(path)?),
            None => None,
        };
        let options = egress::Options {
            ca_pem,
            proxy,
            connect_timeout: self.config.connect,
            // Longer than the limit of the call, which says more about who was silent.
            read_timeout: self.config.token * 2,
            policy: egress::Policy::naming([value::without_port(host)]),
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..egress::Options::default()
        };
        options.build().map_err(|error| {
            Error::away(format!(
                "no connection to the token service can be made: {error}"
            ))
        })
    }

    /// Who reads the vaults of a credential set: its identity, else the machine's own.
    pub(super) fn reader(&self, set: &Credential, topology: &Topology) -> Result<Id, Error> {
        let Some(name) = &set.identity else {
            return Ok(Id::default());
        };
        let identity = self.attached(name, topology)?;
        let (id, _) = azure(identity).ok_or_else(|| not_azure(name))?;
        Ok(id)
    }
}

/// Which identity of the machine or pod it is, and its own scope; none for another kind.
fn azure(identity: &Identity) -> Option<(Id, Option<&str>)> {
    match &identity.kind {
        IdentityKind::Azure {
            client_id,
            object_id,
            resource_id,
            scope,
        } => {
            let id = Id {
                client_id: client_id.clone(),
                object_id: object_id.clone(),
                resource_id: resource_id.clone(),
            };
            Some((id, scope.as_deref()))
        }
        IdentityKind::Managed | IdentityKind::Federated(_) => None,
    }
}

/// Who reads the vaults of a credential set, as far as the slice says: for those who only look whether it can be read.
#[must_use]
pub fn reader_of(set: &Credential, topology: &Topology) -> Id {
    let identity = set.identity.as_ref();
    let identity = identity.and_then(|name| topology.identities.get(name));
    identity.and_then(azure).unwrap_or_default().0
}

/// The login server that the rule asks; where it is not known nothing is: an empty name is no registry's.
fn shown_to(rule: &Rule, topology: &Topology) -> String {
    let known = topology.login_server(&rule.source.upstream);
    known.unwrap_or_default()
}

fn only_where_it_is_safe(name: &IdentityName, target: &Target) -> Result<(), Error> {
    let upstream = &target.realms.upstream;
    if upstream.secure || value::is_loopback(&upstream.host) {
        return Ok(());
    }
    Err(token_failed(format!(
        "what '{name}' shows goes to {} only over https: plain http is for loopback",
        target.name
    )))
}

/// The token of an Azure identity for registries of Azure is an assertion for nobody: it is shown to those alone, as it is.
fn only_to_registries_of_azure(
    name: &IdentityName,
    federation: &Federation,
    host: &str,
) -> Result<(), Error> {
    let audience = federation.audience.as_deref().unwrap_or_default();
    let for_them = federation.assertion.is_some() && acr::is_scope(audience);
    let shown_to_one = federation.flow == model::Flow::Direct
        && (acr::is_registry(host) || value::is_loopback(value::without_port(host)));
    if !for_them || shown_to_one {
        return Ok(());
    }
    let detail = format!(
        "the identity '{name}' cannot be used here: its assertion is a token that every Azure Container Registry takes, and it would be shown elsewhere"
    );
    Err(Error::new(
        Kind::Denied,
        Refusal::IdentityNotAttached,
        detail,
    ))
}

fn misused(name: &IdentityName, error: &token_source::Error) -> Error {
    let detail = format!("the identity '{name}' cannot be used here: {error}");
    Error::new(Kind::Denied, Refusal::IdentityNotAttached, detail)
}

fn not_azure(name: &IdentityName) -> Error {
    let detail = format!("the identity '{name}' is not of the kind azure");
    away(Refusal::IdentityTokenFailed, &detail)
}
