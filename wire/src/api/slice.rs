//! A slice on its way to a node and on the node's disk: what is signed, and the signature.
//!
//! The control plane signs with a certificate of the mesh CA that names `spiffe://<mesh>/control`, so that a node needs to believe the
//! CA alone. What is signed is [`Envelope::signed`]: a fixed text, no JSON to be canonicalised. Source: `spec/control-plane.md`.

use serde::{Deserialize, Serialize};

use crate::{
    generation::Generation,
    name::{MeshName, NodeName},
    time::{WallTime, rfc3339},
};

/// A signed slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The mesh.
    pub mesh: MeshName,
    /// The node it is for.
    pub node: NodeName,
    /// The generation it was cut from.
    pub generation: Generation,
    /// When it was signed; the signer's certificate must have been valid then.
    #[serde(with = "rfc3339")]
    pub signed_at: WallTime,
    /// SHA-256 of the document, lower-case hex.
    pub document_digest: String,
    /// The topology document, YAML; absent on the way to a node that has the very same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// ECDSA P-256 with SHA-256 over [`Envelope::signed`], DER, lower-case hex.
    pub signature: String,
    /// The signer's chain, the leaf first: DER, lower-case hex.
    pub chain: Vec<String>,
}

impl Envelope {
    /// The bytes that are signed.
    #[must_use]
    pub fn signed(&self) -> Vec<u8> {
        format!(
            "regmesh-slice\n{}\n{}\n{}\n{}\n{}\n",
            self.mesh, self.node, self.generation, self.signed_at.0, self.document_digest
        )
        .into_bytes()
    }
}
