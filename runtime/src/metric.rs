//! Metric families with declared labels, and their text.
//!
//! Over the `prometheus` crate itself, because our names are a contract that the OpenTelemetry exporter would decorate
//! (`reference/dependencies.md` P7). The number of labels is part of a family's type, so a forgotten label does not compile. Each
//! process, or each node in a test, has its own registry; which names exist is said by their owner's `metric.rs`, and no label may
//! carry a repository, a tag or a digest.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, TextEncoder,
};

/// A set of metric families. Clones share it.
#[derive(Clone, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    before: Arc<Mutex<Vec<Refresh>>>,
}

type Refresh = Box<dyn Fn() + Send + Sync>;

/// A number that only grows, for each combination of `N` labels.
#[derive(Debug, Clone)]
pub struct Counter<const N: usize>(IntCounterVec);

/// A number that moves both ways, for each combination of `N` labels.
#[derive(Debug, Clone)]
pub struct Gauge<const N: usize>(GaugeVec);

/// A distribution, for each combination of `N` labels.
#[derive(Debug, Clone)]
pub struct Histogram<const N: usize>(HistogramVec);

/// Buckets for times that a client feels, in seconds: 1 ms to 30 s.
pub const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a counter. Panics when the name is taken or malformed, like the others: names are constants.
    pub fn counter<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Counter<N> {
        let family = IntCounterVec::new(Opts::new(name, help), &labels).expect(WELL_FORMED);
        self.register(&family);
        if N == 0 {
            family.with_label_values::<&str>(&[]);
        }
        Counter(family)
    }

    /// Declares a gauge.
    pub fn gauge<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Gauge<N> {
        let family = GaugeVec::new(Opts::new(name, help), &labels).expect(WELL_FORMED);
        self.register(&family);
        if N == 0 {
            family.with_label_values::<&str>(&[]);
        }
        Gauge(family)
    }

    /// Declares a histogram with upper bounds `buckets`, for example [`SECONDS`].
    pub fn histogram<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
        buckets: &[f64],
    ) -> Histogram<N> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = HistogramVec::new(options, &labels).expect(WELL_FORMED);
        self.register(&family);
        if N == 0 {
            family.with_label_values::<&str>(&[]);
        }
        Histogram(family)
    }

    /// Runs `refresh` before each gathering, to set gauges from what is counted elsewhere. It must not block.
    pub fn before_gather(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.push(Box::new(refresh));
    }

    /// Everything in the Prometheus text format.
    pub fn gather_text(&self) -> String {
        for refresh in &*self.before.lock().unwrap_or_else(PoisonError::into_inner) {
            refresh();
        }
        let families = self.inner.gather();
        let text = TextEncoder::new().encode_to_string(&families);
        text.expect("gathered families have names and writing to a string does not fail")
    }

    fn register(&self, family: &(impl Collector + Clone + 'static)) {
        let registered = self.inner.register(Box::new(family.clone()));
        registered.expect("metric names are constants, declared once per registry");
    }
}

const WELL_FORMED: &str = "metric and label names are constants and well formed";

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl<const N: usize> Counter<N> {
    /// One more.
    pub fn inc(&self, labels: [&str; N]) {
        self.0.with_label_values(&labels).inc();
    }

    /// `count` more.
    pub fn add(&self, labels: [&str; N], count: u64) {
        self.0.with_label_values(&labels).inc_by(count);
    }

    /// The value now.
    pub fn get(&self, labels: [&str; N]) -> u64 {
        self.0.with_label_values(&labels).get()
    }

    /// The sum over the series whose label `name` has a value that `counts`.
    pub fn total(&self, name: &str, counts: impl Fn(&str) -> bool) -> u64 {
        let families = self.0.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        let counted = series.filter(|series| {
            let mut labels = series.get_label().iter();
            labels.any(|label| label.name() == name && counts(label.value()))
        });
        // Whole numbers up to 2^53 are exact.
        counted
            .map(|series| series.get_counter().get_value() as u64)
            .sum()
    }

    /// The series is there from now on, at 0 until something is counted: what first appears at 1 is no increase.
    pub fn begin(&self, labels: [&str; N]) {
        self.add(labels, 0);
    }

    /// Forgets the series whose label `name` has a value that is not to be kept.
    pub fn retain(&self, name: &str, keep: impl Fn(&str) -> bool) {
        retain(&self.0, name, keep);
    }

    /// One series of the family, to keep where counting is hot.
    pub fn series(&self, labels: [&str; N]) -> Series {
        Series(self.0.with_label_values(&labels))
    }
}

/// A counter whose labels are settled.
#[derive(Debug, Clone)]
pub struct Series(IntCounter);

impl Series {
    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }
}

impl<const N: usize> Gauge<N> {
    /// The value from now on.
    pub fn set(&self, labels: [&str; N], value: f64) {
        self.0.with_label_values(&labels).set(value);
    }

    /// Moves the value by `delta`.
    pub fn add(&self, labels: [&str; N], delta: f64) {
        self.0.with_label_values(&labels).add(delta);
    }

    /// The value now.
    pub fn get(&self, labels: [&str; N]) -> f64 {
        self.0.with_label_values(&labels).get()
    }

    /// Forgets a series, for example of a rule that is gone.
    pub fn remove(&self, labels: [&str; N]) {
        // An error means that there is none.
        let _ = self.0.remove_label_values(&labels);
    }

    /// Forgets the series whose label `name` has a value that is not to be kept.
    pub fn retain(&self, name: &str, keep: impl Fn(&str) -> bool) {
        retain(&self.0, name, keep);
    }
}

fn retain<T: MetricVecBuilder>(family: &MetricVec<T>, name: &str, keep: impl Fn(&str) -> bool) {
    let families = family.collect();
    for series in families.iter().flat_map(|family| family.get_metric()) {
        let labels = series.get_label().iter();
        let labels: HashMap<&str, &str> = labels.map(|l| (l.name(), l.value())).collect();
        if labels.get(name).is_some_and(|value| !keep(value)) {
            // An error means that somebody else was faster.
            let _ = family.remove(&labels);
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// One more observation.
    pub fn observe(&self, labels: [&str; N], value: f64) {
        self.0.with_label_values(&labels).observe(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_appear_under_exactly_their_names() {
        let registry = Registry::new();
        let requests = registry.counter("regmesh_requests_total", "Requests.", ["kind", "code"]);
        let fills = registry.gauge("regmesh_fills_in_flight", "Fills.", []);
        let ttfb = registry.histogram("regmesh_request_ttfb_seconds", "TTFB.", [], &[0.1, 1.0]);
        requests.inc(["manifest", "200"]);
        requests.series(["manifest", "200"]).add(2);
        ttfb.observe([], 0.5);
        registry.before_gather(move || fills.set([], 7.0));
        let text = registry.gather_text();
        for line in [
            "# TYPE regmesh_requests_total counter",
            r#"regmesh_requests_total{code="200",kind="manifest"} 3"#,
            "regmesh_fills_in_flight 7",
            r#"regmesh_request_ttfb_seconds_bucket{le="1"} 1"#,
            "regmesh_request_ttfb_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_total_adds_up_the_series_whose_label_counts() {
        let family = Registry::new().counter("requests", "x", ["kind", "outcome"]);
        family.add(["manifest", "hit"], 2);
        family.add(["blob", "hit"], 3);
        family.add(["blob", "error"], 5);
        assert_eq!(family.total("outcome", |outcome| outcome == "hit"), 5);
        assert_eq!(family.total("kind", |kind| kind == "blob"), 8);
        assert_eq!(family.total("kind", |_| true), 10);
        assert_eq!(family.total("nothing", |_| true), 0);
    }

    #[test]
    fn a_series_that_began_is_at_0_and_one_that_is_not_kept_is_gone() {
        let registry = Registry::new();
        let family = registry.counter("fills_total", "x", ["rule", "result"]);
        family.begin(["a", "stored"]);
        family.begin(["b", "stored"]);
        family.inc(["a", "stored"]);
        family.begin(["a", "stored"]);
        family.retain("rule", |rule| rule == "a");
        let text = registry.gather_text();
        assert!(text.contains(r#"{result="stored",rule="a"} 1"#), "{text}");
        assert!(!text.contains(r#"rule="b""#), "{text}");
    }

    #[test]
    fn an_unlabelled_family_is_there_from_the_start_and_a_removed_series_is_not() {
        let registry = Registry::new();
        registry.counter("a_total", "A.", []);
        let gauge = registry.gauge("b", "B.", ["rule"]);
        gauge.set(["gone"], 1.0);
        gauge.remove(["gone"]);
        let text = registry.gather_text();
        assert!(
            text.contains("a_total 0") && !text.contains("gone"),
            "{text}"
        );
    }
}
