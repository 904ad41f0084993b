//! Resources of the topology by kind and name, and what `plan` and `apply` take and give.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{api::problem::DocumentProblem, generation::Generation};

/// A kind of resource: the section of the topology document that holds it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nodes.
    Nodes,
    /// Identities.
    Identities,
    /// Credential sets.
    Credentials,
    /// Cache rules.
    Rules,
    /// OIDC issuers.
    Issuers,
    /// Local accounts.
    Accounts,
    /// Role assignments; they have no name in the document, so theirs is made of what they say.
    Access,
    /// What is said about registries outside the mesh.
    Upstreams,
    /// Webhooks.
    Webhooks,
}

impl Kind {
    /// Every kind, in the order of the document.
    pub const ALL: [Self; 9] = [
        Self::Nodes,
        Self::Identities,
        Self::Credentials,
        Self::Rules,
        Self::Issuers,
        Self::Accounts,
        Self::Access,
        Self::Upstreams,
        Self::Webhooks,
    ];

    /// The section's key, which is also its place in a path of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Identities => "identities",
            Self::Credentials => "credentials",
            Self::Rules => "rules",
            Self::Issuers => "issuers",
            Self::Accounts => "accounts",
            Self::Access => "access",
            Self::Upstreams => "upstreams",
            Self::Webhooks => "webhooks",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind '{0}'")]
pub struct NoSuchKind(String);

impl FromStr for Kind {
    type Err = NoSuchKind;

    fn from_str(text: &str) -> Result<Self, NoSuchKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| NoSuchKind(text.to_owned()))
    }
}

/// One resource as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its kind.
    pub kind: Kind,
    /// Its name; of a role assignment, the first 16 hex digits of the SHA-256 of what it says.
    pub name: String,
    /// What the topology document says of it.
    pub spec: Value,
    /// The generation it was read from.
    pub generation: Generation,
}

/// A list of resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// In order of name.
    pub items: Vec<Resource>,
    /// The generation they were read from.
    pub generation: Generation,
}

/// A file of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// What problems call it.
    pub name: String,
    /// YAML.
    pub text: String,
}

/// The body of `POST /api/v1/topology:plan` and `:apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Apply {
    /// Together one topology.
    pub files: Vec<File>,
    /// Only check and say what would change (`:apply` with `--dry-run`).
    #[serde(default)]
    pub dry_run: bool,
    /// `--prune --yes`: all nodes or more than half of the rules may go.
    #[serde(default)]
    pub prune: bool,
}

/// What `:plan` and `:apply` answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The generation in force afterwards; 0 when nothing was ever applied.
    pub generation: Generation,
    /// Whether a new generation was published: not by `plan`, and not when nothing changed.
    pub published: bool,
    /// What changes, in the order of `plan`.
    pub changes: Vec<Change>,
    /// What is legal and unwise.
    #[serde(default)]
    pub warnings: Vec<DocumentProblem>,
    /// Whether it removes so much that it needs `--prune --yes`.
    #[serde(default)]
    pub needs_prune: bool,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `+`, `~` or `-`.
    pub sign: String,
    /// What is added, changed or removed, as `plan` prints it.
    pub text: String,
}

/// `GET /api/v1/topology`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// Its generation; 0 when nothing was ever applied.
    pub generation: Generation,
    /// YAML.
    pub document: String,
}
