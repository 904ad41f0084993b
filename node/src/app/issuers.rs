//! The OIDC issuers of a slice, as identity takes them.
//!
//! By hand, because identity and topology do not know each other. An issuer that stays the same from one slice to the next keeps its
//! keys and what was verified by them. Nothing is asked here: a node is ready, and stays ready, whatever its issuers do.

use std::sync::Arc;

use identity::{
    authenticate::oidc::{Declared, Issuers},
    keys::discovery::{Keys, Place},
};
use topology::model::{Issuer, IssuerKeys, Node, Topology};
use wire::name::IssuerName;

use super::Shared;

impl Shared {
    /// The issuers that a slice declares.
    pub(super) fn issuers(&self, topology: &Topology, own: &Node) -> Arc<Issuers> {
        let login_server = own.endpoint.login_server();
        let assigned = own.assigned();
        let declared = topology.issuers.iter();
        let declared = declared.map(|(name, issuer)| Declared {
            assigned: assigned.issuer(name),
            ..declare(name, issuer, &login_server)
        });
        let previous = self.issuers.load();
        let issuers = Arc::new(Issuers::new(declared, &self.around, Some(&previous)));
        self.issuers.store(Arc::clone(&issuers));
        self.around
            .keep_only(topology.issuers.keys().cloned().collect());
        issuers
    }
}

/// Without an audience of its own its tokens must be for this very node.
fn declare(name: &IssuerName, issuer: &Issuer, login_server: &str) -> Declared {
    let audiences = match issuer.audience.is_empty() {
        true => vec![login_server.to_owned()],
        false => issuer.audience.clone(),
    };
    let keys = issuer.keys.as_ref().map(|keys| match keys {
        IssuerKeys::Uri(uri) => Keys::Uri(uri.clone()),
        IssuerKeys::File(path) => Keys::File(path.clone()),
    });
    Declared {
        name: name.clone(),
        place: Place {
            url: issuer.url.clone(),
            keys,
            ca: issuer.ca.clone(),
            token: issuer.discovery_token.clone(),
        },
        audiences,
        client_id: issuer.client_id.clone(),
        algorithms: issuer.algorithms.clone(),
        assigned: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPOLOGY: &str = r#"
version: 1
mesh: contoso
nodes: {dev: {endpoint: "https://dev.registry.contoso.example"}}
issuers:
  github: {url: "https://token.actions.githubusercontent.com"}
  corp: {url: "https://login.contoso.example/", audience: [a, b], clientId: regmesh-cli, algorithms: [ES512]}
  cluster:
    url: https://kubernetes.default.svc
    jwksUri: https://10.0.0.1:6443/openid/v1/jwks
    ca: /ca.crt
    discoveryToken: {file: /token}
  static: {url: "https://static.example", jwks: /jwks.json}
"#;

    #[test]
    fn what_the_topology_says_about_an_issuer_is_what_counts() {
        let (generation, node) = (wire::generation::Generation(1), "dev".parse().unwrap());
        let slice = crate::app::Slice::read(generation, node, TOPOLOGY).unwrap();
        let issuers = &slice.topology.issuers;
        let of = |name: &str| {
            let name = name.parse().unwrap();
            declare(&name, &issuers[&name], "dev.registry.contoso.example")
        };
        let place = |url: &str| Place {
            url: url.to_owned(),
            keys: None,
            ca: None,
            token: None,
        };
        let plain = Declared {
            name: "github".parse().unwrap(),
            place: place("https://token.actions.githubusercontent.com"),
            audiences: vec!["dev.registry.contoso.example".to_owned()],
            client_id: None,
            algorithms: Vec::new(),
            assigned: true,
        };
        assert_eq!(of("github"), plain);
        let corp = Declared {
            name: "corp".parse().unwrap(),
            place: place("https://login.contoso.example/"),
            audiences: vec!["a".to_owned(), "b".to_owned()],
            client_id: Some("regmesh-cli".to_owned()),
            algorithms: vec!["ES512".to_owned()],
            assigned: true,
        };
        assert_eq!(of("corp"), corp);
        let cluster = Place {
            keys: Some(Keys::Uri("https://10.0.0.1:6443/openid/v1/jwks".to_owned())),
            ca: Some("/ca.crt".into()),
            token: Some("/token".into()),
            ..place("https://kubernetes.default.svc")
        };
        assert_eq!(of("cluster").place, cluster);
        let keys = Some(Keys::File("/jwks.json".into()));
        assert_eq!(of("static").place.keys, keys);
    }
}
