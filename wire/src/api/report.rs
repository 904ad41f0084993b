//! What a node tells the control plane, again and again. Source: `spec/control-plane.md` "Reports".
//!
//! Bounded: at most [`EVENTS`] events and [`USED`] digests a report, the rest in the next one; a lost report loses no count, since
//! counters are totals since the node's start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{api::status::NodeStatus, digest::Digest, event::Event, time::WallTime};

/// Events in one report, at most.
pub const EVENTS: usize = 256;
/// Digests in one report, at most.
pub const USED: usize = 1024;

/// One report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Everything `/status` shows.
    pub status: NodeStatus,
    /// Totals since the node's start.
    pub counters: Counters,
    /// Events since the last report that was confirmed; their ids tell repetitions.
    #[serde(default)]
    pub events: Vec<Event>,
    /// When digests were last used, since the last report that was confirmed.
    #[serde(default)]
    pub used: Vec<(Digest, WallTime)>,
}

/// Totals since the node's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// When the node started: a later one means that totals began again at 0.
    pub started_at_ms: i64,
    /// Requests answered.
    pub requests: u64,
    /// Of them served without any byte of content from an upstream: `hit`, `checked`, `stale`, `local`.
    pub hits: u64,
    /// Of them filled from an upstream, alone or with others.
    pub fills: u64,
    /// Of them refused or failed.
    pub errors: u64,
    /// Bytes of content sent to clients.
    pub served_bytes: u64,
    /// Bytes of content received from upstreams.
    pub upstream_bytes: u64,
    /// Requests sent to upstreams.
    pub upstream_requests: u64,
    /// Fills running now.
    pub fills_in_flight: u64,
}
