//! What rule grants of other nodes are believed by: the mesh's issuer as the slice in force pushes it.
//!
//! Swapped whole with the slice. Grants, and what was given for them, are asked about on every request: a rule that was withdrawn
//! and a key that is gone end refresh and access tokens too, without waiting for anything to run out. What surprises: a withdrawal is
//! in force some seconds after it was decided. It may be here before the node whose rule it is has heard that its rule calls as somebody
//! else; what that node shows meanwhile is still good, so that no pull of it is lost. What a rule left behind when it was given another
//! identity that made nothing wrong stays good for as long as an access token lives. Roles, and revoked certificates, wait for nothing.
//! Source: `spec/identity.md` "Calling an upstream", "The rule grant"; `reference/protocols.md` 6.1.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use wire::{
    generation::Generation,
    name::{MeshName, NodeName, RuleAt, RuleName},
    time::WallTime,
    withdrawal::{Left, Withdrawal},
};

use crate::sign::Public;

/// How long after it was decided a withdrawal is in force.
const GRACE: Duration = Duration::from_secs(3);
/// The same of what a rule left behind: the life of a node's access token.
const LEFT: Duration = Duration::from_secs(5 * 60);

/// What rule grants are believed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// This node's mesh.
    pub mesh: MeshName,
    /// The `iss` of every grant.
    pub issuer: String,
    /// What it was before, as long as grants of that time live.
    pub former: BTreeSet<String>,
    /// The keys that sign them.
    pub keys: Public,
    /// For which rules, each on one node, earlier grants are worth nothing.
    pub withdrawn: BTreeMap<RuleAt, Withdrawal>,
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
    /// The generation that the grant was made by. What an earlier release remembered has none, and is older than every withdrawal.
    #[serde(default)]
    pub generation: Generation,
    /// The key that signed it.
    pub key: String,
}

impl Trust {
    /// Whether grants like the one behind `via` are believed at `now`.
    #[must_use]
    pub fn stands(&self, via: &Via, now: WallTime) -> bool {
        let withdrawn = self.withdrawal(via).is_some_and(|by| {
            let ended =
                |before, at: WallTime, grace| via.generation < before && at.plus(grace) <= now;
            let left = by.left;
            ended(by.before, by.at, GRACE)
                || left.is_some_and(|left| ended(left.before, left.at, LEFT))
        });
        !withdrawn && self.keys.has(&via.key)
    }

    /// Whether grants name this issuer, or did a while ago.
    #[must_use]
    pub fn is_by(&self, issuer: &str) -> bool {
        self.issuer == issuer || self.former.contains(issuer)
    }

    /// The same, with each withdrawal no later than it was heard of: now, or with `previous`. A control plane whose clock is ahead
    /// delays none by that.
    #[must_use]
    pub fn heard(mut self, previous: Option<&Self>, now: WallTime) -> Self {
        for (rule, withdrawal) in &mut self.withdrawn {
            let known = previous.and_then(|previous| previous.withdrawn.get(rule));
            let same = known.filter(|known| known.before == withdrawal.before);
            let heard = same.map_or(now, |known| known.at);
            withdrawal.at = withdrawal.at.min(heard);
            if let Some(left) = &mut withdrawal.left {
                let known = known.and_then(|known| known.left);
                let same = known.filter(|known| known.before == left.before);
                left.at = left.at.min(same.map_or(now, |known: Left| known.at));
            }
        }
        self
    }

    fn withdrawal(&self, via: &Via) -> Option<Withdrawal> {
        // Asked on every request, and mostly there is nothing.
        if self.withdrawn.is_empty() {
            return None;
        }
        let rule = RuleAt::new(&via.node, &via.rule);
        self.withdrawn.get(&rule).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DECIDED: WallTime = WallTime(1_000_000);

    fn trust() -> Trust {
        let keys = Public::new([("k".to_owned(), vec![4; 65])].into());
        let withdrawal = Withdrawal {
            before: Generation(7),
            at: DECIDED,
            left: None,
        };
        Trust {
            mesh: "contoso".parse().unwrap(),
            issuer: "https://control.example".to_owned(),
            former: ["http://10.0.0.1:7080".to_owned()].into(),
            keys,
            withdrawn: [("edge/r".parse().unwrap(), withdrawal)].into(),
            plain: false,
        }
    }

    fn via(rule: &str, generation: u64, key: &str) -> Via {
        Via {
            rule: rule.parse().unwrap(),
            node: "edge".parse().unwrap(),
            generation: Generation(generation),
            key: key.to_owned(),
        }
    }

    #[test]
    fn a_grant_stands_until_its_rule_is_withdrawn_or_its_key_is_gone() {
        let now = DECIDED.plus(SECOND * 60);
        for (rule, generation, key, expected) in [
            ("r", 6, "k", false),
            ("r", 7, "k", true),
            ("r", 8, "k", true),
            ("r", 8, "gone", false),
            ("other", 1, "k", true),
            ("other", 1, "gone", false),
        ] {
            let via = via(rule, generation, key);
            assert_eq!(
                trust().stands(&via, now),
                expected,
                "{rule} {generation} {key}"
            );
        }
        let elsewhere = Via {
            node: "other".parse().unwrap(),
            ..via("r", 1, "k")
        };
        assert!(trust().stands(&elsewhere, now), "the same rule elsewhere");
    }

    /// The upstream may have a slice before the node whose rule it changes: that one's pulls are not lost meanwhile.
    #[test]
    fn a_withdrawal_is_in_force_some_seconds_after_it_was_decided_and_a_lost_key_at_once() {
        let mut trust = trust();
        let old = via("r", 6, "k");
        assert!(trust.stands(&old, DECIDED));
        assert!(trust.stands(&old, DECIDED.plus(SECOND * 2)));
        assert!(!trust.stands(&old, DECIDED.plus(SECOND * 3)));
        trust.keys = Public::default();
        assert!(!trust.stands(&old, DECIDED));
    }

    /// A pull in flight goes on with what its rule had; who kept a copy has it for minutes, and not for a day.
    #[test]
    fn what_a_rule_left_behind_counts_for_the_life_of_an_access_token() {
        let left = Left {
            before: Generation(9),
            at: DECIDED,
        };
        let mut trust = trust();
        let rule = "edge/r".parse().unwrap();
        let withdrawal = trust.withdrawn[&rule].and_left(left);
        trust.withdrawn = [(rule, withdrawal)].into();
        for (generation, seconds, expected) in [
            (8, 0, true),
            (8, 299, true),
            (8, 300, false),
            (9, 300, true),
            // What was wrong before stays wrong.
            (6, 3, false),
        ] {
            let stands = trust.stands(&via("r", generation, "k"), DECIDED.plus(SECOND * seconds));
            assert_eq!(stands, expected, "{generation} after {seconds} s");
        }
        // Whose clock is ahead keeps none alive, and hearing of it again does not begin anew.
        let now = DECIDED.minus(SECOND * 86_400);
        let first = trust.clone().heard(None, now);
        let again = trust.heard(Some(&first), now.plus(SECOND * 299));
        assert!(again.stands(&via("r", 8, "k"), now.plus(SECOND * 299)));
        assert!(!again.stands(&via("r", 8, "k"), now.plus(SECOND * 300)));
    }

    #[test]
    fn a_control_plane_whose_clock_is_ahead_delays_no_withdrawal_and_one_behind_spares_no_grant() {
        let old = via("r", 6, "k");
        for hours in [1, 1_000] {
            let now = DECIDED.minus(SECOND * 3_600 * hours);
            let first = trust().heard(None, now);
            assert!(first.stands(&old, now) && !first.stands(&old, now.plus(SECOND * 3)));
            // Heard again with each slice, it does not begin anew.
            let again = trust().heard(Some(&first), now.plus(SECOND * 2));
            assert!(!again.stands(&old, now.plus(SECOND * 3)));
        }
        let behind = trust().heard(None, DECIDED.plus(SECOND * 3_600));
        assert!(!behind.stands(&old, DECIDED.plus(SECOND * 3_600)));
    }

    #[test]
    fn the_issuer_may_have_been_called_otherwise_a_while_ago() {
        for (issuer, expected) in [
            ("https://control.example", true),
            ("http://10.0.0.1:7080", true),
            ("https://other.example", false),
        ] {
            assert_eq!(trust().is_by(issuer), expected, "{issuer}");
        }
    }
}
