//! Who calls a node, once it has been found out.
//!
//! Roles are decided on a `Principal` and nothing else; it also travels inside the node's own access tokens, so its JSON form
//! is read by later releases: add variants, do not rename them. Finding out is `authenticate`'s, deciding is `decide`'s.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::name::{AccountName, IdentityName, IssuerName, NodeName};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Principal {
    /// Somebody who has not shown who they are.
    Anonymous,
    /// A local account.
    Account {
        /// Its name.
        name: AccountName,
    },
    /// An identity of the mesh: a rule of another node.
    Identity {
        /// Its name.
        name: IdentityName,
    },
    /// A node of the mesh, by its certificate.
    Node {
        /// Its name.
        name: NodeName,
    },
    /// Whoever a declared issuer says it is.
    Workload {
        /// The issuer's name in the topology.
        issuer: IssuerName,
        /// The token's verified claims; unique within the issuer by `sub`.
        claims: Arc<Map<String, Value>>,
    },
}

impl Principal {
    /// Whether it has shown who it is.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Anonymous)
    }

    /// The `sub` of its access tokens: empty for nobody, as other registries have it.
    #[must_use]
    pub fn subject(&self) -> String {
        if self.is_known() {
            self.to_string()
        } else {
            String::new()
        }
    }
}

/// As `access` writes it and logs show it: `anonymous`, `account:ci`, `issuer:github:repo:o/r:ref:refs/heads/main`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Account { name } => write!(f, "account:{name}"),
            Self::Identity { name } => write!(f, "identity:{name}"),
            Self::Node { name } => write!(f, "node:{name}"),
            Self::Workload { issuer, claims } => {
                let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("?");
                write!(f, "issuer:{issuer}:{}", wire::oci_error::clean(subject))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_principal_survives_a_token_and_has_one_line_for_logs() {
        let claims = serde_json::json!({"sub": "repo:o/r\nfake log line", "repository_id": "7"});
        let Value::Object(claims) = claims else {
            unreachable!()
        };
        let cases = [
            (Principal::Anonymous, "anonymous", ""),
            (
                Principal::Account {
                    name: "ci".parse().unwrap(),
                },
                "account:ci",
                "account:ci",
            ),
            (
                Principal::Identity {
                    name: "promoter".parse().unwrap(),
                },
                "identity:promoter",
                "identity:promoter",
            ),
            (
                Principal::Node {
                    name: "prod".parse().unwrap(),
                },
                "node:prod",
                "node:prod",
            ),
            (
                Principal::Workload {
                    issuer: "github".parse().unwrap(),
                    claims: Arc::new(claims),
                },
                "issuer:github:repo:o/r fake log line",
                "issuer:github:repo:o/r fake log line",
            ),
        ];
        for (principal, shown, subject) in cases {
            assert_eq!(principal.to_string(), shown);
            assert_eq!(principal.subject(), subject);
            let text = serde_json::to_string(&principal).unwrap();
            assert_eq!(serde_json::from_str::<Principal>(&text).unwrap(), principal);
        }
    }
}
