//! What `agent` tells the control plane of a running node beside its status: totals, events, last use.
//!
//! Totals are read out of the metric families, so that what a report says and what `/metrics` shows are one count.

use wire::{api::report::Counters, digest::Digest, event::Event, time::WallTime};

use super::{Running, status};

impl Running {
    /// From now on events and last use are kept to be told.
    pub fn listen(&self) {
        self.shared.store.feed().listen();
        self.shared.recorder.report();
    }

    /// Totals since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (metrics, fills) = (&self.shared.metrics, &self.shared.fills);
        let outcome = |these: &[&str]| {
            metrics
                .requests
                .total("outcome", |outcome| these.contains(&outcome))
        };
        Counters {
            started_at_ms: self.shared.started_at_ms,
            requests: metrics.requests.total("outcome", |_| true),
            hits: outcome(&["hit", "checked", "stale", "local"]),
            fills: outcome(&["fill", "collapsed"]),
            errors: outcome(&["denied", "error"]),
            served_bytes: metrics.served_bytes.total("source", |_| true),
            upstream_bytes: metrics.upstream_bytes.total("upstream", |_| true),
            upstream_requests: metrics.upstream_requests.total("upstream", |_| true),
            fills_in_flight: fills.in_flight() as u64,
        }
    }

    /// Takes out up to `most` events that were committed since the last time, the oldest first.
    #[must_use]
    pub fn take_events(&self, most: usize) -> Vec<Event> {
        let (bodies, lost) = self.shared.store.feed().take_events(most);
        if lost > 0 {
            tracing::warn!(node = %self.shared.name, lost, "events were not told to the control plane: it was away for too long");
        }
        let events = bodies.iter();
        events
            .filter_map(|body| serde_json::from_slice(body).ok())
            .collect()
    }

    /// Takes out up to `most` contents that were used since the last time, and when.
    #[must_use]
    pub fn take_used(&self, most: usize) -> Vec<(Digest, WallTime)> {
        self.shared.store.feed().take_used(most)
    }

    /// A number that changes when the control plane should hear of this node before its next report is due.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        status::fingerprint(&self.shared)
    }
}
