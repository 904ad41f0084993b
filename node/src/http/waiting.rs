//! The registry of a node that has no topology yet: 503 for everything, in the words of a registry. Never an open proxy.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response};
use wire::name::NodeName;

use super::error;

/// When to come back.
const RETRY: Duration = Duration::from_secs(5);

/// Why nothing is served, as of now.
pub type Why = Arc<dyn Fn() -> String + Send + Sync>;

/// The router of a waiting node's listener.
pub fn router(node: NodeName, why: Why) -> Router {
    Router::new().fallback(serve).with_state((node, why))
}

async fn serve(State((node, why)): State<(NodeName, Why)>) -> Response {
    error::unavailable(&why(), RETRY, &node)
}
