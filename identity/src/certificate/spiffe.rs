//! `spiffe://<mesh>/node/<name>` and `spiffe://<mesh>/control`: who a certificate names, read and written.

use std::{fmt, str::FromStr};

use wire::name::{MeshName, NodeName};

/// Who a certificate of the mesh names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SpiffeId {
    /// A node, any of its instances.
    Node {
        /// Its mesh.
        mesh: MeshName,
        /// Its name.
        node: NodeName,
    },
    /// A control plane of the mesh.
    Control {
        /// Its mesh.
        mesh: MeshName,
    },
}

/// The text is no id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not spiffe://MESH/node/NAME or spiffe://MESH/control")]
pub struct NotAnId;

impl SpiffeId {
    /// The mesh it belongs to.
    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        match self {
            Self::Node { mesh, .. } | Self::Control { mesh } => mesh,
        }
    }

    /// The node it names, when it names one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Node { node, .. } => Some(node),
            Self::Control { .. } => None,
        }
    }

    /// Whether it names a control plane.
    #[must_use]
    pub fn is_control(&self) -> bool {
        matches!(self, Self::Control { .. })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { mesh, node } => write!(f, "spiffe://{mesh}/node/{node}"),
            Self::Control { mesh } => write!(f, "spiffe://{mesh}/control"),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (mesh, path) = text
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(NotAnId)?;
        let mesh = mesh.parse().map_err(|_| NotAnId)?;
        if path == "control" {
            return Ok(Self::Control { mesh });
        }
        let node = path.strip_prefix("node/").ok_or(NotAnId)?;
        let node = node.parse().map_err(|_| NotAnId)?;
        Ok(Self::Node { mesh, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is_one() {
        for text in ["spiffe://acme/node/eu-aks-1", "spiffe://acme/control"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "spiffe://acme",
            "spiffe://acme/",
            "spiffe://acme/node/",
            "spiffe://acme/node/a/b",
            "spiffe://acme/node/A",
            "spiffe://acme/control/",
            "spiffe:///node/a",
            "https://acme/node/a",
            "spiffe://acme/node/a?x=1",
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(NotAnId), "{text}");
        }
    }
}
