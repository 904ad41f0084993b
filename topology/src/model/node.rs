//! A node: its addresses, storage and what is in force on it.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use wire::{assignment::Assignment, name::NodeName};

use super::{Network, SharedRule, Webhook};

/// A node of the mesh.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Where clients reach it.
    pub endpoint: Endpoint,
    /// Where mesh peers reach it with their certificates, if not there.
    pub peer_endpoint: Option<Endpoint>,
    /// The node above it in the tree.
    pub parent: Option<NodeName>,
    /// Labels for selectors.
    pub labels: BTreeMap<String, String>,
    /// Address to bind, if not the default.
    pub listen: Option<SocketAddr>,
    /// Address of the operational listener, if not the default.
    pub admin: Option<SocketAddr>,
    /// Certificate and key, for TLS of its own.
    pub tls: Option<Tls>,
    /// Who may connect.
    pub network: Network,
    /// Where and how it stores.
    pub storage: Storage,
    /// A registry host served at its root, for dockerd's registry-mirrors.
    pub default_namespace: Option<String>,
    /// The rules in force here, by name.
    pub rules: Vec<SharedRule>,
    /// The role assignments in force here.
    pub access: Vec<Assignment>,
    /// The webhooks in force here.
    pub webhooks: Vec<Webhook>,
}

impl Node {
    /// Where mesh peers reach it.
    #[must_use]
    pub fn for_peers(&self) -> &Endpoint {
        self.peer_endpoint.as_ref().unwrap_or(&self.endpoint)
    }
}

/// An `http` or `https` URL without a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `https`, else `http`.
    pub secure: bool,
    /// Host name or address literal, lower case, IPv6 in brackets.
    pub host: String,
    /// The port, explicit or the scheme's.
    pub port: u16,
}

impl Endpoint {
    /// `HOST[:PORT]` as clients name the registry: the port is left out when it is the scheme's.
    #[must_use]
    pub fn login_server(&self) -> String {
        let standard = if self.secure { 443 } else { 80 };
        if self.port == standard {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.secure { "https" } else { "http" },
            self.login_server()
        )
    }
}

/// Files of a server certificate and its key, read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// A node's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Directory, if not the default below the data directory.
    pub path: Option<PathBuf>,
    /// Bytes of blobs it may hold; `None` for as much as the disk has.
    pub max_size: Option<u64>,
    /// How long a whole round of re-hashing may take.
    pub scrub: Duration,
    /// Whether anything is ever deleted by itself.
    pub gc: bool,
    /// `s3://…`, `az://…`, `gs://…` for shared blobs; `None` for local files.
    pub blobs: Option<String>,
    /// `postgres://…` for shared metadata; `None` for SQLite.
    pub metadata: Option<String>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            path: None,
            max_size: None,
            scrub: Duration::from_secs(7 * 24 * 3600),
            gc: true,
            blobs: None,
            metadata: None,
        }
    }
}
