//! Signing in and being told who one is. A wrong password is logged and counted by `identity`; the audit log has those who came in.
//!
//! A device flow's id stands in its path, which is no place that anything of ours logs: lines have the path of the route table.

use std::sync::Arc;

use axum::response::Response;
use runtime::Secret;
use wire::{
    api::{
        problem::Problem,
        sign_in::{DeviceRequest, Offered, Pending, Request, WhoAmI},
    },
    time::WallTime,
};

use super::{Api, call::Call, json, problem};
use crate::{sign_in::Outcome, state::NewEntry};

/// `POST /api/v1/sign-in`
pub(super) async fn sign_in(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let request: Request = call.json()?;
    let current = api.publisher.current();
    let password = Secret::new(request.password);
    let signed = api.sign_in.sign_in(
        &request.account,
        &password,
        call.address,
        current.topology.as_ref(),
    );
    let (caller, session) = signed.await.map_err(|error| {
        tracing::info!(address = %call.address, %error, "signing in failed");
        problem::password(&error)
    })?;
    let target = format!("accounts/{}", request.account);
    came_in(&api, target, caller.who).await?;
    Ok(json(200, &session))
}

/// `GET /api/v1/sign-in`
pub(super) async fn offered(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let current = api.publisher.current();
    let issuers = api.sign_in.offered(current.topology.as_ref());
    Ok(json(200, &Offered { issuers }))
}

/// `POST /api/v1/sign-in/device`
pub(super) async fn begin(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let request: DeviceRequest = call.json()?;
    let current = api.publisher.current();
    let (issuer, topology) = (&request.issuer, current.topology.as_ref());
    let begun = api.sign_in.begin(issuer, call.address, topology).await?;
    Ok(json(200, &begun))
}

/// `POST /api/v1/sign-in/device/{id}`
pub(super) async fn outcome(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let current = api.publisher.current();
    let outcome = api
        .sign_in
        .outcome(call.text("id"), current.topology.as_ref());
    match outcome.await? {
        Outcome::Waiting(interval) => Ok(json(202, &Pending { interval })),
        Outcome::In {
            issuer,
            who,
            signed_in,
        } => {
            came_in(&api, format!("issuers/{issuer}"), who).await?;
            Ok(json(200, &signed_in))
        }
    }
}

async fn came_in(api: &Api, target: String, who: String) -> Result<(), Problem> {
    let entry = NewEntry {
        at: WallTime(api.clock.wall_ms()),
        target,
        who,
        action: "sign-in".to_owned(),
        before: None,
        after: None,
        generation: None,
        refused: None,
    };
    Ok(api.state.record(vec![entry]).await?)
}

/// `GET /api/v1/whoami`
pub(super) async fn whoami(_: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let me = WhoAmI {
        who: caller.who,
        roles: caller.roles.into_iter().collect(),
        identities: caller.identities.into_iter().collect(),
        expires_at: caller.until,
    };
    Ok(json(200, &me))
}
