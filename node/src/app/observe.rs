//! Where the components' counts meet the metric families, so that none of them knows a metric.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Backoff;

use crate::{
    copy, fill,
    metric::Metrics,
    settings::Settings,
    upstream::{breaker, observer::Observer, pool, remote::Deadlines},
};

/// Fills, with their counts.
pub(super) fn fills(settings: &Settings, metrics: &Metrics) -> fill::Config {
    let (mismatches, ends) = (metrics.clone(), metrics.clone());
    fill::Config {
        max: settings.max_fills,
        resumes: settings.resumes,
        backoff: Backoff {
            base: settings.resume_pause,
            ..fill::Config::default().backoff
        },
        hooks: fill::Hooks {
            mismatch: Arc::new(move |upstream| mismatches.digest_mismatch.inc([upstream])),
            ended: Arc::new(move |rule, result| ends.fills.inc([rule.as_str(), result])),
        },
        ..fill::Config::default()
    }
}

/// Copies, with their counts.
pub(super) fn copies(settings: &Settings, metrics: &Metrics) -> copy::Config {
    let ends = metrics.clone();
    copy::Config {
        workers: settings.copy_workers,
        backoff: Backoff {
            base: settings.copy_pause,
            ..copy::Config::default().backoff
        },
        ended: Arc::new(move |rule, result| ends.copies.inc([rule.as_str(), result])),
        ..copy::Config::default()
    }
}

/// The upstreams of all rules.
pub(super) fn upstreams(settings: &Settings) -> pool::Config {
    pool::Config {
        connect: settings.connect,
        deadlines: Deadlines {
            first_byte: settings.first_byte,
            short: settings.tag_check,
            long: settings.unstored_check,
            progress: settings.progress,
            ..Deadlines::default()
        },
        breaker: breaker::Config {
            failures: settings.breaker_failures,
            probe_every: settings.breaker_probe,
        },
        ..pool::Config::default()
    }
}

/// Counts what passes to and from upstreams.
pub(super) fn counted(metrics: &Metrics, rates: &Arc<Rates>) -> Arc<dyn Observer> {
    Arc::new(Counted(metrics.clone(), Arc::clone(rates)))
}

/// What upstreams said is left of our rate, by name. Bounded by the upstreams of the rules.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, u64>>);

impl Rates {
    /// What was last said.
    pub(super) fn remaining(&self, upstream: &str) -> Option<u64> {
        self.lock().get(upstream).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Counted(Metrics, Arc<Rates>);

impl Observer for Counted {
    fn answered(&self, upstream: &str, method: &str, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        self.0.upstream_requests.inc([upstream, method, &code]);
        self.0
            .upstream_request_duration
            .observe([upstream], took.as_secs_f64());
    }

    fn received(&self, upstream: &str, bytes: u64) {
        self.0.upstream_bytes.add([upstream], bytes);
    }

    fn rate_limit_remaining(&self, upstream: &str, remaining: u64) {
        self.1.lock().insert(upstream.to_owned(), remaining);
        self.0
            .upstream_ratelimit_remaining
            .set([upstream], remaining as f64);
    }
}
