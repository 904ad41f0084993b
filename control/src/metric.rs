//! The metric names of a control plane. Paths are those of the route table, so labels are few.

use runtime::metric::{Counter, Gauge, Histogram, Registry, SECONDS};

/// The families.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Always 1; the version is its label.
    pub build_info: Gauge<1>,
    /// The newest generation.
    pub generation: Gauge<0>,
    /// When it was published.
    pub applied: Gauge<0>,
    /// Nodes that the topology declares.
    pub nodes: Gauge<0>,
    /// Of them connected, at any control plane.
    pub connected: Gauge<0>,
    /// Of them that refused the newest slice.
    pub refused: Gauge<0>,
    /// Alarms raised.
    pub alarms: Gauge<0>,
    requests: Counter<2>,
    duration: Histogram<0>,
}

impl Metrics {
    /// Declares them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let gauge = |name, help| registry.gauge(name, help, []);
        Self {
            build_info: registry.gauge("regmesh_build_info", "The version that runs.", ["version"]),
            generation: gauge("regmesh_config_generation", "The generation in force."),
            applied: gauge(
                "regmesh_config_applied_timestamp_seconds",
                "When the generation in force was published.",
            ),
            nodes: gauge("regmesh_control_nodes", "Nodes that the topology declares."),
            connected: gauge(
                "regmesh_control_nodes_connected",
                "Declared nodes that are connected.",
            ),
            refused: gauge(
                "regmesh_control_nodes_refused",
                "Declared nodes that refused a slice.",
            ),
            alarms: gauge(
                "regmesh_control_alarms",
                "Alarms about the control plane itself.",
            ),
            requests: registry.counter(
                "regmesh_control_requests_total",
                "Requests to the API.",
                ["path", "code"],
            ),
            duration: registry.histogram(
                "regmesh_control_request_duration_seconds",
                "From a request's headers to its answer's.",
                [],
                SECONDS,
            ),
        }
    }

    /// Counts one request.
    pub fn request(&self, path: &str, status: u16, seconds: f64) {
        self.requests.inc([path, &status.to_string()]);
        self.duration.observe([], seconds);
    }
}
