//! What is said about a registry outside the mesh.

use std::path::PathBuf;

/// An `upstreams` entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// CA file for its TLS.
    pub ca: Option<PathBuf>,
    /// Plain http beyond loopback.
    pub insecure: bool,
    /// Proxy on the way there.
    pub proxy: Option<String>,
    /// Hosts of token services besides its own.
    pub realms: Vec<String>,
    /// Transfers at once.
    pub max_concurrent: usize,
    /// Requests a second; `None` for no limit.
    pub requests_per_second: Option<f64>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            ca: None,
            insecure: false,
            proxy: None,
            realms: Vec::new(),
            max_concurrent: 16,
            requests_per_second: None,
        }
    }
}
