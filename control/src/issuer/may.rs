//! May this node have this token? Pure: (topology, node, what is wanted) -> what it is to say, or why not.
//!
//! Most of it was checked when the topology was applied; it is checked again, because this is where a right leaves the control plane. A
//! node learns of a refusal only what its own slice already says.

use identity::mint::{Audience, Wanted};
use topology::model::{
    Identity, Node, Topology,
    identity::{Federation, IdentityKind},
    rule::{Authentication, Rule, UpstreamRef},
};
use wire::{
    name::{IdentityName, NodeName, RuleName},
    pattern::Pattern,
};

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum May<'a> {
    /// A rule grant.
    Grant {
        /// The upstream node.
        upstream: &'a NodeName,
        /// Its login server.
        login_server: String,
        /// The rule's repositories there.
        repositories: &'a Pattern,
        /// Whether it is bound to the node's certificate: unless peers reach the upstream over plain http.
        bound: bool,
    },
    /// A federation token.
    Federation {
        /// For whom.
        audience: String,
    },
}

/// Why a node may not have a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The topology has no such node.
    #[error("the node '{0}' is not in the topology")]
    Node(NodeName),
    /// There is no such rule there.
    #[error("the rule '{0}' is not on this node")]
    Rule(RuleName),
    /// It is not in force.
    #[error("the rule '{0}' is not enabled")]
    Disabled(RuleName),
    /// It calls as somebody else, or as nobody.
    #[error("the rule '{0}' does not authenticate as '{1}'")]
    OtherIdentity(RuleName, IdentityName),
    /// The identity is not attached to the node.
    #[error("the identity '{0}' does not exist or is not associated with this node")]
    NotAttached(IdentityName),
    /// The identity gives no tokens of that kind.
    #[error("the identity '{0}' gives no {1}")]
    OtherKind(IdentityName, &'static str),
    /// It may not be presented for this source.
    #[error("the identity '{0}' may not be presented for the source of the rule '{1}'")]
    Source(IdentityName, RuleName),
    /// The rule asks another upstream.
    #[error("the rule '{0}' does not ask '{1}'")]
    OtherUpstream(RuleName, String),
    /// The identity is for another audience.
    #[error("the identity '{0}' is not for the audience '{1}'")]
    OtherAudience(IdentityName, String),
}

/// Decides.
///
/// # Errors
/// Why not.
pub fn may<'a>(
    topology: &'a Topology,
    node: &NodeName,
    wanted: &Wanted,
) -> Result<May<'a>, Refused> {
    let own = topology
        .node(node)
        .ok_or_else(|| Refused::Node(node.clone()))?;
    let rule = rule(own, wanted)?;
    let identity = identity(topology, own, rule, wanted)?;
    let name = &wanted.identity;
    match (&wanted.audience, &identity.kind) {
        (Audience::Upstream(named), IdentityKind::Managed) => grant(topology, rule, named),
        (Audience::Foreign(named), IdentityKind::Federated(federation)) => {
            let host = topology.login_server(&rule.source.upstream);
            federated(name, federation, &host.unwrap_or_default(), named)
        }
        (Audience::Upstream(_), _) => Err(Refused::OtherKind(name.clone(), "rule grants")),
        (Audience::Foreign(_), _) => Err(Refused::OtherKind(name.clone(), FEDERATION)),
    }
}

const FEDERATION: &str = "federation tokens";

fn rule<'a>(node: &'a Node, wanted: &Wanted) -> Result<&'a Rule, Refused> {
    let rule = node.rules.iter().find(|rule| rule.name == wanted.rule);
    let rule = rule.ok_or_else(|| Refused::Rule(wanted.rule.clone()))?;
    if !rule.enabled {
        return Err(Refused::Disabled(wanted.rule.clone()));
    }
    Ok(rule)
}

fn identity<'a>(
    topology: &'a Topology,
    node: &Node,
    rule: &Rule,
    wanted: &Wanted,
) -> Result<&'a Identity, Refused> {
    let name = &wanted.identity;
    if rule.authentication != Authentication::Identity(name.clone()) {
        return Err(Refused::OtherIdentity(rule.name.clone(), name.clone()));
    }
    let identity = topology.identities.get(name);
    let attached = identity.filter(|identity| identity.on.contains(&node.name));
    let identity = attached.ok_or_else(|| Refused::NotAttached(name.clone()))?;
    if !identity.covers(&rule.source) {
        return Err(Refused::Source(name.clone(), rule.name.clone()));
    }
    Ok(identity)
}

fn grant<'a>(topology: &'a Topology, rule: &'a Rule, named: &str) -> Result<May<'a>, Refused> {
    let upstream = match &rule.source.upstream {
        UpstreamRef::Node(upstream) => topology.node(upstream),
        UpstreamRef::Host(_) => None,
    };
    let upstream = upstream.filter(|node| node.endpoint.login_server() == named);
    let upstream =
        upstream.ok_or_else(|| Refused::OtherUpstream(rule.name.clone(), named.to_owned()))?;
    Ok(May::Grant {
        upstream: &upstream.name,
        login_server: upstream.endpoint.login_server(),
        repositories: &rule.source.repositories,
        bound: upstream.for_peers().secure,
    })
}

fn federated<'a>(
    name: &IdentityName,
    federation: &Federation,
    host: &str,
    named: &str,
) -> Result<May<'a>, Refused> {
    // Its assertion is a token of the node's own Azure identity.
    if federation.assertion.is_some() {
        return Err(Refused::OtherKind(name.clone(), FEDERATION));
    }
    let audience = federation.audience_at(host);
    if audience != named {
        return Err(Refused::OtherAudience(name.clone(), named.to_owned()));
    }
    Ok(May::Federation {
        audience: audience.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use topology::model::identity::EXCHANGE_AUDIENCE;

    use super::*;

    const MESH: &str = r#"
version: 1
mesh: m
nodes:
  dev: {endpoint: "https://dev.example:8443", peerEndpoint: "https://dev.internal:9443"}
  prod: {endpoint: "https://prod.example", parent: dev}
  plain: {endpoint: "http://127.0.0.1:5000"}
  other: {endpoint: "https://other.example"}
identities:
  reader: {kind: managed, on: [prod, other]}
  elsewhere: {kind: managed, on: other}
  machine: {kind: azure, on: prod, clientId: 00000000-0000-0000-0000-000000000001}
  sister: {kind: federated, on: prod, audience: hub.sister.example}
  cousin: {kind: federated, on: prod}
  entra: {kind: federated, on: prod, tokenUrl: "https://login.example/t", clientId: c}
  asserted: {kind: federated, on: prod, tokenUrl: "https://login.example/t", clientId: c, assertion: machine}
credentials:
  hub: {loginServer: docker.io, username: {env: U}, password: {env: P}}
rules:
  promote: {on: prod, source: "parent://team/*", target: team/*, identity: reader}
  loop: {on: prod, source: node://plain/api, target: api, identity: reader}
  off: {on: prod, source: node://dev/off, target: off, identity: reader, enabled: false}
  library: {on: prod, source: docker.io/library/*, target: library/*, credentials: hub}
  open: {on: prod, source: quay.io/*, target: quay/*}
  there: {on: other, source: node://dev/team/api, target: there, identity: reader}
  federal: {on: prod, source: hub.sister.example/api, target: sister/api, identity: sister}
  direct: {on: prod, source: "hub.cousin.example:8443/api", target: cousin/api, identity: cousin}
  azure: {on: prod, source: a.azurecr.io/x, target: a/x, identity: machine}
  tenant: {on: prod, source: b.azurecr.io/x, target: b/x, identity: entra}
  chained: {on: prod, source: c.azurecr.io/x, target: c/x, identity: asserted}
access:
  - {allow: repository-reader, to: "identity:reader", on: [dev, plain]}
"#;

    fn mesh() -> Topology {
        let loaded = topology::load(&[("t".to_owned(), MESH.to_owned())]);
        loaded
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .topology
    }

    fn wanted(rule: &str, identity: &str, audience: Audience) -> Wanted {
        Wanted {
            rule: rule.parse().unwrap(),
            identity: identity.parse().unwrap(),
            audience,
        }
    }

    fn asked(
        topology: &Topology,
        node: &str,
        rule: &str,
        identity: &str,
        audience: Audience,
    ) -> String {
        match may(
            topology,
            &node.parse().unwrap(),
            &wanted(rule, identity, audience),
        ) {
            Ok(May::Grant {
                upstream,
                login_server,
                repositories,
                bound,
            }) => {
                format!("{upstream} {login_server} {repositories} {bound}")
            }
            Ok(May::Federation { audience }) => audience,
            Err(refused) => refused.to_string(),
        }
    }

    #[test]
    fn a_node_gets_tokens_for_its_own_rules_as_the_topology_says_and_no_others() {
        let up = |text: &str| Audience::Upstream(text.to_owned());
        let foreign = |text: &str| Audience::Foreign(text.to_owned());
        let dev = || up("dev.example:8443");
        // (node, rule, identity, for whom, what comes of it)
        let cases = [
            (
                "prod",
                "promote",
                "reader",
                dev(),
                "dev dev.example:8443 team/* true",
            ),
            (
                "prod",
                "loop",
                "reader",
                up("127.0.0.1:5000"),
                "plain 127.0.0.1:5000 api false",
            ),
            (
                "prod",
                "federal",
                "sister",
                foreign("hub.sister.example"),
                "hub.sister.example",
            ),
            (
                "prod",
                "tenant",
                "entra",
                foreign(EXCHANGE_AUDIENCE),
                EXCHANGE_AUDIENCE,
            ),
            // Shown to a registry itself, a token is never one that Entra takes.
            (
                "prod",
                "direct",
                "cousin",
                foreign("hub.cousin.example:8443"),
                "hub.cousin.example:8443",
            ),
            (
                "prod",
                "direct",
                "cousin",
                foreign(EXCHANGE_AUDIENCE),
                "the identity 'cousin' is not for the audience 'api://AzureADTokenExchange'",
            ),
            (
                "gone",
                "promote",
                "reader",
                dev(),
                "the node 'gone' is not in the topology",
            ),
            // T52: another node's rule, and its own under another node's name.
            (
                "prod",
                "there",
                "reader",
                dev(),
                "the rule 'there' is not on this node",
            ),
            (
                "other",
                "promote",
                "reader",
                dev(),
                "the rule 'promote' is not on this node",
            ),
            (
                "prod",
                "nothing",
                "reader",
                dev(),
                "the rule 'nothing' is not on this node",
            ),
            (
                "prod",
                "off",
                "reader",
                dev(),
                "the rule 'off' is not enabled",
            ),
            (
                "prod",
                "promote",
                "elsewhere",
                dev(),
                "the rule 'promote' does not authenticate as 'elsewhere'",
            ),
            (
                "prod",
                "promote",
                "sister",
                dev(),
                "the rule 'promote' does not authenticate as 'sister'",
            ),
            (
                "prod",
                "library",
                "reader",
                up("docker.io"),
                "the rule 'library' does not authenticate as 'reader'",
            ),
            (
                "prod",
                "open",
                "reader",
                up("quay.io"),
                "the rule 'open' does not authenticate as 'reader'",
            ),
            (
                "prod",
                "promote",
                "reader",
                up("other.example"),
                "the rule 'promote' does not ask 'other.example'",
            ),
            (
                "prod",
                "promote",
                "reader",
                up("dev.internal:9443"),
                "the rule 'promote' does not ask 'dev.internal:9443'",
            ),
            (
                "prod",
                "promote",
                "reader",
                up("dev.example"),
                "the rule 'promote' does not ask 'dev.example'",
            ),
            (
                "prod",
                "promote",
                "reader",
                up(""),
                "the rule 'promote' does not ask ''",
            ),
            (
                "prod",
                "promote",
                "reader",
                foreign("dev.example:8443"),
                "the identity 'reader' gives no federation tokens",
            ),
            (
                "prod",
                "federal",
                "sister",
                up("hub.sister.example"),
                "the identity 'sister' gives no rule grants",
            ),
            (
                "prod",
                "federal",
                "sister",
                foreign(EXCHANGE_AUDIENCE),
                "the identity 'sister' is not for the audience 'api://AzureADTokenExchange'",
            ),
            (
                "prod",
                "tenant",
                "entra",
                foreign("hub.sister.example"),
                "the identity 'entra' is not for the audience 'hub.sister.example'",
            ),
            (
                "prod",
                "azure",
                "machine",
                foreign(EXCHANGE_AUDIENCE),
                "the identity 'machine' gives no federation tokens",
            ),
            (
                "prod",
                "azure",
                "machine",
                up("a.azurecr.io"),
                "the identity 'machine' gives no rule grants",
            ),
            (
                "prod",
                "chained",
                "asserted",
                foreign(EXCHANGE_AUDIENCE),
                "the identity 'asserted' gives no federation tokens",
            ),
        ];
        let topology = mesh();
        for (node, rule, identity, audience, expected) in cases {
            let what = format!("{node} {rule} {identity} {audience:?}");
            assert_eq!(
                asked(&topology, node, rule, identity, audience),
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn what_a_topology_cannot_say_is_refused_all_the_same() {
        let dev = || Audience::Upstream("dev.example:8443".to_owned());
        let mut topology = mesh();
        let reader = || "reader".parse::<IdentityName>().unwrap();
        topology.identities.get_mut(&reader()).unwrap().sources =
            vec!["node://dev/team/api".into()];
        assert_eq!(
            asked(&topology, "prod", "promote", "reader", dev()),
            "the identity 'reader' may not be presented for the source of the rule 'promote'"
        );
        let detached = "the identity 'reader' does not exist or is not associated with this node";
        topology.identities.get_mut(&reader()).unwrap().on.clear();
        assert_eq!(
            asked(&topology, "prod", "promote", "reader", dev()),
            detached
        );
        topology.identities.remove(&reader());
        assert_eq!(
            asked(&topology, "prod", "promote", "reader", dev()),
            detached
        );
    }
}
