//! T38, T51 and T55 for nodes of the mesh: what a certificate is worth, and a grant under it.

use super::*;

/// T51 for nodes: what their certificate alone is worth, and for how long.
#[tokio::test]
async fn a_mesh_peer_is_who_its_certificate_says_until_that_is_revoked() {
    use crate::membership::tests::{certified, connection, membership};
    let rig = rig(false);
    let authority = identity::certificate::Authority::generate(WallTime(rig.clock.wall_ms()));
    let authority = authority.unwrap();
    let own = membership(&authority, &rig.clock);
    let edge: NodeName = "edge".parse().unwrap();
    let to_edge = Assignee::Node(edge.clone());
    let roles = [
        assign(Role::RepositoryReader, to_edge, "team/*"),
        roles(false).remove(0),
    ];
    let made = |trust_mesh_peers| {
        let network = topology::model::Network {
            access: network::Access::Private,
            trust_mesh_peers,
            ..topology::model::Network::default()
        };
        Arc::new(access(&rig.authenticate, &roles, network).among(Some(&own)))
    };
    let (trusting, wary) = (made(true), made(false));
    let chain = certified(&authority, "spiffe://contoso/node/edge", &rig.clock).0;
    let (edges, strangers) = (connection(&chain), connection(&[]));
    let ask = async |access: &Arc<Access>, peer: &Peer, headers: HeaderMap, target: &str| {
        by(access, Some(peer), &headers, &route("GET", target)).await
    };
    let (mine, other) = ("/v2/team/a/manifests/1", "/v2/other/a/manifests/1");
    let none = HeaderMap::new;
    let let_in = ask(&trusting, &edges, none(), mine).await.unwrap();
    assert_eq!(let_in.principal, Principal::Node { name: edge.clone() });
    assert_eq!(let_in.mesh_peer, Some(edge.clone()));
    assert_eq!(status(&ask(&wary, &edges, none(), mine).await), 403);
    assert_eq!(status(&ask(&trusting, &strangers, none(), mine).await), 403);

    // It may have credentials to show where its certificate is not enough; shown, they alone count.
    let asked_for_more = ask(&trusting, &edges, none(), other).await.unwrap_err();
    assert_eq!(asked_for_more.status, StatusCode::UNAUTHORIZED);
    assert!(asked_for_more.challenge.is_some());
    let reader = || basic("reader", "reader-password");
    let account = ask(&trusting, &edges, reader(), mine).await.unwrap();
    assert_eq!(account.principal.to_string(), "account:reader");
    assert_eq!(account.mesh_peer, Some(edge.clone()));

    // A token for a certificate is worth something under that certificate alone.
    let peer = trusting.mesh_peer(Some(&edges));
    let origin = trusting.origin(Some(&edges), peer.as_ref(), &none());
    let proven = Proven::by_connection(origin.unwrap());
    let token = || bearer(&rig, &proven, "repository:team/a:pull");
    assert_eq!(proven.principal, let_in.principal);
    let hub = connection(&certified(&authority, "spiffe://contoso/node/hub", &rig.clock).0);
    let under_hub = ask(&trusting, &hub, token(), mine).await.unwrap_err();
    assert_eq!(under_hub.status, StatusCode::UNAUTHORIZED);

    own.revoke([(edge, WallTime(rig.clock.wall_ms() + 1_000))].into());
    assert_eq!(status(&ask(&trusting, &edges, none(), mine).await), 403);
    assert_eq!(status(&ask(&trusting, &edges, reader(), mine).await), 403);
}

/// What the token endpoint gives the rule of `hub`'s `edge` for its grant, as a header.
pub(super) async fn granted(hub: &Hub, scope: &str) -> HeaderMap {
    let edge = hub.connection("edge");
    let access = &hub.rig.access;
    let peer = access.mesh_peer(Some(&edge));
    let origin = access.origin(Some(&edge), peer.as_ref(), &HeaderMap::new());
    let grant = hub.grant().into();
    let authenticate = &hub.rig.authenticate;
    let proven = authenticate.exchange(access.local(), &grant, origin.unwrap());
    let proven = proven.await.unwrap();
    let scopes = Scope::parse_list(scope);
    let bound = access.grant(&proven.principal, proven.bound.as_ref(), &scopes);
    let token = authenticate.issue(access.local(), &proven, bound).unwrap();
    authorization(&format!("Bearer {}", token.token.expose()))
}

/// T38, T55: on every request anew, also on the connection and with the token that were good a moment ago.
#[tokio::test]
async fn a_rule_of_another_node_reads_as_its_identity_until_role_or_rule_is_taken_away() {
    let mut hub = hub();
    let token = granted(&hub, "repository:team/a:pull").await;
    let pull = route("GET", "/v2/team/a/manifests/1");
    let edge = hub.connection("edge");
    let asked = async |hub: &Hub, over: &Edge, token: &HeaderMap| {
        by(&hub.rig.access, Some(over), token, &pull).await
    };
    let admitted = asked(&hub, &edge, &token).await.unwrap();
    assert_eq!(admitted.principal.to_string(), "identity:promoter");
    let via = admitted.via.unwrap();
    assert_eq!((via.node.as_str(), via.rule.as_str()), ("edge", "apps"));
    for over in [
        hub.connection("other"),
        peer("127.0.0.1"),
        peer("192.0.2.9"),
    ] {
        let refused = asked(&hub, &over, &token).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
    hub.swap(&[], false);
    let refused = asked(&hub, &edge, &token).await.unwrap_err();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let caller = refused.caller.unwrap();
    assert_eq!(
        caller.principal.to_string(),
        "identity:promoter",
        "for the log"
    );
    assert_eq!(caller.via.unwrap().rule.as_str(), "apps");
    hub.swap(&roles(false), false);
    assert!(asked(&hub, &edge, &token).await.is_ok(), "given back");
    hub.swap(&roles(false), true);
    assert_eq!(status(&asked(&hub, &edge, &token).await), 401, "withdrawn");
}

#[tokio::test]
async fn a_mesh_peer_is_sent_for_its_tokens_to_where_its_certificate_arrives() {
    let hub = hub();
    let mut node = node(&roles(false), topology::model::Network::default());
    node.peer_endpoint = Some(topology::model::Endpoint {
        secure: true,
        host: "prod.inside".to_owned(),
        port: 5443,
    });
    let made = Access::new(&node, &Default::default(), &hub.rig.authenticate, None);
    let access = Arc::new(made.among(Some(&hub.membership)));
    let pull = route("GET", "/v2/team/a/manifests/1");
    for (over, realm) in [
        (
            hub.connection("edge"),
            "https://prod.inside:5443/oauth2/token",
        ),
        (peer("192.0.2.9"), "https://prod.example:5443/oauth2/token"),
    ] {
        let refused = by(&access, Some(&over), &HeaderMap::new(), &pull).await;
        let challenge = refused.unwrap_err().challenge.unwrap();
        let challenge = challenge.to_str().unwrap();
        let expected = format!(r#"realm="{realm}",service="prod.example:5443""#);
        assert!(challenge.contains(&expected), "{challenge}");
    }
    for (target, ours) in [
        ("prod.example:5443", true),
        ("prod.inside:5443", true),
        ("https://prod.inside:5443", true),
        ("http://prod.example:5443", false),
        ("prod.example", false),
        ("", false),
    ] {
        assert_eq!(access.is_called(target), ours, "{target}");
    }
}
