//! `upstreams`: only where a registry outside the mesh needs something said about it.

use super::Text;
use crate::{place::At, read::section::section};

section! {
    /// What is said about a registry outside the mesh.
    Upstream = "an upstream" {
        /// CA file for its TLS.
        ca: Text = "ca";
        /// Plain http beyond loopback.
        insecure: Option<At<bool>> = "insecure";
        /// Proxy on the way there.
        proxy: Text = "proxy";
        /// Token services besides its own host.
        realms: Vec<At<String>> = "realms";
        /// Transfers at once, default 16; more wait in line.
        max_concurrent: Option<At<u64>> = "maxConcurrent";
        /// Requests a second; default: no limit.
        requests_per_second: Option<At<f64>> = "requestsPerSecond";
    }
}
