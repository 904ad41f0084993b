//! Recalls: a digest that every node refuses, with what contains it. Source: `spec/operations.md` `regmesh recall`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    generation::Generation,
    name::NodeName,
    schema,
    time::{WallTime, rfc3339},
};

/// The body of `POST /api/v1/recalls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// A manifest, or a blob.
    pub digest: Digest,
    /// Shown to whoever is refused.
    pub reason: String,
}

/// A recall in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recall {
    /// What is refused.
    pub digest: Digest,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: WallTime,
    /// Who recalled it.
    pub by: String,
    /// From which generation on.
    pub generation: Generation,
    /// Nodes that have that generation.
    #[serde(default)]
    pub confirmed: Vec<NodeName>,
    /// Nodes that have not said so yet.
    #[serde(default)]
    pub unconfirmed: Vec<NodeName>,
}
