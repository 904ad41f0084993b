//! Who may read, write and delete in one repository of one node: role assignments as they work out there.
//!
//! The answer of `GET /api/v1/nodes/{n}/effective` and of `regmesh role list --effective`. What a token says may take away from it;
//! nothing adds to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    assignment::Role, generation::Generation, name::NodeName, pattern::Pattern,
    repository::RepositoryName,
};

/// Who may do what there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The node.
    pub node: NodeName,
    /// The repository there, whether it holds anything or not.
    pub repository: RepositoryName,
    /// The generation that says so.
    pub generation: Generation,
    /// Everybody who may do something; whoever is not named here may do nothing.
    pub holders: Vec<Holder>,
}

/// Somebody who may do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Who, as `access` writes it: `anonymous`, `identity:promoter`, or issuer and claims as JSON.
    pub who: String,
    /// Pull, list tags, referrers.
    pub read: bool,
    /// Push.
    pub write: bool,
    /// Delete.
    pub delete: bool,
    /// The assignments that give it.
    pub through: Vec<Through>,
    /// Of an identity: rules that read there as it, each `NODE/RULE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// An assignment that gives something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Through {
    /// Its name: see `regmesh role list`.
    pub assignment: String,
    /// The role that it gives.
    pub role: Role,
    /// For which repositories.
    pub repositories: Vec<Pattern>,
}
