//! The series that are there before anything was counted: a counter that first appears at 1 shows no increase to who watches it.
//!
//! Called whenever a slice comes into force, with all that it names. What is begun has labels that are known beforehand, or that
//! `deploy/prometheus/alerts.yaml` looks for; other status codes appear with their first request. Series of rules, webhooks and upstreams
//! that are no more go, but for those whose totals a node reports (`upstream_requests`, `upstream_bytes`), which only ever grow.

use std::collections::BTreeSet;

use super::Metrics;
use crate::{copy, event, fill, store};

/// The codes of an upstream's answers that an alert waits for.
const ALERTED: [&str; 3] = ["403", "429", "error"];

/// What a slice names.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    /// Its rules.
    pub rules: BTreeSet<&'a str>,
    /// Whom they ask, by the name that metrics have for it.
    pub upstreams: BTreeSet<&'a str>,
    /// Its webhooks.
    pub webhooks: BTreeSet<&'a str>,
}

impl Metrics {
    /// Begins the series of all that is known, and forgets those of what is not any more.
    pub fn know(&self, known: &Known<'_>) {
        self.begin_own();
        for rule in &known.rules {
            for result in fill::RESULTS {
                self.fills.begin([rule, result]);
            }
            for result in copy::RESULTS {
                self.copies.begin([rule, result]);
            }
        }
        for upstream in &known.upstreams {
            self.digest_mismatch.begin([upstream]);
            self.upstream_bytes.begin([upstream]);
            for method in ["GET", "HEAD"] {
                for code in ALERTED {
                    self.upstream_requests.begin([upstream, method, code]);
                }
            }
        }
        for webhook in &known.webhooks {
            for result in event::deliver::RESULTS {
                self.webhook_deliveries.begin([webhook, result]);
            }
        }
        self.forget(known);
    }

    /// What a node counts whatever it is told to do.
    fn begin_own(&self) {
        for op in store::OPS {
            self.store_errors.begin([op]);
        }
        for source in ["store", "upstream"] {
            self.served_bytes.begin([source]);
        }
        self.requests.begin(["manifest", "stale", "200"]);
    }

    fn forget(&self, known: &Known<'_>) {
        let rule = |name: &str| known.rules.contains(name);
        self.fills.retain("rule", rule);
        self.copies.retain("rule", rule);
        self.rule_unstored_pulls.retain("rule", rule);
        self.rule_last_store.retain("rule", rule);
        let upstream = |name: &str| known.upstreams.contains(name);
        self.digest_mismatch.retain("upstream", upstream);
        self.upstream_ratelimit_remaining
            .retain("upstream", upstream);
        self.webhook_deliveries
            .retain("webhook", |name| known.webhooks.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::metric::Registry;

    #[test]
    fn what_is_known_is_counted_from_0_and_goes_with_its_rule() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let known = Known {
            rules: ["mirror"].into(),
            upstreams: ["hub.example"].into(),
            webhooks: ["audit"].into(),
        };
        metrics.know(&known);
        metrics
            .upstream_ratelimit_remaining
            .set(["hub.example"], 7.0);
        metrics.digest_mismatch.inc(["hub.example"]);
        metrics.know(&known);
        let text = registry.gather_text();
        for line in [
            r#"regmesh_digest_mismatch_total{upstream="hub.example"} 1"#,
            r#"regmesh_store_errors_total{op="fill"} 0"#,
            r#"regmesh_fills_total{result="through",rule="mirror"} 0"#,
            r#"regmesh_copies_total{result="failed",rule="mirror"} 0"#,
            r#"regmesh_upstream_requests_total{code="429",method="HEAD",upstream="hub.example"} 0"#,
            r#"regmesh_webhook_deliveries_total{result="failed",webhook="audit"} 0"#,
            r#"regmesh_requests_total{code="200",kind="manifest",outcome="stale"} 0"#,
            r#"regmesh_served_bytes_total{source="store"} 0"#,
            r#"regmesh_upstream_ratelimit_remaining{upstream="hub.example"} 7"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        metrics.know(&Known::default());
        let text = registry.gather_text();
        for gone in ["mirror", "audit", "ratelimit_remaining{", "mismatch_total{"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
    }
}
