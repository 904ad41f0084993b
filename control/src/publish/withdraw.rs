//! Which grants a change makes wrong: pure, (old topology, new topology, now) -> for which rules on which nodes earlier grants count no
//! longer, by upstream.
//!
//! A grant stays right while its rule on its node speaks for the same identity towards the same repositories of the same upstream. What
//! falls is what an earlier generation minted, as each grant says it: a control plane goes on minting by the old topology while a new one
//! is checked and travels, and clocks differ. Times say only when an entry is in force, and when it concerns no grant any more.
//! Another node's grants for a rule of the same name stay right: that node may be cut off from us and have no other.

use std::{collections::BTreeMap, time::Duration};

use identity::authenticate::grant;
use topology::model::{
    Topology,
    identity::IdentityKind,
    node::Node,
    rule::{Authentication, Rule, UpstreamRef},
};
use wire::{
    generation::Generation,
    name::{IdentityName, NodeName, RuleAt, RuleName},
    pattern::Pattern,
    time::WallTime,
    withdrawal::{Left, Withdrawal},
};

/// By upstream node, and rule on its own node.
pub(super) type Withdrawn = BTreeMap<NodeName, BTreeMap<RuleAt, Withdrawal>>;

/// How long after its time an entry is about no grant any more. Clocks of control planes may differ by an hour.
pub(super) const KEEP: Duration = Duration::from_secs(3_600 + grant::LIFE.as_secs());

/// What a grant for one rule on one node says, beside times.
#[derive(Debug, PartialEq, Eq)]
struct Said<'a> {
    upstream: &'a NodeName,
    login_server: String,
    identity: &'a IdentityName,
    repositories: &'a Pattern,
    bound: bool,
}

/// Withdraws what `new` makes wrong of what was minted by `old`, and forgets what concerns no grant any more.
pub(super) fn change(
    withdrawn: &mut Withdrawn,
    old: Option<&Topology>,
    new: &Topology,
    by: Withdrawal,
) {
    forget(withdrawn, by.at);
    let Some(old) = old else { return };
    let after: BTreeMap<_, _> = said(new, |_| true).collect();
    for (of, before) in said(old, |_| true) {
        let now_said = after.get(&of);
        if now_said == Some(&before) {
            continue;
        }
        match now_said.is_some_and(|said| swapped(&before, said, new, of)) {
            true => leave(withdrawn, before.upstream, of, by),
            false => withdraw(withdrawn, before.upstream, of, by),
        }
    }
}

/// Whether nothing but the identity is another one, and the one there was may still be used there for the same. Its grants are left to
/// pulls in flight for some minutes then: what they may read is asked of its roles on every request, and who holds them may have others
/// any time, for another rule.
fn swapped(before: &Said<'_>, after: &Said<'_>, new: &Topology, (node, rule): Of<'_>) -> bool {
    let rest = |said: &Said<'_>| {
        let login_server = said.login_server.clone();
        (
            said.upstream.clone(),
            login_server,
            said.repositories.clone(),
            said.bound,
        )
    };
    let identity = new.identities.get(before.identity);
    let rule = new
        .node(node)
        .and_then(|node| node.rules.iter().find(|each| each.name == *rule));
    let usable = identity.zip(rule).is_some_and(|(identity, rule)| {
        identity.kind == IdentityKind::Managed
            && identity.on.contains(node)
            && identity.covers(&rule.source)
    });
    usable && rest(before) == rest(after)
}

/// Withdraws every grant for rules on `node`.
pub(super) fn node(
    withdrawn: &mut Withdrawn,
    topology: Option<&Topology>,
    node: &NodeName,
    by: Withdrawal,
) {
    forget(withdrawn, by.at);
    let Some(topology) = topology else { return };
    for (of, said) in said(topology, |own| own.name == *node) {
        withdraw(withdrawn, said.upstream, of, by);
    }
}

fn withdraw(withdrawn: &mut Withdrawn, upstream: &NodeName, (node, rule): Of<'_>, by: Withdrawal) {
    let rules = withdrawn.entry(upstream.clone()).or_default();
    rules.insert(RuleAt::new(node, rule), by);
}

/// What was withdrawn at once for the rule stays so.
fn leave(withdrawn: &mut Withdrawn, upstream: &NodeName, (node, rule): Of<'_>, by: Withdrawal) {
    let rules = withdrawn.entry(upstream.clone()).or_default();
    let known = rules.entry(RuleAt::new(node, rule)).or_insert(Withdrawal {
        before: Generation(0),
        ..by
    });
    *known = known.and_left(Left {
        before: by.before,
        at: by.at,
    });
}

fn forget(withdrawn: &mut Withdrawn, now: WallTime) {
    for rules in withdrawn.values_mut() {
        rules.retain(|_, by| by.decided().plus(KEEP) > now);
    }
    withdrawn.retain(|_, rules| !rules.is_empty());
}

type Of<'a> = (&'a NodeName, &'a RuleName);

/// What may be granted by a topology.
fn said<'a>(
    topology: &'a Topology,
    on: impl Fn(&Node) -> bool,
) -> impl Iterator<Item = (Of<'a>, Said<'a>)> {
    let nodes = topology.nodes.values().filter(move |node| on(node));
    nodes.flat_map(move |node| {
        let rules = node.rules.iter();
        rules.filter_map(move |rule| Some(((&node.name, &rule.name), of(topology, node, rule)?)))
    })
}

fn of<'a>(topology: &'a Topology, node: &Node, rule: &'a Rule) -> Option<Said<'a>> {
    let (UpstreamRef::Node(upstream), Authentication::Identity(name)) =
        (&rule.source.upstream, &rule.authentication)
    else {
        return None;
    };
    let identity = topology.identities.get(name)?;
    let given = identity.kind == IdentityKind::Managed
        && identity.on.contains(&node.name)
        && identity.covers(&rule.source)
        && rule.enabled;
    let reached = topology.node(upstream).filter(|_| given)?;
    Some(Said {
        upstream,
        login_server: reached.endpoint.login_server(),
        identity: name,
        repositories: &rule.source.repositories,
        bound: reached.for_peers().secure,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_001);

    fn by(at: WallTime) -> Withdrawal {
        Withdrawal {
            before: Generation(7),
            at,
            left: None,
        }
    }

    /// A mesh of a hub, a spare hub and two leaves, with one rule on both leaves.
    fn mesh(changes: &[(&str, &str)]) -> Topology {
        let mut text = r#"
version: 1
mesh: m
nodes:
  hub: {endpoint: "https://hub.example"}
  spare: {endpoint: "https://spare.example"}
  one: {endpoint: "https://one.example"}
  two: {endpoint: "https://two.example"}
identities:
  reader: {kind: managed, on: [one, two]}
  other: {kind: managed, on: [one, two]}
rules:
  promote: {on: [one, two], source: node://hub/team/api, target: api, identity: reader}
  quay: {on: hub, source: quay.io/*, target: quay/*}
access:
  - {allow: repository-reader, to: "identity:reader", on: [hub, spare]}
  - {allow: repository-reader, to: "identity:other", on: [hub, spare]}
"#
        .to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let loaded = topology::load(&[("t".to_owned(), text)]);
        loaded
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .topology
    }

    #[test]
    fn a_change_withdraws_the_grants_that_it_makes_wrong_and_no_others() {
        let rule = "{on: [one, two], source: node://hub/team/api, target: api, identity: reader}";
        let with = |from: &str, to: &str| rule.replace(from, to);
        let one = |from: &str, to: &str| vec![(from.to_owned(), to.to_owned())];
        let rule_with = |from, to| one(rule, &with(from, to));
        // (what, changes, of which nodes grants for `promote` at hub are withdrawn)
        let (none, both): (&[&str], &[&str]) = (&[], &["one", "two"]);
        let cases = [
            ("nothing", vec![], none),
            (
                "a label",
                one(
                    "\"https://one.example\"",
                    "\"https://one.example\", labels: {a: b}",
                ),
                none,
            ),
            ("its target", rule_with("target: api", "target: api2"), none),
            ("another rule", one("quay.io/*", "ghcr.io/*"), none),
            (
                "its identity attached to more",
                one(
                    "reader: {kind: managed, on: [",
                    "reader: {kind: managed, on: [spare, ",
                ),
                none,
            ),
            (
                "who else reads at the hub",
                one(
                    "to: \"identity:other\", on: [hub, spare]",
                    "to: \"identity:other\", on: [spare]",
                ),
                none,
            ),
            (
                "no rule of a node any more",
                one(rule, "{on: [one, two], source: quay.io/api, target: api}"),
                both,
            ),
            (
                "one of its nodes",
                rule_with("on: [one, two]", "on: two"),
                &["one"],
            ),
            ("its source", rule_with("team/api", "team/app"), both),
            (
                "its upstream",
                rule_with("node://hub", "node://spare"),
                both,
            ),
            (
                "its identity, and the one there was is attached no more",
                [
                    rule_with("identity: reader", "identity: other"),
                    one(
                        "reader: {kind: managed, on: [one, two]}",
                        "reader: {kind: managed, on: [spare]}",
                    ),
                ]
                .concat(),
                both,
            ),
            (
                "its identity's kind",
                one(
                    "reader: {kind: managed,",
                    "reader: {kind: federated, audience: x,",
                ),
                both,
            ),
            (
                "it is off",
                rule_with("identity: reader", "identity: reader, enabled: false"),
                both,
            ),
            (
                "where the hub is",
                one("https://hub.example", "https://new.example"),
                both,
            ),
        ];
        let old = mesh(&[]);
        for (what, changes, expected) in cases {
            let changes: Vec<(&str, &str)> = (changes.iter())
                .map(|(from, to)| (from.as_str(), to.as_str()))
                .collect();
            let mut withdrawn = Withdrawn::new();
            change(&mut withdrawn, Some(&old), &mesh(&changes), by(NOW));
            let rules = expected.iter().map(|node| {
                let name: RuleAt = format!("{node}/promote").parse().unwrap();
                (name, by(NOW))
            });
            let all = Withdrawn::from([("hub".parse().unwrap(), rules.collect())]);
            let wanted = match expected.is_empty() {
                true => Withdrawn::new(),
                false => all,
            };
            assert_eq!(withdrawn, wanted, "{what}");
        }
    }

    #[test]
    fn another_identity_leaves_the_grants_of_the_one_there_was_for_a_while_and_brings_none_back() {
        let (old, new) = (
            mesh(&[]),
            mesh(&[("api, identity: reader", "api, identity: other")]),
        );
        let at = |generation, minutes: u64| Withdrawal {
            before: Generation(generation),
            at: NOW.plus(Duration::from_secs(60 * minutes)),
            left: None,
        };
        let left = |by: Withdrawal| Left {
            before: by.before,
            at: by.at,
        };
        let of = |withdrawn: &Withdrawn| {
            let hub = &withdrawn[&"hub".parse().unwrap()];
            assert_eq!(hub.len(), 2, "of both nodes");
            hub[&"one/promote".parse().unwrap()]
        };
        let mut withdrawn = Withdrawn::new();
        change(&mut withdrawn, Some(&old), &new, at(7, 0));
        let first = of(&withdrawn);
        assert_eq!(first, at(0, 0).and_left(left(at(7, 0))));
        // And back again: what the other one was granted is left behind, too.
        change(&mut withdrawn, Some(&new), &old, at(8, 1));
        assert_eq!(of(&withdrawn), at(0, 0).and_left(left(at(8, 1))));
        // What was wrong before the rule called as somebody else is so afterwards.
        let moved = mesh(&[("team/api", "team/app")]);
        let mut withdrawn = Withdrawn::new();
        change(&mut withdrawn, Some(&moved), &old, at(7, 0));
        change(&mut withdrawn, Some(&old), &new, at(8, 1));
        assert_eq!(of(&withdrawn), at(7, 0).and_left(left(at(8, 1))));
    }

    #[test]
    fn a_revoked_node_loses_its_grants_and_what_concerns_none_is_forgotten() {
        let topology = mesh(&[]);
        let mut withdrawn = Withdrawn::new();
        node(
            &mut withdrawn,
            Some(&topology),
            &"hub".parse().unwrap(),
            by(NOW),
        );
        assert_eq!(withdrawn, Withdrawn::new(), "it asks nobody");
        node(
            &mut withdrawn,
            Some(&topology),
            &"two".parse().unwrap(),
            by(NOW),
        );
        assert_eq!(withdrawn.len(), 1);
        change(
            &mut withdrawn,
            Some(&topology),
            &topology,
            by(NOW.plus(grant::LIFE)),
        );
        assert_eq!(withdrawn.len(), 1, "a grant made just before still lives");
        change(
            &mut withdrawn,
            Some(&topology),
            &topology,
            by(NOW.plus(KEEP)),
        );
        assert_eq!(withdrawn, Withdrawn::new());
        change(&mut withdrawn, None, &topology, by(NOW));
        assert_eq!(
            withdrawn,
            Withdrawn::new(),
            "nothing was minted before the first"
        );
    }

    #[test]
    fn ten_thousand_rules_are_compared_in_one_pass() {
        let build = |source: &str| {
            let mut topology = mesh(&[("team/api", source)]);
            let one: NodeName = "one".parse().unwrap();
            let one = topology.nodes.get_mut(&one).unwrap();
            let rule = Rule::clone(&one.rules[0]);
            let names = (0..10_000).map(|n| format!("r{n}").parse().unwrap());
            let rules = names.map(|name| Rule {
                name,
                ..rule.clone()
            });
            one.rules = rules.map(Arc::new).collect();
            topology
        };
        let (old, new) = (build("x/api"), build("y/api"));
        let mut withdrawn = Withdrawn::new();
        change(&mut withdrawn, Some(&old), &new, by(NOW));
        assert_eq!(withdrawn.values().map(BTreeMap::len).sum::<usize>(), 10_001);
    }
}
