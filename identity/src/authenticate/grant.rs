//! A rule grant's claims: what the control plane signs and the upstream node reads.
//!
//! One struct for both sides, so that neither can say what the other does not look at. A grant speaks for one rule of one node
//! towards one upstream node; `cnf` binds it to that node's SPIFFE id and is left out exactly when the upstream is reached by its
//! peers over plain http. Minting is `control`'s, verifying is `check.rs`. Members that are not known here are skipped, for newer control planes.
//! Source: `spec/identity.md` "The rule grant"; `reference/protocols.md` 6.1.

mod check;

use std::time::Duration;

pub use check::{Granted, Wrong, check};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::{
    generation::Generation,
    name::{IdentityName, MeshName, NodeName, RuleName},
    pattern::Pattern,
    scope::Action,
};

/// The `typ` of a grant's header: nothing else of ours has it.
pub const TYP: &str = "regmesh-grant+jwt";
/// How long a grant lives.
pub const LIFE: Duration = Duration::from_secs(24 * 3_600);
/// The longest that a grant may live; what withdraws grants and verifies old ones is kept as long.
pub const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What a grant says. Times are whole seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer's URL, as slices name it.
    pub iss: String,
    /// The upstream node's login server; a list is refused.
    pub aud: String,
    /// `mesh:<mesh>:identity:<name>`: see [`subject`].
    pub sub: String,
    /// When it was made.
    pub iat: i64,
    /// Not valid before.
    pub nbf: i64,
    /// Not valid from then on.
    pub exp: i64,
    /// What audits call it; it may be shown more than once.
    pub jti: Uuid,
    /// What it is for.
    pub regmesh: About,
    /// Whose connection may show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

/// What a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The node that may use it.
    pub node: NodeName,
    /// The rule that may.
    pub rule: RuleName,
    /// Which repositories of the upstream: the rule's source.
    pub repositories: Vec<Pattern>,
    /// What may be done there.
    pub actions: Vec<Action>,
    /// The generation of the topology that it was made by.
    pub generation: Generation,
}

/// Whose connection may show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The SPIFFE id that the connection's certificate must name.
    pub spiffe: String,
}

/// The `sub` of tokens of an identity: of grants, and of federation tokens.
#[must_use]
pub fn subject(mesh: &MeshName, identity: &IdentityName) -> String {
    format!("mesh:{mesh}:identity:{identity}")
}

impl Claims {
    /// The identity that it speaks for; `None` when `sub` is none of `mesh`'s.
    #[must_use]
    pub fn identity(&self, mesh: &MeshName) -> Option<IdentityName> {
        let rest = self.sub.strip_prefix("mesh:")?;
        let rest = rest.strip_prefix(mesh.as_str())?;
        rest.strip_prefix(":identity:")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_reads_as_it_is_written_and_names_its_identity_in_its_own_mesh_alone() {
        let text = r#"{"iss":"https://control.example","aud":"dev.example","sub":"mesh:acme:identity:prod-reader",
            "iat":1,"nbf":1,"exp":86401,"jti":"6f1c1f8e-3b53-4a8f-9a55-1f3f2b0f6a11",
            "regmesh":{"node":"prod","rule":"promote","repositories":["team-a/*"],"actions":["pull"],"generation":7,"later":1},
            "cnf":{"spiffe":"spiffe://acme/node/prod"}}"#;
        let claims: Claims = serde_json::from_str(text).unwrap();
        let again: Claims = serde_json::from_str(&serde_json::to_string(&claims).unwrap()).unwrap();
        assert_eq!(again, claims);

        let (acme, name): (MeshName, IdentityName) =
            ("acme".parse().unwrap(), "prod-reader".parse().unwrap());
        assert_eq!(claims.identity(&acme), Some(name.clone()));
        assert_eq!(claims.sub, subject(&acme, &name));
        assert_eq!(claims.identity(&"acm".parse().unwrap()), None);
        assert_eq!(claims.identity(&"other".parse().unwrap()), None);

        let listed = text.replace(r#""aud":"dev.example""#, r#""aud":["dev.example"]"#);
        assert!(serde_json::from_str::<Claims>(&listed).is_err());
    }
}
