//! What rule grants of other nodes are believed by: the mesh's issuer as the slice in force pushes it.
//!
//! Swapped whole with the slice. Grants, and what was given for them, are asked about on every request: a rule that was withdrawn
//! and a key that is gone end refresh and access tokens too, without waiting for anything to run out. Source:
//! `spec/identity.md` "The rule grant"; `reference/protocols.md` 6.1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{
    name::{MeshName, NodeName, RuleName},
    time::WallTime,
};

use crate::sign::Public;

/// What rule grants are believed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// This node's mesh.
    pub mesh: MeshName,
    /// The `iss` of every grant.
    pub issuer: String,
    /// The keys that sign them.
    pub keys: Public,
    /// Grants for these rules that were made before the time are worth nothing.
    pub withdrawn: BTreeMap<RuleName, WallTime>,
    /// Whether peers reach this node by plain http, so that grants for it are bound to no certificate.
    pub plain: bool,
}

/// The rule that a caller's grant is for: who is behind an identity, for logs, and what ends with the grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Via {
    /// The caller's rule.
    pub rule: RuleName,
    /// The caller's node.
    pub node: NodeName,
    /// When the grant was made, in seconds since 1970.
    pub made: i64,
    /// The key that signed it.
    pub key: String,
}

impl Trust {
    /// Whether grants like the one behind `via` are still believed.
    #[must_use]
    pub fn stands(&self, via: &Via) -> bool {
        let withdrawn = self.withdrawn.get(&via.rule);
        // Compared in whole seconds, as a grant has them; the time of a withdrawal is rounded up.
        let after = withdrawn.is_none_or(|since| via.made >= ceil(*since));
        after && self.keys.has(&via.key)
    }
}

fn ceil(time: WallTime) -> i64 {
    time.plus(std::time::Duration::from_millis(999)).seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_stands_until_its_rule_is_withdrawn_or_its_key_is_gone() {
        let keys = Public::new([("k".to_owned(), vec![4; 65])].into());
        let withdrawn = [("r".parse().unwrap(), WallTime(100_000))].into();
        let trust = Trust {
            mesh: "contoso".parse().unwrap(),
            issuer: "https://control.example".to_owned(),
            keys,
            withdrawn,
            plain: false,
        };
        for (rule, made, key, expected) in [
            ("r", 99, "k", false),
            ("r", 100, "k", true),
            ("r", 101, "k", true),
            ("r", 101, "gone", false),
            ("other", 1, "k", true),
            ("other", 1, "gone", false),
        ] {
            let via = Via {
                rule: rule.parse().unwrap(),
                node: "edge".parse().unwrap(),
                made,
                key: key.to_owned(),
            };
            assert_eq!(trust.stands(&via), expected, "{rule} {made} {key}");
        }
        let odd = WallTime(100_001);
        assert_eq!(ceil(odd), 101);
        assert_eq!(ceil(WallTime(100_000)), 100);
    }
}
