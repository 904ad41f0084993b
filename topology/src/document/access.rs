//! `access`: who has which role where.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Entries, Selector, Text};
use crate::{
    place::At,
    read::{
        Read, Reading,
        section::{choice, section},
    },
    yaml::{Value, Yaml},
};

section! {
    /// A role assignment.
    Access = "an access entry" {
        /// The role.
        allow: Option<At<Role>> = "allow", required;
        /// Who has it.
        to: Option<At<Assignee>> = "to", required;
        /// On which nodes; left out for the mesh-wide roles.
        on: Option<Selector> = "on";
        /// Repositories: exact, or ending in `*`; default all.
        repositories: Option<Vec<At<String>>> = "repositories";
        /// With `identity-user`: the identities that may be put into rules.
        identities: Vec<At<String>> = "identities";
    }
}

choice! {
    /// The roles.
    Role {
        /// Pull, list tags, referrers.
        RepositoryReader = "repository-reader",
        /// What a reader may, and push.
        RepositoryWriter = "repository-writer",
        /// What a reader may, and delete.
        RepositoryDeleter = "repository-deleter",
        /// `_catalog`.
        CatalogLister = "catalog-lister",
        /// Cache rules of the control plane.
        CacheRuleAdministrator = "cache-rule-administrator",
        /// Credential sets of the control plane.
        CredentialSetAdministrator = "credential-set-administrator",
        /// Everything of the control plane.
        MeshAdministrator = "mesh-administrator",
        /// Reads everything of the control plane.
        MeshReader = "mesh-reader",
        /// May put the named identities into rules.
        IdentityUser = "identity-user",
        /// May enrol nodes.
        NodeEnroller = "node-enroller",
    }
}

/// Whom a role is given to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Assignee {
    /// `anonymous`, `authenticated`, `account:NAME`, `identity:NAME` or `node:NAME`.
    Name(At<String>),
    /// Whoever shows a token of an issuer with these claims.
    Claims(Claims),
}

section! {
    /// Claims of an issuer's tokens.
    Claims = "`to`" {
        /// The declared issuer.
        issuer: Text = "issuer", required;
        /// Claim name, or JSON pointer when it begins with `/`, to a glob in which `*` matches anything; all must match. `None`
        /// when nothing that was written there could be read.
        claims: Option<Entries<At<String>>> = "claims", required;
    }
}

impl Assignee {
    /// The issuer it names.
    pub(crate) fn issuer(&self) -> Option<&str> {
        match self {
            Self::Claims(Claims { issuer, .. }) => issuer.as_ref().map(|name| name.as_str()),
            Self::Name(_) => None,
        }
    }
}

impl Read for Assignee {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Read::read(node, reading).map(Self::Claims),
            Value::Scalar { .. } => Read::read(node, reading).map(Self::Name),
            Value::List(_) => {
                reading.wrong(node, "an assignee, such as account:ci");
                None
            }
        }
    }
}
