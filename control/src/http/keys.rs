//! The mesh's CA for clients to trust, and what an operator does to the control plane itself: a new CA, going on after a restore.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use identity::certificate;
use schemars::JsonSchema;
use serde::Serialize;
use wire::{
    api::{mesh::Published, problem::Problem},
    schema,
    time::{WallTime, rfc3339},
};

use super::{Api, call::Call, json};

/// A new CA.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rotated {
    /// When it begins to sign; it is believed from now on.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    signs_from: WallTime,
}

/// Of certificates as text.
pub(super) const PEM: &str = "application/x-pem-file";

/// `GET /api/v1/ca`
pub(super) async fn authorities(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let pem = certificate::to_pem(&api.ca.roots());
    Ok(([(header::CONTENT_TYPE, PEM)], pem).into_response())
}

/// `POST /api/v1/keys:rotate`
pub(super) async fn rotate(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let signs_from = api.ca.rotate(&call.caller.who).await?;
    Ok(json(200, &Rotated { signs_from }))
}

/// `POST /api/v1/recover`
pub(super) async fn recover(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let generation = api.nodes.recover(&call.caller.who).await?;
    Ok(json(200, &Published { generation }))
}
