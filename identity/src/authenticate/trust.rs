//! What rule grants of other nodes are believed by: the mesh's issuer as the slice in force pushes it.
//!
//! Swapped whole with the slice. Grants, and what was given for them, are asked about on every request: a rule that was withdrawn
//! and a key that is gone end refresh and access tokens too, without waiting for anything to run out. What surprises: a withdrawal is
//! in force some seconds after it was decided. It may be here before the node whose rule it is has heard that its rule calls as somebody
//! else; what that node shows meanwhile is still good, so that no pull of it is lost. Roles, and revoked certificates, wait for nothing.
//! Source: `spec/identity.md` "Calling an upstream", "The rule grant"; `reference/protocols.md` 6.1.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use wire::{
    name::{MeshName, NodeName, RuleAt, RuleName},
    time::WallTime,
};

use crate::sign::Public;

/// How far ahead a withdrawal is dated when it is decided: longer than a generation takes to be in force everywhere. Grants that are minted
/// meanwhile by what was in force before fall with the earlier ones.
pub const AHEAD: Duration = Duration::from_secs(10);
/// How long after it was decided it is in force.
const GRACE: Duration = Duration::from_secs(3);

/// What rule grants are believed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// This node's mesh.
    pub mesh: MeshName,
    /// The `iss` of every grant.
    pub issuer: String,
    /// The keys that sign them.
    pub keys: Public,
    /// Grants for these rules, each on one node, that were made before the time are worth nothing.
    pub withdrawn: BTreeMap<RuleAt, WallTime>,
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
    /// Whether grants like the one behind `via` are believed at `now`.
    #[must_use]
    pub fn stands(&self, via: &Via, now: WallTime) -> bool {
        let in_force = self
            .withdrawn_since(via)
            .filter(|since| since.minus(AHEAD - GRACE) <= now);
        // Compared in whole seconds, as a grant has them; the time of a withdrawal is rounded up.
        let after = in_force.is_none_or(|since| via.made >= ceil(since));
        after && self.keys.has(&via.key)
    }

    fn withdrawn_since(&self, via: &Via) -> Option<WallTime> {
        // Asked on every request, and mostly there is nothing.
        if self.withdrawn.is_empty() {
            return None;
        }
        let rule = RuleAt::new(&via.node, &via.rule);
        self.withdrawn.get(&rule).copied()
    }
}

fn ceil(time: WallTime) -> i64 {
    time.plus(Duration::from_millis(999)).seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_stands_until_its_rule_is_withdrawn_or_its_key_is_gone() {
        let keys = Public::new([("k".to_owned(), vec![4; 65])].into());
        let withdrawn = [("edge/r".parse().unwrap(), WallTime(100_000))].into();
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
            let now = WallTime(100_000);
            assert_eq!(trust.stands(&via, now), expected, "{rule} {made} {key}");
        }
        let odd = WallTime(100_001);
        assert_eq!(ceil(odd), 101);
        assert_eq!(ceil(WallTime(100_000)), 100);
    }

    /// The upstream may have a slice before the node whose rule it changes: that one's pulls are not lost meanwhile.
    #[test]
    fn a_withdrawal_is_in_force_some_seconds_after_it_was_decided_and_a_lost_key_at_once() {
        let keys = Public::new([("k".to_owned(), vec![4; 65])].into());
        let decided = WallTime(1_000_000);
        let mut trust = Trust {
            mesh: "contoso".parse().unwrap(),
            issuer: "https://control.example".to_owned(),
            keys,
            withdrawn: [("edge/r".parse().unwrap(), decided.plus(AHEAD))].into(),
            plain: false,
        };
        let via = |made: WallTime| Via {
            rule: "r".parse().unwrap(),
            node: "edge".parse().unwrap(),
            made: made.seconds(),
            key: "k".to_owned(),
        };
        let stands = |trust: &Trust, made, after| trust.stands(&via(made), decided.plus(after));
        let second = Duration::from_secs(1);
        assert!(stands(&trust, WallTime(0), Duration::ZERO));
        assert!(stands(&trust, WallTime(0), second * 2));
        assert!(!stands(&trust, WallTime(0), second * 3));
        assert!(!stands(&trust, decided.plus(second * 9), second * 9));
        assert!(stands(&trust, decided.plus(AHEAD), second * 3), "made anew");
        let elsewhere = Via {
            node: "other".parse().unwrap(),
            ..via(WallTime(0))
        };
        let later = decided.plus(second * 60);
        assert!(trust.stands(&elsewhere, later), "the same rule elsewhere");
        trust.keys = Public::default();
        assert!(!stands(&trust, WallTime(0), Duration::ZERO));
    }
}
