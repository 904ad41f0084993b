//! T51: every route, by every kind of caller, as the one table of routes declares; and what the refusals say.

use std::time::Duration;

use http::StatusCode;
use identity::authenticate::Proven;
use serde_json::json;
use topology::model::network;
use wire::assignment::{Assignee, Role};
use wire::scope::Scope;
use wire::time::WallTime;

use super::{access::FORWARDED_FOR, rig::*, *};

const SHA: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const UPLOAD: &str = "01920000-0000-7000-8000-000000000000";

fn route(method: &str, target: &str) -> Route {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(method, path, query)
        .unwrap_or_else(|error| unreachable!("{method} {target}: {error}"))
        .route
}

/// Every variant of `Route` in `repository`, with what it takes. A new variant stops `takes` from compiling, and then belongs here too.
fn routes(repository: &str) -> Vec<(Route, Takes)> {
    let v2 = |rest: &str| format!("/v2/{repository}/{rest}");
    let (blob, upload) = (
        v2(&format!("blobs/{SHA}")),
        v2(&format!("blobs/uploads/{UPLOAD}")),
    );
    let mount = v2(&format!("blobs/uploads/?mount={SHA}&from=team/other"));
    let targets = [
        ("GET", "/v2/".to_owned()),
        ("GET", v2("manifests/latest")),
        ("HEAD", v2(&format!("manifests/{SHA}"))),
        ("PUT", v2("manifests/latest")),
        ("DELETE", v2("manifests/latest")),
        ("DELETE", v2(&format!("manifests/{SHA}"))),
        ("GET", blob.clone()),
        ("HEAD", blob.clone()),
        ("DELETE", blob),
        ("POST", v2("blobs/uploads/")),
        ("POST", mount),
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={SHA}")),
        ("GET", upload.clone()),
        ("DELETE", upload),
        ("GET", v2("tags/list")),
        ("GET", v2(&format!("referrers/{SHA}"))),
        ("GET", "/v2/_catalog".to_owned()),
        ("GET", "/oauth2/token".to_owned()),
        ("POST", "/oauth2/token".to_owned()),
        ("POST", "/oauth2/exchange".to_owned()),
    ];
    let routes: Vec<_> = targets
        .iter()
        .map(|(method, target)| route(method, target))
        .collect();
    let kinds: std::collections::HashSet<_> = routes.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 17, "a kind of route is missing here");
    routes
        .into_iter()
        .map(|route| {
            let takes = takes(&route);
            (route, takes)
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Takes {
    Nothing,
    Session,
    Pull,
    Push,
    Delete,
    Catalog,
}

/// Written apart from `Route::needs` on purpose: the two must agree.
fn takes(route: &Route) -> Takes {
    match route {
        Route::Base => Takes::Session,
        Route::Manifest { .. }
        | Route::Blob { .. }
        | Route::Tags { .. }
        | Route::Referrers { .. } => Takes::Pull,
        Route::ManifestPut { .. }
        | Route::UploadStart { .. }
        | Route::UploadPatch { .. }
        | Route::UploadPut { .. }
        | Route::UploadStatus { .. }
        | Route::UploadCancel { .. } => Takes::Push,
        Route::ManifestDelete { .. } | Route::BlobDelete { .. } => Takes::Delete,
        Route::Catalog { .. } => Takes::Catalog,
        Route::TokenGet | Route::TokenPost | Route::Exchange => Takes::Nothing,
    }
}

/// What the caller gets for something that takes this, in a repository that their role covers or not.
fn expected(caller: &str, takes: Takes, covered: bool) -> u16 {
    let known = caller != "anonymous";
    let has = match (takes, caller) {
        (Takes::Nothing, _) => true,
        (Takes::Session, _) => known && caller != "nobody",
        (Takes::Catalog, _) => caller == "lister",
        (Takes::Pull, "reader" | "writer" | "deleter" | "lister") => covered,
        (Takes::Push, "writer") => covered,
        (Takes::Delete, "deleter") => covered,
        _ => false,
    };
    match (has, known) {
        (true, _) => 200,
        (false, true) => 403,
        (false, false) => 401,
    }
}

async fn ask(
    access: &Arc<Access>,
    headers: &HeaderMap,
    route: &Route,
) -> Result<Admitted, Box<Refused>> {
    by(access, Some(&peer("192.0.2.9")), headers, route).await
}

fn status(answer: &Result<Admitted, Box<Refused>>) -> u16 {
    answer
        .as_ref()
        .map_or_else(|refused| refused.status.as_u16(), |_| 200)
}

fn bearer(rig: &Rig, proven: &Proven, scope: &str) -> HeaderMap {
    let bound = rig
        .access
        .grant(&proven.principal, None, &Scope::parse_list(scope));
    let token = rig
        .authenticate
        .issue(rig.access.local(), proven, bound)
        .unwrap()
        .token;
    authorization(&format!("Bearer {}", token.expose()))
}

async fn proven(rig: &Rig, account: &str) -> Proven {
    let origin = rig
        .access
        .origin(Some(&peer("192.0.2.9")), None, &HeaderMap::new())
        .unwrap();
    let password = format!("{account}-password").into();
    rig.authenticate
        .prove(rig.access.local(), account, &password, origin)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_route_answers_every_caller_as_the_table_declares() {
    let rig = rig(false);
    for repository in ["team/a", "teamster/a", "team", "other/team/a"] {
        let covered = repository == "team/a";
        for (route, takes) in routes(repository) {
            for account in ACCOUNTS {
                let headers = basic(account, &format!("{account}-password"));
                let got = ask(&rig.access, &headers, &route).await;
                assert_eq!(
                    status(&got),
                    expected(account, takes, covered),
                    "{account} {route:?}"
                );
            }
            let got = ask(&rig.access, &HeaderMap::new(), &route).await;
            assert_eq!(
                status(&got),
                expected("anonymous", takes, covered),
                "anonymous {route:?}"
            );
        }
    }
}

#[tokio::test]
async fn wrong_credentials_open_no_route_not_even_those_open_to_all() {
    let rig = rig(true);
    let good = bearer(
        &rig,
        &proven(&rig, "reader").await,
        "repository:team/a:pull",
    );
    let good = good[header::AUTHORIZATION].to_str().unwrap().to_owned();
    for (route, _) in routes("open/a") {
        for shown in [
            "Bearer x.y.z",
            &good[..good.len() - 4],
            "Basic ????",
            "Negotiate abc",
            "Bearer",
            "",
        ] {
            let got = ask(&rig.access, &authorization(shown), &route).await;
            assert_eq!(status(&got), 401, "{shown:?} {route:?}");
        }
        let got = ask(&rig.access, &basic("reader", "wrong"), &route).await;
        assert_eq!(status(&got), 401, "{route:?}");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_and_says_so() {
    let rig = rig(false);
    let headers = bearer(
        &rig,
        &proven(&rig, "reader").await,
        "repository:team/a:pull",
    );
    let pull = route("GET", "/v2/team/a/manifests/latest");
    assert_eq!(status(&ask(&rig.access, &headers, &pull).await), 200);
    rig.clock.advance(Duration::from_secs(3600 + 61));
    let refused = ask(&rig.access, &headers, &pull).await.unwrap_err();
    let challenge = refused.challenge.unwrap();
    assert!(
        challenge
            .to_str()
            .unwrap()
            .ends_with(r#",error="invalid_token""#)
    );
}

#[tokio::test]
async fn every_401_names_the_scope_of_the_request_and_where_to_get_it() {
    let rig = rig(false);
    let cases = [
        ("GET", "/v2/".to_owned(), None),
        ("GET", "/v2/_catalog".to_owned(), Some("registry:catalog:*")),
        (
            "HEAD",
            "/v2/team/a/manifests/1".to_owned(),
            Some("repository:team/a:pull"),
        ),
        (
            "PUT",
            "/v2/team/a/manifests/1".to_owned(),
            Some("repository:team/a:pull,push"),
        ),
        (
            "DELETE",
            "/v2/team/a/manifests/1".to_owned(),
            Some("repository:team/a:delete"),
        ),
        (
            "POST",
            "/v2/team/a/blobs/uploads/".to_owned(),
            Some("repository:team/a:pull,push"),
        ),
        (
            "POST",
            format!("/v2/team/a/blobs/uploads/?mount={SHA}&from=team/b"),
            Some("repository:team/a:pull,push repository:team/b:pull"),
        ),
    ];
    for (method, target, scope) in cases {
        let response = ask(&rig.access, &HeaderMap::new(), &route(method, &target))
            .await
            .unwrap_err()
            .into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let got = response.headers()[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap();
        let mut expected =
            r#"Bearer realm="https://prod.example:5443/oauth2/token",service="prod.example:5443""#
                .to_owned();
        if let Some(scope) = scope {
            expected.push_str(&format!(",scope=\"{scope}\""));
        }
        assert_eq!(got, expected, "{method} {target}");
    }
}

/// Section 1.4 of `protocols.md`: docker and podman ask `/v2/` first, containerd never does; all of them get on where
/// everybody may read, and `docker login` still meets a challenge.
#[tokio::test]
async fn where_everybody_may_read_clients_get_on_with_and_without_a_ping() {
    let rig = rig(true);
    let none = HeaderMap::new();
    let (base, pull) = (route("GET", "/v2/"), route("GET", "/v2/open/a/manifests/1"));
    assert_eq!(status(&ask(&rig.access, &none, &base).await), 401);
    assert_eq!(status(&ask(&rig.access, &none, &pull).await), 200);
    assert_eq!(
        status(&ask(&rig.access, &none, &route("GET", "/v2/team/a/manifests/1")).await),
        401
    );
    assert_eq!(
        status(&ask(&rig.access, &none, &route("PUT", "/v2/open/a/manifests/1")).await),
        401
    );
    let origin = rig
        .access
        .origin(Some(&peer("192.0.2.9")), None, &HeaderMap::new());
    let nobody = Proven::by_connection(origin.unwrap());
    let token = bearer(&rig, &nobody, "repository:open/a:pull,push");
    assert_eq!(status(&ask(&rig.access, &token, &base).await), 200);
    assert_eq!(status(&ask(&rig.access, &token, &pull).await), 200);
    let known = basic("nobody", "nobody-password");
    assert_eq!(status(&ask(&rig.access, &known, &pull).await), 200);
}

#[tokio::test]
async fn a_token_with_too_little_scope_asks_for_another_only_where_that_helps() {
    let rig = rig(false);
    let reader = proven(&rig, "reader").await;
    let headers = bearer(&rig, &reader, "repository:team/a:pull");
    let other = ask(
        &rig.access,
        &headers,
        &route("GET", "/v2/team/b/manifests/1"),
    )
    .await
    .unwrap_err();
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    let challenge = other.challenge.unwrap();
    assert!(
        challenge
            .to_str()
            .unwrap()
            .contains(r#"scope="repository:team/b:pull",error="insufficient_scope""#)
    );
    let push = ask(
        &rig.access,
        &headers,
        &route("PUT", "/v2/team/a/manifests/1"),
    )
    .await
    .unwrap_err();
    assert_eq!(push.status, StatusCode::FORBIDDEN);
    assert_eq!(
        push.error.detail,
        Some(json!({"role": "repository-writer"}))
    );
}

/// T47: the answer says nothing about what there is.
#[tokio::test]
async fn a_known_caller_without_rights_learns_nothing() {
    let rig = rig(false);
    let headers = basic("reader", "reader-password");
    for target in [
        "manifests/1",
        "tags/list",
        &format!("blobs/{SHA}"),
        &format!("referrers/{SHA}"),
    ] {
        let refused = ask(
            &rig.access,
            &headers,
            &route("GET", &format!("/v2/secret/a/{target}")),
        )
        .await
        .unwrap_err();
        assert_eq!(
            (refused.status, &refused.error.detail),
            (StatusCode::FORBIDDEN, &None)
        );
        assert_eq!(
            refused.error.message,
            "account:reader has no access to secret/a on this node"
        );
        assert!(refused.challenge.is_none());
    }
}

#[tokio::test]
async fn a_mount_wants_the_right_to_read_where_the_blob_comes_from() {
    let rig = rig(true);
    let mount = |from: &str| {
        route(
            "POST",
            &format!("/v2/team/a/blobs/uploads/?mount={SHA}&from={from}"),
        )
    };
    let writer = basic("writer", "writer-password");
    for (from, allowed) in [("team/b", true), ("open/a", true), ("secret/a", false)] {
        assert_eq!(
            ask(&rig.access, &writer, &mount(from))
                .await
                .unwrap()
                .may_mount,
            allowed,
            "{from}"
        );
    }
    let narrow = bearer(
        &rig,
        &proven(&rig, "writer").await,
        "repository:team/a:pull,push",
    );
    assert!(
        !ask(&rig.access, &narrow, &mount("team/b"))
            .await
            .unwrap()
            .may_mount
    );
    let reader = basic("reader", "reader-password");
    assert_eq!(
        status(&ask(&rig.access, &reader, &mount("team/b")).await),
        403
    );
}

/// T38: the same token, the same connection, other roles.
#[tokio::test]
async fn a_revoked_role_ends_at_once() {
    let rig = rig(false);
    let headers = bearer(
        &rig,
        &proven(&rig, "reader").await,
        "repository:team/a:pull",
    );
    let pull = route("GET", "/v2/team/a/manifests/1");
    assert_eq!(status(&ask(&rig.access, &headers, &pull).await), 200);
    let revoked = Arc::new(access(
        &rig.authenticate,
        &[],
        topology::model::Network::default(),
    ));
    assert_eq!(status(&ask(&revoked, &headers, &pull).await), 403);
}

#[tokio::test]
async fn an_address_that_is_not_let_in_is_refused_before_its_credentials_are_looked_at() {
    let rig = rig(true);
    let network = topology::model::Network {
        access: network::Access::Selected,
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
        trust_mesh_peers: false,
    };
    let open = [assign(Role::RepositoryReader, Assignee::Anonymous, "*")];
    let selected = Arc::new(access(&rig.authenticate, &open, network));
    let pull = route("GET", "/v2/team/a/manifests/1");
    let from = async |address: &str, forwarded: Option<&str>, headers: HeaderMap| {
        let mut headers = headers;
        if let Some(forwarded) = forwarded {
            headers.insert(
                FORWARDED_FOR,
                HeaderValue::from_bytes(forwarded.as_bytes()).unwrap(),
            );
        }
        by(&selected, Some(&peer(address)), &headers, &pull).await
    };
    assert_eq!(status(&from("10.1.1.1", None, HeaderMap::new()).await), 200);
    let refused = from("203.0.113.1", None, basic("reader", "reader-password"))
        .await
        .unwrap_err();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        refused.error.detail,
        Some(json!({"refusal": "NETWORK_REFUSED"}))
    );
    assert_eq!(
        status(&from("203.0.113.1", Some("10.1.1.1"), HeaderMap::new()).await),
        403
    );
    let behind = from("192.0.2.1", Some("10.1.1.1"), HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(behind.address.to_string(), "10.1.1.1");
    assert_eq!(
        status(&from("192.0.2.1", Some("10.1.1.1, \u{e9}"), HeaderMap::new()).await),
        403
    );
    assert_eq!(
        status(&by(&selected, None, &HeaderMap::new(), &pull).await),
        403
    );
}

#[tokio::test]
async fn only_the_known_may_force_a_check_and_the_catalog_shows_what_is_readable() {
    let rig = rig(true);
    let pull = route("GET", "/v2/open/a/manifests/1");
    assert!(
        !ask(&rig.access, &HeaderMap::new(), &pull)
            .await
            .unwrap()
            .may_force
    );
    let lister = basic("lister", "lister-password");
    let admitted = ask(&rig.access, &lister, &route("GET", "/v2/_catalog"))
        .await
        .unwrap();
    assert!(admitted.may_force);
    assert!(admitted.may_see(&"team/a".parse().unwrap()));
    assert!(!admitted.may_see(&"secret/a".parse().unwrap()));
}

#[tokio::test]
async fn cut_off_for_longer_than_allowed_only_what_is_anonymous_is_granted() {
    let rig = rig(true);
    let contact = crate::app::Contact::alone(rig.clock.clone());
    contact.away(Duration::from_secs(50));
    let made = access(
        &rig.authenticate,
        &roles(true),
        topology::model::Network::default(),
    );
    let access = Arc::new(made.ending(Some(Duration::from_secs(60)), &contact));
    let own = basic("reader", "reader-password");
    let pull = |repository: &str| route("GET", &format!("/v2/{repository}/manifests/latest"));
    let asked = async |headers: &HeaderMap, route: &Route| {
        let answer = by(&access, Some(&peer("192.0.2.7")), headers, route).await;
        answer
            .map(|admitted| admitted.principal)
            .map_err(|refused| {
                assert_eq!(
                    refused.retry_after.is_some(),
                    refused.status == StatusCode::SERVICE_UNAVAILABLE
                );
                refused.status
            })
    };
    let known = asked(&own, &pull("team/a")).await.unwrap();
    assert!(known.is_known(), "not away for long enough");

    rig.clock.advance(Duration::from_secs(20));
    let cases = [
        (&own, "team/a", Err(StatusCode::SERVICE_UNAVAILABLE)),
        (&own, "open/a", Ok(Principal::Anonymous)),
        (&HeaderMap::new(), "open/a", Ok(Principal::Anonymous)),
        (&HeaderMap::new(), "team/a", Err(StatusCode::UNAUTHORIZED)),
    ];
    for (headers, repository, expected) in cases {
        assert_eq!(
            asked(headers, &pull(repository)).await,
            expected,
            "{repository}"
        );
    }

    contact.connected();
    assert!(asked(&own, &pull("team/a")).await.is_ok(), "back again");
}

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
