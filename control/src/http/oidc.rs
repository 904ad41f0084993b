//! The issuer for the rest of the world: its discovery document and the public keys of federation tokens.
//!
//! Anybody may read them, and keep them for an hour: a key is published at least a day before it signs. Nodes do not come here; they get
//! the keys of grants with their slices. Source: `reference/protocols.md` 5.3.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::Value;
use wire::api::problem::Problem;

use super::{Api, call::Call, json};

/// For how long answers may be kept. The overlap of a rotation is more than twice as long.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// `GET /.well-known/openid-configuration`
pub(super) async fn discovery(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    Ok(kept(&api.issuer.discovery()))
}

/// `GET /keys`
pub(super) async fn keys(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    Ok(kept(&api.issuer.jwks()))
}

fn kept(value: &Value) -> Response {
    let mut response = json(200, value);
    response.headers_mut().insert(header::CACHE_CONTROL, KEPT);
    response
}
