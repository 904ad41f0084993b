//! What a control plane is started with. Flags and their defaults are the CLI's.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{audit, ca, distribute, http, issuer};

/// Where the API listens unless somebody says otherwise.
pub const API: &str = "127.0.0.1:7080";
/// Where the node service does.
pub const NODE_SERVICE: &str = "127.0.0.1:7443";
/// Where the operational listener does.
pub const OPERATIONAL: &str = "127.0.0.1:7081";

/// One control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds `admin.token`, and everything else in `control/`.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where the node service listens.
    pub node_service: SocketAddr,
    /// Where the operational listener listens.
    pub operational: SocketAddr,
    /// `HOST:PORT` at which nodes reach the node service; what join tokens say. Without it: where it listens.
    pub advertise: Option<String>,
    /// `postgres://…`; without it SQLite in the data directory.
    pub store: Option<String>,
    /// The key that seals keys in the store, which control planes over one store share; without it one in the data directory.
    pub seal_key: Option<PathBuf>,
    /// Certificate and key of the API; plain http without.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What may differ in tests.
    pub settings: Settings,
}

/// Times that tests make short.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the API.
    pub http: http::Settings,
    /// Of the node service.
    pub rhythm: distribute::Rhythm,
    /// Of the mesh CA.
    pub ca: ca::Config,
    /// Of rule grants.
    pub grants: issuer::Lives,
    /// How long entries of the audit log are kept; a day at least.
    pub audit: Duration,
    /// How often the store is asked whether it takes writes.
    pub probe: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: http::Settings::default(),
            rhythm: distribute::Rhythm::default(),
            ca: ca::Config::default(),
            grants: issuer::Lives::default(),
            audit: audit::RETENTION,
            probe: Duration::from_secs(10),
        }
    }
}
