//! Who is told what passes between this node and its upstreams: the metrics (by `app`), and tests that count.
//! Labels are the observer's affair; nothing here knows a metric's name.

use std::time::Duration;

/// Told of every request and every byte. Called on the path of a pull: quick, and never waiting.
pub trait Observer: Send + Sync + 'static {
    /// A request was answered (up to its headers), or was not (`code` is `None`).
    fn answered(&self, upstream: &str, method: &str, code: Option<u16>, took: Duration);

    /// Bytes of content arrived.
    fn received(&self, upstream: &str, bytes: u64);

    /// The upstream said how many requests are left of its rate limit.
    fn rate_limit_remaining(&self, upstream: &str, remaining: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn answered(&self, _upstream: &str, _method: &str, _code: Option<u16>, _took: Duration) {}

    fn received(&self, _upstream: &str, _bytes: u64) {}

    fn rate_limit_remaining(&self, _upstream: &str, _remaining: u64) {}
}
