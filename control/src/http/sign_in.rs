//! Signing in and being told who one is. A wrong password is logged and counted by `identity`; the audit log has those who came in.

use std::sync::Arc;

use axum::response::Response;
use runtime::Secret;
use wire::{
    api::{
        problem::Problem,
        sign_in::{Request, WhoAmI},
    },
    time::WallTime,
};

use super::{Api, call::Call, json, problem};
use crate::state::NewEntry;

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
    let entry = NewEntry {
        at: WallTime(api.clock.wall_ms()),
        target: format!("accounts/{}", request.account),
        who: caller.who,
        action: "sign-in".to_owned(),
        before: None,
        after: None,
        generation: None,
        refused: None,
    };
    api.state.record(vec![entry]).await?;
    Ok(json(200, &session))
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
