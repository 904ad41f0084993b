//! Each registry of the profile table, by the shape of its answers, played on loopback.

use identity::{authenticator::Known, token_source::fixed::Fixed};
use wire::{media_type::OCI_INDEX, refusal::Refusal};

use super::*;
use crate::upstream::profile;

/// The profile of a well-known host, with its token service moved to `realm`, filled in once the server is up.
struct Moved(Rig);

impl Moved {
    async fn new(
        host: &str,
        source: impl TokenSource,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let tasks = Tasks::new("test");
        let server = Server::start(&tasks, script).await;
        let mut profile = profile::of(host);
        let own = server.url("").replace("http://", "");
        profile.realms = profile.realms.map(|_| vec![own]);
        profile.known = profile.known.map(|known| Known {
            realm: server.url("/token"),
            ..known
        });
        let counted = Arc::new(Counted::default());
        let remote = remote(&server, profile, source, &counted, &tasks);
        Self(Rig {
            tasks,
            server,
            remote,
            counted,
        })
    }
}

fn token() -> Reply {
    Reply::ok("application/json", r#"{"token":"t","expires_in":300}"#)
}

#[tokio::test]
async fn docker_hub_gets_a_token_first_and_names_below_library() {
    let Moved(rig) = Moved::new("docker.io", Anonymous, |seen| {
        match (seen.target.starts_with("/token"), seen.last()) {
            (true, _) => token(),
            (false, "private") => Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#).and(
                "WWW-Authenticate",
                &format!(
                    r#"Bearer realm="http://{}/token",service="registry.docker.io""#,
                    seen.at
                ),
            ),
            (false, _) => Reply::ok(OCI_INDEX, MANIFEST).and("Docker-Content-Digest", &digest()),
        }
    })
    .await;
    let alpine = "alpine".parse().unwrap();
    let tag = "3".parse().unwrap();
    rig.remote
        .get_manifest(&alpine, &tag, &request())
        .await
        .unwrap();
    let targets: Vec<String> = rig.server.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(
        targets,
        [
            "/token?service=registry.docker.io&scope=repository%3Alibrary%2Falpine%3Apull&client_id=regmesh",
            "/v2/library/alpine/manifests/3"
        ]
    );
    // Private or missing cannot be told apart there, and the message says both.
    let private = "private".parse().unwrap();
    let error = rig
        .remote
        .get_manifest(&alpine, &private, &request())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.refusal),
        (Kind::Denied, Refusal::UpstreamDenied)
    );
    assert!(
        error.detail.contains("not allowed, or it does not exist"),
        "{error}"
    );
}

#[tokio::test]
async fn ecr_public_has_a_scope_of_its_own_and_says_400_for_a_stale_token() {
    let Moved(rig) = Moved::new("public.ecr.aws", Anonymous, |seen| match seen.number {
        0 | 3 => token(),
        2 => Reply::new(400, "bad request"),
        _ => registry(seen),
    })
    .await;
    rig.manifest("1").await.unwrap();
    rig.manifest("1").await.unwrap();
    assert_eq!(
        rig.seen(),
        ["GET token", "GET 1", "GET 1", "GET token", "GET 1"]
    );
    assert!(rig.server.seen()[3].target.contains("scope=aws"));
}

#[tokio::test]
async fn ecr_takes_basic_from_the_first_request_on() {
    let source = Fixed::password("AWS", "hunter2");
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let Moved(rig) = Moved::new(host, source, registry).await;
    rig.manifest("1").await.unwrap();
    let seen = rig.server.seen();
    assert_eq!(
        (seen.len(), seen[0].header("authorization")),
        (1, Some("Basic QVdTOmh1bnRlcjI="))
    );
}

#[tokio::test]
async fn ghcr_refuses_a_token_for_what_may_be_missing() {
    let Moved(rig) = Moved::new("ghcr.io", Anonymous, |seen| match seen.target.starts_with("/token") {
        true => Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#),
        false => registry(seen),
    })
    .await;
    let error = rig.manifest("1").await.unwrap_err();
    assert_eq!(
        (error.kind, error.refusal),
        (Kind::Denied, Refusal::UpstreamDenied)
    );
    assert!(
        error.detail.contains("there is no such repository"),
        "{error}"
    );
    assert_eq!(rig.seen(), ["GET token"]);
}

#[tokio::test]
async fn nvcr_has_the_scope_in_its_realm() {
    let Moved(rig) = Moved::new("nvcr.io", Anonymous, |seen| {
        if seen.target.starts_with("/proxy_auth") {
            return token();
        }
        if seen.header("authorization").is_some() {
            return registry(seen);
        }
        let realm = format!(
            r#"Bearer realm="http://{}/proxy_auth?scope=repository:team/app:pull""#,
            seen.at
        );
        Reply::status(401).and("WWW-Authenticate", &realm)
    })
    .await;
    rig.manifest("1").await.unwrap();
    let asked = &rig.server.seen()[1].target;
    assert_eq!(
        asked,
        "/proxy_auth?scope=repository:team/app:pull&client_id=regmesh"
    );
}

#[tokio::test]
async fn quay_offers_two_challenges_on_one_line() {
    let Moved(rig) = Moved::new("quay.io", Anonymous, |seen| {
        if seen.target.starts_with("/v2/auth") {
            return token();
        }
        if seen.header("authorization") == Some("Bearer t") {
            return registry(seen);
        }
        let both = format!(
            r#"Basic realm="quay", Bearer realm="http://{}/v2/auth",service="quay.io""#,
            seen.at
        );
        Reply::status(401).and("WWW-Authenticate", &both)
    })
    .await;
    rig.manifest("1").await.unwrap();
    assert_eq!(rig.seen(), ["GET 1", "GET auth", "GET 1"]);
}

#[tokio::test]
async fn red_hats_tags_are_asked_for_by_get_from_the_start() {
    let Moved(rig) = Moved::new("registry.redhat.io", Anonymous, |_| {
        Reply::ok(OCI_INDEX, MANIFEST)
    })
    .await;
    rig.head("1").await.unwrap();
    assert_eq!(rig.seen(), ["GET 1"]);
    // By digest nothing is missing in a HEAD.
    rig.head(&digest()).await.unwrap();
    assert_eq!(rig.server.seen()[1].method, "HEAD");
}

#[tokio::test]
async fn acr_learns_its_own_token_service_and_no_other_tenants() {
    for (other, allowed) in [(false, true), (true, false)] {
        let tasks = Tasks::new("tenant");
        let tenant = Server::start(&tasks, |_| token()).await;
        let elsewhere = tenant.url("/oauth2/token");
        let source = Fixed::password("robot", "hunter2");
        let Moved(rig) = Moved::new("contoso.azurecr.io", source, move |seen| {
            if seen.target.starts_with("/oauth2/token") {
                return token();
            }
            if seen.header("authorization") == Some("Bearer t") {
                return registry(seen);
            }
            let own = format!("http://{}/oauth2/token", seen.at);
            let realm = if other { &elsewhere } else { &own };
            let line = format!(r#"Bearer realm="{realm}",service="{}""#, seen.at);
            Reply::status(401).and("WWW-Authenticate", &line)
        })
        .await;
        assert_eq!(rig.manifest("1").await.is_ok(), allowed);
        assert!(tenant.seen().is_empty());
    }
}

#[tokio::test]
async fn plain_registries_are_not_asked_for_tokens() {
    for host in ["mcr.microsoft.com", "registry.k8s.io", "gcr.io", "dhi.io"] {
        let Moved(rig) = Moved::new(host, Anonymous, registry).await;
        rig.manifest("1").await.unwrap();
        assert_eq!(rig.seen(), ["GET 1"], "{host}");
    }
}
