//! Address, credentials, then rights: who asks, and may they; or the answer that says why not.
//!
//! Every request passes here once and is decided on the access in force at that moment, whatever an open connection or a
//! token said before. A 401 always carries a challenge with the scope that this very request needs, because some clients
//! never ask `/v2/`. What is refused is refused in words that do not depend on whether anything exists. Source:
//! `spec/identity.md` "Being called"; `reference/protocols.md` 1.4 and 1.5; `reference/clients-and-peers.md` section 3.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, header};
use identity::{
    authenticate::{Caller, Credentials, Origin, trust::Via},
    decide::{self, Decision},
    error::{Error, Refused as Wrong},
    principal::Principal,
};
use runtime::listener::Peer;
use wire::{
    name::NodeName,
    repository::RepositoryName,
    route::{Needs, Route},
    scope::Action,
};

use super::View;

mod access;
mod refused;

pub use access::{Access, trust};
pub use refused::Refused;
pub(super) use refused::unavailable;

use refused::Asked;

/// A request that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// Who asks.
    pub principal: Principal,
    /// The client's address, as far as it is known.
    pub address: IpAddr,
    /// The rule of another node behind an identity.
    pub via: Option<Via>,
    /// Of a mount: whether the caller may read where the blob is to come from. Else it is an ordinary upload.
    pub may_mount: bool,
    /// The node of the mesh at the other end, when it is one.
    pub mesh_peer: Option<NodeName>,
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
    let mesh_peer = access.mesh_peer(peer);
    let origin = access.origin(peer, mesh_peer.as_ref(), headers)?;
    let needs = route.needs();
    let asked = Asked {
        access,
        needs: &needs,
        mesh_peer: mesh_peer.is_some(),
    };
    let mut caller = caller(access, headers, origin)
        .await
        .map_err(|error| asked.refused(&error))?;
    let cut_off = access.cut_off().filter(|_| caller.principal.is_known());
    if cut_off.is_some() {
        caller.principal = Principal::Anonymous;
    }
    let bound = caller.bound.as_deref();
    let mut decision = decide::decide(&caller.principal, &needs, &access.assignments, bound);
    if matches!(decision, Decision::Deny(_)) && has_shown_nothing(&caller) {
        // A mesh peer that has shown its certificate alone may have the credentials of a rule to show.
        decision = Decision::Challenge;
    }
    if let (Some(away), false) = (cut_off, decision == Decision::Allow) {
        return Err(refused::cut_off(away));
    }
    if let Some(mut refused) = asked.answer(&caller, decision) {
        refused.caller = Some(caller);
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
        via: caller.via,
        address: origin.address,
        mesh_peer: mesh_peer.map(|peer| peer.node),
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

/// Whether a node is known by its connection alone.
fn has_shown_nothing(caller: &Caller) -> bool {
    matches!(caller.principal, Principal::Node { .. }) && caller.bound.is_none()
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

#[cfg(test)]
pub(super) mod rig;
#[cfg(test)]
mod tests;
