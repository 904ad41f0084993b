//! What `access` says and `identity` decides on: roles, who has them, and where.
//!
//! Lives here because topology (which reads it) and identity (which decides on it) do not know each other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    name::{AccountName, IdentityName, IssuerName, NodeName},
    pattern::Pattern,
};

/// A role that `access` can give.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Pull, list tags, referrers.
    RepositoryReader,
    /// What a reader may, and push.
    RepositoryWriter,
    /// What a reader may, and delete.
    RepositoryDeleter,
    /// `_catalog`.
    CatalogLister,
    /// Cache rules of the control plane.
    CacheRuleAdministrator,
    /// Credential sets of the control plane.
    CredentialSetAdministrator,
    /// Everything of the control plane.
    MeshAdministrator,
    /// Reads everything of the control plane.
    MeshReader,
    /// May put the named identities into rules.
    IdentityUser,
    /// May enrol nodes.
    NodeEnroller,
}

/// Whom a role is given to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Assignee {
    /// Everybody, without a word of who they are.
    Anonymous,
    /// Everybody who has shown who they are.
    Authenticated,
    /// A local account.
    Account(AccountName),
    /// An identity of the mesh, as which rules call.
    Identity(IdentityName),
    /// A node, by its mesh certificate.
    Node(NodeName),
    /// Whoever shows a token of this issuer with all of these claims (globs; a key that begins with `/` is a JSON pointer).
    Claims {
        /// The declared issuer.
        issuer: IssuerName,
        /// Claim name or JSON pointer to glob; all must match.
        claims: BTreeMap<String, String>,
    },
}

/// A role, to whom, for which repositories of one node. Node selectors are resolved before one of these is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The role.
    pub role: Role,
    /// Who has it.
    pub to: Assignee,
    /// For which repositories; `[*]` where the role has none.
    pub repositories: Vec<Pattern>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_written_as_access_has_them() {
        for (role, text) in [
            (Role::RepositoryReader, "repository-reader"),
            (Role::RepositoryWriter, "repository-writer"),
            (Role::RepositoryDeleter, "repository-deleter"),
            (Role::CatalogLister, "catalog-lister"),
            (Role::CacheRuleAdministrator, "cache-rule-administrator"),
            (
                Role::CredentialSetAdministrator,
                "credential-set-administrator",
            ),
            (Role::MeshAdministrator, "mesh-administrator"),
            (Role::MeshReader, "mesh-reader"),
        ] {
            assert_eq!(serde_json::to_value(role).expect("a word"), text);
        }
    }
}
