//! Totals of every connected node once a minute, for charts; kept for a day. Source: `spec/control-plane.md` "Reports".

use std::time::Duration;

use wire::{
    api::{mesh::HistoryPoint, report::Counters},
    name::NodeName,
    time::WallTime,
};

use crate::{
    distribute::{Distribute, Inner},
    report::NodeSeen,
};

/// How often.
pub(crate) const EVERY: Duration = Duration::from_secs(60);
/// How long points are kept.
const KEEP: Duration = Duration::from_secs(24 * 3_600);

/// Writes a point for every node that has a stream here.
pub(crate) async fn record(inner: &std::sync::Arc<Inner>) {
    let now = inner.now();
    let nodes = Distribute(std::sync::Arc::clone(inner)).nodes();
    let points: Vec<_> = nodes
        .iter()
        .filter_map(|(node, seen)| point(node, seen, now))
        .collect();
    if points.is_empty() {
        return;
    }
    if let Err(error) = inner.state.add_history(points, now.minus(KEEP)).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the history cannot be written"
        );
    }
}

/// The totals of a node's connected instances; none when none of them is ours, or has reported. Control planes that hold instances of
/// one node write the same point at the same whole minute.
fn point(node: &NodeName, seen: &NodeSeen, now: WallTime) -> Option<(NodeName, HistoryPoint)> {
    seen.instances.values().find(|instance| instance.here)?;
    let connected = seen
        .instances
        .values()
        .filter(|instance| instance.connected);
    let reported: Vec<_> = connected
        .filter(|instance| instance.seen.status.is_some())
        .collect();
    let first = reported.first()?;
    let counters = reported
        .iter()
        .skip(1)
        .fold(first.seen.counters, |sum, next| {
            add(sum, next.seen.counters)
        });
    let stored = reported
        .iter()
        .filter_map(|instance| instance.seen.status.as_ref());
    let point = HistoryPoint {
        at: WallTime(now.seconds().div_euclid(60).saturating_mul(60_000)),
        counters,
        stored_bytes: stored
            .map(|status| status.store.bytes)
            .fold(0, u64::saturating_add),
    };
    Some((node.clone(), point))
}

fn add(one: Counters, other: Counters) -> Counters {
    Counters {
        started_at_ms: one.started_at_ms.max(other.started_at_ms),
        requests: one.requests.saturating_add(other.requests),
        hits: one.hits.saturating_add(other.hits),
        fills: one.fills.saturating_add(other.fills),
        errors: one.errors.saturating_add(other.errors),
        served_bytes: one.served_bytes.saturating_add(other.served_bytes),
        upstream_bytes: one.upstream_bytes.saturating_add(other.upstream_bytes),
        upstream_requests: one
            .upstream_requests
            .saturating_add(other.upstream_requests),
        fills_in_flight: one.fills_in_flight.saturating_add(other.fills_in_flight),
    }
}
