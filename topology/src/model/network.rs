//! Who may connect to a node, by address.

use ipnet::IpNet;

/// A node's `network` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Who may connect.
    pub access: Access,
    /// The networks let in under `selected`.
    pub allow: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether mesh nodes that prove themselves by certificate pass whatever their address.
    pub trust_mesh_peers: bool,
}

/// The three policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Everybody.
    #[default]
    Public,
    /// The networks in `allow`.
    Selected,
    /// Loopback and trusted mesh peers.
    Private,
}
