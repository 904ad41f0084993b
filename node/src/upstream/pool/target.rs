//! Which address a rule's upstream is asked at, and what decides about its credentials there; pure.
//!
//! A node of the mesh is asked where its peers reach it, its token service too, whichever of its addresses it says that is at. Any other registry
//! is asked at its host: over https, or over http where the host is declared insecure, or is loopback and has no `ca`. Source: `spec/topology.md`.

use identity::authenticator::realm::{Origin, Policy};
use topology::model::{
    self, Rule, Topology,
    rule::{Authentication, UpstreamRef},
};
use url::Url;
use wire::name::NodeName;

use crate::upstream::{
    Error,
    profile::{self, Profile},
};

/// Where to ask, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// For metrics and messages.
    pub(super) name: String,
    /// The node of the mesh that it is, when it is one.
    pub(super) node: Option<NodeName>,
    pub(super) profile: Profile,
    pub(super) realms: Policy,
    /// What the operator says about it, or the defaults.
    pub(super) settings: model::Upstream,
    /// Hosts that may be loopback or private, because the operator named them.
    pub(super) named: Vec<String>,
}

pub(super) fn target(rule: &Rule, topology: &Topology) -> Result<Target, Error> {
    let (profile, upstream, said, mut own, aliases) = match &rule.source.upstream {
        UpstreamRef::Node(name) => {
            let node = topology.node(name).ok_or_else(|| {
                Error::away(format!("the node '{name}' is not in this node's slice"))
            })?;
            let endpoint = node.peer_endpoint.as_ref().unwrap_or(&node.endpoint);
            let own = [Some(&node.endpoint), node.peer_endpoint.as_ref()];
            let own: Vec<String> = own
                .into_iter()
                .flatten()
                .map(model::Endpoint::login_server)
                .collect();
            let upstream = parse(&endpoint.to_string())?;
            let said = topology.said_of(node).map(|(_, said)| said);
            let public = parse(&node.endpoint.to_string())?;
            let aliases = Vec::from_iter((public != upstream).then_some(public));
            (Profile::default(), upstream, said, own, aliases)
        }
        UpstreamRef::Host(host) => {
            let profile = profile::of(host);
            let at = profile.api_host.clone().unwrap_or_else(|| host.clone());
            let scheme = if topology.is_plain_http(host) {
                "http"
            } else {
                "https"
            };
            let upstream = parse(&format!("{scheme}://{at}"))?;
            let said = topology.upstreams.get(host);
            (profile, upstream, said, Vec::new(), Vec::new())
        }
    };
    let settings = said.cloned().unwrap_or_default();
    own.extend(settings.realms.iter().cloned());
    let named = named(&upstream, &own);
    let node = match &rule.source.upstream {
        UpstreamRef::Node(node) => Some(node.clone()),
        UpstreamRef::Host(_) => None,
    };
    let as_identity = matches!(rule.authentication, Authentication::Identity(_));
    let realms = match node.is_some() && as_identity {
        // The token of an identity is for that very node: no other token service is one of its own.
        true => Policy {
            profile: Some(vec![format!("{}:{}", upstream.host, upstream.port)]),
            declared: Vec::new(),
            upstream,
            aliases,
        },
        false => Policy {
            profile: profile.realms.clone(),
            declared: own,
            upstream,
            aliases,
        },
    };
    Ok(Target {
        name: rule.source.upstream.to_string(),
        node,
        profile,
        realms,
        settings,
        named,
    })
}

fn parse(url: &str) -> Result<Origin, Error> {
    let url = Url::parse(url).ok();
    let origin = url.as_ref().and_then(Origin::of);
    origin.ok_or_else(|| Error::away("the upstream's address is not one"))
}

/// The upstream's host and those of its declared token services, without ports.
fn named(upstream: &Origin, declared: &[String]) -> Vec<String> {
    let declared = declared.iter().filter_map(|entry| {
        let url = Url::parse(&format!("https://{entry}")).ok()?;
        url.host_str().map(str::to_owned)
    });
    std::iter::once(upstream.host.clone())
        .chain(declared)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::pool::tests::{rule, topology};

    #[test]
    fn every_kind_of_upstream_has_its_address() {
        let mut topology = topology();
        let insecure = model::Upstream {
            insecure: true,
            realms: vec!["sso.corp.example:8443".into()],
            ..model::Upstream::default()
        };
        topology
            .upstreams
            .insert("plain.corp.example".into(), insecure);
        let trusted = model::Upstream {
            ca: Some("/etc/ca.pem".into()),
            ..model::Upstream::default()
        };
        topology.upstreams.insert("127.0.0.1:5443".into(), trusted);
        let cases = [
            (
                "docker.io/library/*",
                "docker.io",
                "https://registry-1.docker.io",
            ),
            ("ghcr.io/a/b", "ghcr.io", "https://ghcr.io"),
            (
                "registry.corp.example:5000/a",
                "registry.corp.example:5000",
                "https://registry.corp.example:5000",
            ),
            (
                "plain.corp.example/a",
                "plain.corp.example",
                "http://plain.corp.example",
            ),
            (
                "127.0.0.1:5000/a",
                "127.0.0.1:5000",
                "http://127.0.0.1:5000",
            ),
            ("[::1]:5000/a", "[::1]:5000", "http://[::1]:5000"),
            (
                "localhost:5000/a",
                "localhost:5000",
                "http://localhost:5000",
            ),
            (
                "127.0.0.1.evil.org/a",
                "127.0.0.1.evil.org",
                "https://127.0.0.1.evil.org",
            ),
            ("node://hub/a", "hub", "https://hub.example.com:5443"),
            ("node://edge/a", "edge", "http://127.0.0.1:7000"),
        ];
        for (source, name, origin) in cases {
            let target = target(&rule(source), &topology).unwrap();
            assert_eq!(
                (
                    target.name.as_str(),
                    target.realms.upstream.to_string().as_str()
                ),
                (name, origin)
            );
        }
        assert!(
            target(&rule("node://gone/a"), &topology)
                .unwrap_err()
                .is_away()
        );
    }

    #[test]
    fn a_nodes_token_service_is_asked_where_its_peers_reach_it_whatever_it_says() {
        let target = target(&rule("node://hub/a"), &topology()).unwrap();
        for realm in [
            "https://hub.example.com/oauth2/token",
            "https://hub.example.com:5443/oauth2/token",
        ] {
            let asked = identity::authenticator::realm::check(realm, &target.realms);
            assert_eq!(
                asked.unwrap().as_str(),
                "https://hub.example.com:5443/oauth2/token"
            );
        }
        let elsewhere =
            identity::authenticator::realm::check("https://hub.example.com:9/t", &target.realms);
        // The same registrable domain.
        assert!(elsewhere.is_ok());
    }

    #[test]
    fn the_token_of_an_identity_goes_to_the_node_itself_and_to_no_other_token_service() {
        let mut topology = topology();
        let said = model::Upstream {
            realms: vec!["sso.example.com".into()],
            ..model::Upstream::default()
        };
        topology
            .upstreams
            .insert("hub.example.com:5443".into(), said);
        let mut rule = rule("node://hub/a");
        let elsewhere = ["https://sso.example.com/t", "https://hub.example.com:9/t"];
        let allowed = |rule: &Rule, realm: &str| {
            let target = target(rule, &topology).unwrap();
            identity::authenticator::realm::check(realm, &target.realms).is_ok()
        };
        assert!(elsewhere.iter().all(|realm| allowed(&rule, realm)));
        rule.authentication = Authentication::Identity("reader".parse().unwrap());
        assert!(!elsewhere.iter().any(|realm| allowed(&rule, realm)));
        for own in [
            "https://hub.example.com/t",
            "https://hub.example.com:5443/t",
        ] {
            assert!(allowed(&rule, own), "{own}");
        }
    }

    #[test]
    fn what_is_said_of_a_nodes_host_counts_by_any_of_its_names() {
        let ca = |path: &str| model::Upstream {
            ca: Some(path.into()),
            ..model::Upstream::default()
        };
        let names = [
            "hub.example.com:5443",
            "hub.example.com",
            "hub.example.com:443",
        ];
        for name in names {
            let mut topology = topology();
            topology
                .upstreams
                .insert("edge.example.com".into(), ca("/no"));
            topology.upstreams.insert(name.into(), ca("/ca.pem"));
            let target = target(&rule("node://hub/a"), &topology).unwrap();
            assert_eq!(target.settings, ca("/ca.pem"), "{name}");
        }
    }

    #[test]
    fn only_what_the_operator_named_may_be_private() {
        let mut topology = topology();
        let declared = model::Upstream {
            realms: vec!["sso.corp.example:8443".into()],
            ..model::Upstream::default()
        };
        topology.upstreams.insert("10.0.0.5:5000".into(), declared);
        let target = target(&rule("10.0.0.5:5000/a"), &topology).unwrap();
        assert_eq!(target.named, ["10.0.0.5", "sso.corp.example"]);
    }
}
