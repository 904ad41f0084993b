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

mod peer;
mod place;
mod probing;
mod refusal;

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
