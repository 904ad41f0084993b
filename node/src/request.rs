//! What the registry knows about the request it works for: parsed once by `http`, passed down by reference.

use std::sync::Arc;

use runtime::telemetry::TraceContext;
use tokio::time::Instant;
use wire::hops::Hops;

use crate::store::metadata::record::RequestInfo;

/// The request on whose behalf something is asked of an upstream or recorded.
#[derive(Debug, Clone)]
pub struct Request {
    /// What events tell about it.
    pub info: Arc<RequestInfo>,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// The nodes it came through, believed only from mesh peers.
    pub hops: Hops,
    /// Whether every tier is to check the tag now (`Cache-Control: no-cache` of somebody who may say so).
    pub no_cache: bool,
    /// Whether this node has no room to ask anybody for what is not stored.
    pub only_stored: bool,
    /// When a client's request came, from which its patience counts; none for our own work.
    pub began: Option<Instant>,
}
