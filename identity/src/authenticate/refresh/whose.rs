//! Who answers for a session, when there are too many: its subject first, then whoever vouches for that subject.
//!
//! An account vouches for itself and an issuer for all of its subjects, of which a stranger may make as many as they like; rules of a
//! node stand apart, because without a session they could not pull at all. Texts that strangers choose are hashed, so that what is kept
//! of a session in memory has one size.

use super::{Record, hash};
use crate::principal::Principal;

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// Whether it is a rule's of the mesh, and nobody's who logs in.
    pub of_a_rule: bool,
    /// Who vouches for the subject: as many as the topology declares.
    pub voucher: String,
    /// The hash of the subject's name.
    pub subject: [u8; 32],
}

impl Record {
    /// Whose session it is.
    #[must_use]
    pub fn whose(&self) -> Whose {
        let (voucher, subject) = match (&self.via, &self.principal) {
            (Some(via), _) => (
                format!("node:{}", via.node),
                format!("{}/{}", via.node, via.rule),
            ),
            (None, Principal::Workload { issuer, .. }) => {
                (format!("issuer:{issuer}"), self.principal.to_string())
            }
            (None, principal) => (principal.to_string(), principal.to_string()),
        };
        Whose {
            of_a_rule: self.via.is_some(),
            voucher,
            subject: hash(&subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_issuer_vouches_for_its_subjects_an_account_for_itself_and_a_node_for_its_rules() {
        let whose = |principal: Value, via: Option<&str>| {
            let mut record = json!({"id": uuid::Uuid::nil(), "principal": principal, "expires": 1, "audience": "a:1"});
            if let Some(rule) = via {
                record["via"] = json!({"rule": rule, "node": "edge", "made": 0, "key": "k"});
            }
            Record::parse(record.to_string().as_bytes())
                .unwrap()
                .whose()
        };
        let account = |name: &str| json!({"kind": "account", "name": name});
        let job = |sub: &str| json!({"kind": "workload", "issuer": "github", "claims": {"iss": "i", "sub": sub, "jti": "1"}});
        let identity = json!({"kind": "identity", "name": "promoter"});
        for (whose, voucher, of_a_rule) in [
            (whose(account("ci"), None), "account:ci", false),
            (whose(job("a"), None), "issuer:github", false),
            (whose(identity.clone(), Some("apps")), "node:edge", true),
        ] {
            assert_eq!(
                (whose.voucher.as_str(), whose.of_a_rule),
                (voucher, of_a_rule)
            );
        }
        assert_eq!(whose(job("a"), None), whose(job("a"), None));
        assert_ne!(whose(job("a"), None), whose(job("b"), None));
        assert_ne!(
            whose(identity.clone(), Some("apps")),
            whose(identity, Some("base"))
        );
    }
}
