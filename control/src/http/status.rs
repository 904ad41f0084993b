//! The tree of nodes.

use std::sync::Arc;

use axum::response::Response;
use wire::api::problem::Problem;

use super::{Api, call::Call, json};
use crate::status;

/// `GET /api/v1/status`
pub(super) async fn show(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let current = api.publisher.current();
    let status = status::status(&current, &api.nodes.seen(), &api.alarms.raised());
    Ok(json(200, &status))
}
