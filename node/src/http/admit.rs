//! Address, credentials, then rights: who asks, and may they; or the answer that says why not.
//!
//! Every request passes here once and is decided on the access in force at that moment, whatever an open connection or a
//! token said before. A 401 always carries a challenge with the scope that this very request needs, because some clients
//! never ask `/v2/`. What is refused is refused in words that do not depend on whether anything exists. Source:
//! `spec/identity.md` "Being called"; `reference/protocols.md` 1.4 and 1.5; `reference/clients-and-peers.md` section 3.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use identity::{
    authenticate::{Authenticate, Caller, Credentials, Local, Origin, account::Accounts},
    decide::{self, Assignments, Bound, Decision, Denied},
    error::{Error, Refused as Wrong},
    network::{self, Policy},
    principal::Principal,
};
use runtime::listener::Peer;
use serde_json::json;
use topology::model::Node;
use wire::{
    challenge::{Bearer, TokenError},
    name::AccountName,
    oci_error::{Code, OciError},
    refusal::Refusal,
    repository::RepositoryName,
    route::{Needs, Route},
    scope::{Action, Scope},
    secret_ref::SecretRef,
};

use super::{View, error};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// When to come back if something of ours could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// What a slice says about who may do what here. Swapped whole.
#[derive(Debug)]
pub struct Access {
    /// The absolute URL of our token endpoint.
    pub(super) realm: String,
    /// How clients name this registry; issuer and audience of its tokens.
    pub(super) login_server: String,
    pub(super) assignments: Assignments,
    pub(super) authenticate: Authenticate,
    network: Policy,
    accounts: Accounts,
}

impl Access {
    /// The access that a node's part of a topology declares. What is known about accounts that `previous` declared the same
    /// way is carried over.
    #[must_use]
    pub fn new(
        node: &Node,
        accounts: &BTreeMap<AccountName, SecretRef>,
        authenticate: &Authenticate,
        previous: Option<&Self>,
    ) -> Self {
        Self {
            realm: format!("{}/oauth2/token", node.endpoint),
            login_server: node.endpoint.login_server(),
            assignments: Assignments::new(&node.access),
            authenticate: authenticate.clone(),
            network: policy(&node.network),
            accounts: Accounts::new(accounts, previous.map(|previous| &previous.accounts)),
        }
    }

    /// Reads and hashes the accounts' passwords beforehand; says so where one cannot be read.
    pub async fn warm(&self) {
        for account in self.authenticate.warm(&self.accounts).await {
            tracing::warn!(%account, "the account's password cannot be read; tried again when it is needed");
        }
    }

    pub(super) fn local(&self) -> Local<'_> {
        Local {
            audience: &self.login_server,
            accounts: &self.accounts,
        }
    }

    /// Where the request comes from, if it may come from there at all.
    pub(super) fn origin(
        &self,
        peer: Option<&Peer>,
        headers: &HeaderMap,
    ) -> Result<Origin<'static>, Box<Refused>> {
        let forwarded = headers.get_all(FORWARDED_FOR);
        // What is not text is no address: it must not hide an entry to its left.
        let forwarded: Vec<&str> = forwarded
            .iter()
            .map(|value| value.to_str().unwrap_or("?"))
            .collect();
        let client = peer.and_then(|peer| {
            self.network
                .client(peer.address.ip(), forwarded.into_iter())
        });
        // Nobody is a mesh peer before there is a mesh CA to say so.
        if !self.network.admits(client, false) {
            return Err(network_refused());
        }
        let connection = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
        Ok(Origin {
            address: client.unwrap_or(connection),
            spiffe: None,
        })
    }
}

fn policy(network: &topology::model::Network) -> Policy {
    use topology::model::network::Access::{Private, Public, Selected};
    Policy {
        access: match network.access {
            Public => network::Access::Public,
            Selected => network::Access::Selected,
            Private => network::Access::Private,
        },
        allow: network.allow.clone(),
        trusted_proxies: network.trusted_proxies.clone(),
        trust_mesh_peers: network.trust_mesh_peers,
    }
}

/// A request that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// Who asks.
    pub principal: Principal,
    /// The client's address, as far as it is known.
    pub address: IpAddr,
    /// Of a mount: whether the caller may read where the blob is to come from. Else it is an ordinary upload.
    pub may_mount: bool,
    /// Whether the caller may have tags checked now, through all tiers.
    pub may_force: bool,
    access: Arc<Access>,
}

impl Admitted {
    /// Whether the catalog shows `repository` to the caller.
    #[must_use]
    pub fn may_see(&self, repository: &RepositoryName) -> bool {
        decide::sees(&self.principal, repository, &self.access.assignments)
    }
}

/// Decides whether a request may go on, by the slice that it began with.
///
/// # Errors
/// The answer to one that may not.
pub async fn admit(
    view: &View,
    peer: Option<&Peer>,
    headers: &HeaderMap,
    route: &Route,
) -> Result<Admitted, Box<Refused>> {
    by(&view.access, peer, headers, route).await
}

async fn by(
    access: &Arc<Access>,
    peer: Option<&Peer>,
    headers: &HeaderMap,
    route: &Route,
) -> Result<Admitted, Box<Refused>> {
    let origin = access.origin(peer, headers)?;
    let needs = route.needs();
    let caller = caller(access, headers, origin)
        .await
        .map_err(|error| refused(access, &needs, &error))?;
    let bound = caller.bound.as_deref();
    let decision = decide::decide(&caller.principal, &needs, &access.assignments, bound);
    if let Some(refused) = answer(access, &needs, &caller, decision) {
        return Err(refused);
    }
    let may_mount = match &needs {
        Needs::Mount { from, .. } => decide::may(
            &caller.principal,
            Action::Pull,
            from,
            &access.assignments,
            bound,
        ),
        Needs::Nothing | Needs::Session | Needs::Action { .. } | Needs::Catalog => false,
    };
    let may_force = caller.principal.is_known();
    Ok(Admitted {
        principal: caller.principal,
        address: origin.address,
        may_mount,
        may_force,
        access: Arc::clone(access),
    })
}

async fn caller(access: &Access, headers: &HeaderMap, origin: Origin<'_>) -> Result<Caller, Error> {
    let shown = credentials(headers)?;
    access
        .authenticate
        .caller(access.local(), shown.as_ref(), origin)
        .await
}

/// What the request's `Authorization` holds.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Option<Credentials>, Wrong> {
    Credentials::parse(
        headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .map(HeaderValue::as_bytes),
    )
}

fn answer(
    access: &Access,
    needs: &Needs,
    caller: &Caller,
    decision: Decision,
) -> Option<Box<Refused>> {
    match decision {
        Decision::Allow => None,
        Decision::Challenge => Some(challenge(access, needs, None, "authentication required")),
        Decision::InsufficientScope => {
            let said = "the token does not cover this; ask for one with the scope of the challenge";
            Some(challenge(
                access,
                needs,
                Some(TokenError::InsufficientScope),
                said,
            ))
        }
        Decision::Deny(denied) => Some(deny(needs, &caller.principal, denied)),
    }
}

fn deny(needs: &Needs, principal: &Principal, denied: Denied) -> Box<Refused> {
    let what = match needs {
        Needs::Action { repository, .. } | Needs::Mount { repository, .. } => {
            format!("to {repository} ")
        }
        Needs::Nothing | Needs::Session | Needs::Catalog => String::new(),
    };
    let error = match denied {
        Denied::Hidden => OciError::new(
            Code::Denied,
            format!("{principal} has no access {what}on this node"),
        ),
        Denied::Missing(role) => {
            let role = json!(role);
            let name = role.as_str().unwrap_or_default();
            let message = format!(
                "{principal} has no such access {what}on this node: the role {name} is missing"
            );
            OciError::new(Code::Denied, message).with_detail(json!({ "role": role }))
        }
    };
    Box::new(Refused {
        status: StatusCode::FORBIDDEN,
        error,
        challenge: None,
        retry_after: None,
    })
}

fn network_refused() -> Box<Refused> {
    let error = OciError::new(
        Code::Denied,
        "this node does not take requests from your address",
    )
    .with_detail(json!({ "refusal": Refusal::NetworkRefused.as_str() }));
    Box::new(Refused {
        status: StatusCode::FORBIDDEN,
        error,
        challenge: None,
        retry_after: None,
    })
}

/// The answer to credentials that gave no principal. Too many tries look like wrong ones here: a 429 would make containerd
/// ask dozens of times more, and only the token endpoint says it.
fn refused(access: &Access, needs: &Needs, error: &Error) -> Box<Refused> {
    match error {
        Error::Refused(wrong @ Wrong::Token) => challenge(
            access,
            needs,
            Some(TokenError::InvalidToken),
            &wrong.to_string(),
        ),
        Error::Refused(wrong) => challenge(access, needs, None, &wrong.to_string()),
        Error::TooOften { .. } => challenge(access, needs, None, &Wrong::Password.to_string()),
        Error::Unavailable { what, source } => unavailable(what, source.as_ref()),
    }
}

/// We could not find out: never an answer about the caller. The cause is said here, to the log alone.
pub(super) fn unavailable(what: &str, source: &(dyn std::error::Error + 'static)) -> Box<Refused> {
    tracing::warn!(what, error = source, "a caller could not be authenticated");
    let message = format!("{what} cannot be read now; try again");
    let error = OciError::new(Code::Unavailable, message)
        .with_detail(json!({ "refusal": Refusal::SecretUnavailable.as_str() }));
    Box::new(Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error,
        challenge: None,
        retry_after: Some(RETRY),
    })
}

fn challenge(
    access: &Access,
    needs: &Needs,
    error: Option<TokenError>,
    said: &str,
) -> Box<Refused> {
    let scopes = needs.scopes();
    let bearer = Bearer {
        realm: &access.realm,
        service: &access.login_server,
        scopes: &scopes,
        error,
    };
    Box::new(Refused {
        status: StatusCode::UNAUTHORIZED,
        challenge: HeaderValue::from_str(&bearer.to_string()).ok(),
        error: OciError::new(Code::Unauthorized, said),
        retry_after: None,
    })
}

/// The answer to a request that may not go on.
#[derive(Debug)]
pub struct Refused {
    /// 401, 403 or 503.
    pub status: StatusCode,
    /// The body.
    pub error: OciError,
    /// `WWW-Authenticate`; on every 401.
    pub challenge: Option<HeaderValue>,
    /// `Retry-After`; on every 503.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The same as a response.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = error::oci(self.status, &self.error);
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(after) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(after.as_secs().max(1)),
            );
        }
        response
    }
}

/// What a token for `scopes` may say: asked for, allowed by roles, and within what was proven.
pub(super) fn grant(
    access: &Access,
    principal: &Principal,
    within: Option<&Bound>,
    scopes: &[Scope],
) -> Bound {
    let granted = access.assignments.grant(principal, scopes);
    match within {
        Some(within) => granted.within(within),
        None => granted,
    }
}

#[cfg(test)]
pub(super) mod rig;
#[cfg(test)]
mod tests;
