//! Who is told what passes between this node and its upstreams: the metrics, and tests that count.

use std::time::Duration;

use crate::metric::Metrics;

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

impl Observer for Metrics {
    fn answered(&self, upstream: &str, method: &str, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        self.upstream_requests.inc([upstream, method, &code]);
        self.upstream_request_duration
            .observe([upstream], took.as_secs_f64());
    }

    fn received(&self, upstream: &str, bytes: u64) {
        self.upstream_bytes.add([upstream], bytes);
    }

    fn rate_limit_remaining(&self, upstream: &str, remaining: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge of requests left")]
        self.upstream_ratelimit_remaining
            .set([upstream], remaining as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_count_by_upstream_method_and_code() {
        let registry = runtime::metric::Registry::new();
        let metrics = Metrics::new(&registry);
        metrics.answered("docker.io", "HEAD", Some(200), Duration::from_millis(20));
        metrics.answered("docker.io", "GET", None, Duration::from_secs(5));
        metrics.received("docker.io", 10);
        metrics.rate_limit_remaining("docker.io", 76);
        assert_eq!(
            metrics.upstream_requests.get(["docker.io", "HEAD", "200"]),
            1
        );
        assert_eq!(
            metrics.upstream_requests.get(["docker.io", "GET", "error"]),
            1
        );
        assert_eq!(metrics.upstream_bytes.get(["docker.io"]), 10);
        let text = registry.gather_text();
        let gauge = r#"regmesh_upstream_ratelimit_remaining{upstream="docker.io"} 76"#;
        assert!(text.contains(gauge), "{text}");
    }
}
