//! The metric families of a node, by the names of `spec/operations.md`: one field each, declared once.
//!
//! No repository, tag or digest is ever a label. What others keep the count of (the store, the memory cache, fills in flight)
//! is read when somebody scrapes, by `app`.

use runtime::metric::{Counter, Gauge, Histogram, Registry, SECONDS};

mod known;

pub use known::Known;

/// All families. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    /// `regmesh_build_info{version}`: always 1.
    pub build_info: Gauge<1>,
    /// `regmesh_requests_total{kind,outcome,code}`
    pub requests: Counter<3>,
    /// `regmesh_request_ttfb_seconds{kind}`
    pub request_ttfb: Histogram<1>,
    /// `regmesh_served_bytes_total{source}`
    pub served_bytes: Counter<1>,
    /// `regmesh_upstream_requests_total{upstream,method,code}`
    pub upstream_requests: Counter<3>,
    /// `regmesh_upstream_bytes_total{upstream}`
    pub upstream_bytes: Counter<1>,
    /// `regmesh_upstream_request_duration_seconds{upstream}`
    pub upstream_request_duration: Histogram<1>,
    /// `regmesh_upstream_ratelimit_remaining{upstream}`
    pub upstream_ratelimit_remaining: Gauge<1>,
    /// `regmesh_fills_in_flight`
    pub fills_in_flight: Gauge<0>,
    /// `regmesh_fills_total{rule,result}`
    pub fills: Counter<2>,
    /// `regmesh_copies_total{rule,result}`
    pub copies: Counter<2>,
    /// `regmesh_copy_queue_length`
    pub copy_queue_length: Gauge<0>,
    /// `regmesh_rule_unstored_pulls{rule}`
    pub rule_unstored_pulls: Gauge<1>,
    /// `regmesh_rule_last_store_timestamp_seconds{rule}`
    pub rule_last_store: Gauge<1>,
    /// `regmesh_digest_mismatch_total{upstream}`
    pub digest_mismatch: Counter<1>,
    /// `regmesh_memory_cache_bytes`
    pub memory_cache_bytes: Gauge<0>,
    /// `regmesh_memory_cache_hits_total`
    pub memory_cache_hits: Counter<0>,
    /// `regmesh_memory_cache_misses_total`
    pub memory_cache_misses: Counter<0>,
    /// `regmesh_store_bytes`
    pub store_bytes: Gauge<0>,
    /// `regmesh_store_capacity_bytes`
    pub store_capacity_bytes: Gauge<0>,
    /// `regmesh_store_errors_total{op}`
    pub store_errors: Counter<1>,
    /// `regmesh_evicted_bytes_total{reason}`
    pub evicted_bytes: Counter<1>,
    /// `regmesh_webhook_deliveries_total{webhook,result}`
    pub webhook_deliveries: Counter<2>,
    /// `regmesh_webhook_queue_length`
    pub webhook_queue_length: Gauge<0>,
    /// `regmesh_config_generation`
    pub config_generation: Gauge<0>,
    /// `regmesh_config_applied_timestamp_seconds`
    pub config_applied: Gauge<0>,
    /// `regmesh_identity_expiry_timestamp_seconds{identity}`: of the token in hand that ends first; absent where none is in hand.
    pub identity_expiry: Gauge<1>,
    /// `regmesh_control_connected`: 0 or 1; absent on a node that has no control plane, so that nobody misses one.
    pub control_connected: Gauge<0>,
}

impl Metrics {
    /// Declares every family in `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let r = registry;
        let build_info = r.gauge("regmesh_build_info", "The program's version.", ["version"]);
        build_info.set([env!("CARGO_PKG_VERSION")], 1.0);
        Self {
            build_info,
            requests: r.counter(
                "regmesh_requests_total",
                "Requests answered.",
                ["kind", "outcome", "code"],
            ),
            request_ttfb: r.histogram(
                "regmesh_request_ttfb_seconds",
                "Time to the first byte of an answer.",
                ["kind"],
                SECONDS,
            ),
            served_bytes: r.counter(
                "regmesh_served_bytes_total",
                "Bytes of content sent to clients.",
                ["source"],
            ),
            upstream_requests: r.counter(
                "regmesh_upstream_requests_total",
                "Requests sent to upstreams.",
                ["upstream", "method", "code"],
            ),
            upstream_bytes: r.counter(
                "regmesh_upstream_bytes_total",
                "Bytes of content received from upstreams.",
                ["upstream"],
            ),
            upstream_request_duration: r.histogram(
                "regmesh_upstream_request_duration_seconds",
                "Time to an upstream's answer.",
                ["upstream"],
                SECONDS,
            ),
            upstream_ratelimit_remaining: r.gauge(
                "regmesh_upstream_ratelimit_remaining",
                "What an upstream says is left of its rate limit.",
                ["upstream"],
            ),
            fills_in_flight: r.gauge(
                "regmesh_fills_in_flight",
                "Transfers from upstreams under way.",
                [],
            ),
            fills: r.counter(
                "regmesh_fills_total",
                "Transfers from upstreams that ended.",
                ["rule", "result"],
            ),
            copies: r.counter(
                "regmesh_copies_total",
                "Attempts of copy jobs that ended.",
                ["rule", "result"],
            ),
            copy_queue_length: r.gauge("regmesh_copy_queue_length", "Copy jobs not done yet.", []),
            rule_unstored_pulls: r.gauge(
                "regmesh_rule_unstored_pulls",
                "Pulls that passed since something was last stored.",
                ["rule"],
            ),
            rule_last_store: r.gauge(
                "regmesh_rule_last_store_timestamp_seconds",
                "When content of a rule was last stored.",
                ["rule"],
            ),
            digest_mismatch: r.counter(
                "regmesh_digest_mismatch_total",
                "Contents that did not hash to their digest.",
                ["upstream"],
            ),
            memory_cache_bytes: r.gauge(
                "regmesh_memory_cache_bytes",
                "Bytes in the memory cache.",
                [],
            ),
            memory_cache_hits: r.counter(
                "regmesh_memory_cache_hits_total",
                "Lookups that the memory cache answered.",
                [],
            ),
            memory_cache_misses: r.counter(
                "regmesh_memory_cache_misses_total",
                "Lookups that went to the store.",
                [],
            ),
            store_bytes: r.gauge("regmesh_store_bytes", "Bytes of content stored.", []),
            store_capacity_bytes: r.gauge(
                "regmesh_store_capacity_bytes",
                "Bytes of content that may be stored.",
                [],
            ),
            store_errors: r.counter(
                "regmesh_store_errors_total",
                "Operations that the store failed.",
                ["op"],
            ),
            evicted_bytes: r.counter(
                "regmesh_evicted_bytes_total",
                "Bytes of content that left.",
                ["reason"],
            ),
            webhook_deliveries: r.counter(
                "regmesh_webhook_deliveries_total",
                "Attempts to deliver an event.",
                ["webhook", "result"],
            ),
            webhook_queue_length: r.gauge(
                "regmesh_webhook_queue_length",
                "Events that wait for a receiver.",
                [],
            ),
            config_generation: r.gauge("regmesh_config_generation", "The generation in force.", []),
            config_applied: r.gauge(
                "regmesh_config_applied_timestamp_seconds",
                "When it was applied.",
                [],
            ),
            identity_expiry: r.gauge(
                "regmesh_identity_expiry_timestamp_seconds",
                "When the token of an identity that is in hand ends.",
                ["identity"],
            ),
            control_connected: r.gauge(
                "regmesh_control_connected",
                "Whether the control plane is connected.",
                [],
            ),
        }
    }
}
