//! Callers with tokens of issuers: a CI job pushes, a rule promotes what it pushed, a cluster's pods pull; wrong tokens get nowhere.

use serde_json::{Value, json};
use tests::client::Reply;
use tests::eventually::eventually;
use tests::issuer::{Issuer, github, github_with_ids, kubernetes};
use tests::jwt::{Key, Wrong};
use tests::{Client, Fleet, Image};

use super::{basic, fleet, post};

/// Declares an issuer and gives a role to a claim.
pub(super) fn declare(
    fleet: &mut Fleet,
    name: &str,
    spec: &str,
    role: &str,
    claims: &str,
    on: &str,
) {
    fleet.topology.set("issuers", name, spec);
    fleet.topology.allow(&format!("{{allow: {role}, to: {{issuer: {name}, claims: {claims}}}, on: {on}, repositories: [\"team-a/*\"]}}"));
}

fn with_token(fleet: &Fleet, node: &str, token: &str) -> Client {
    fleet.client(node).with_account("oidc", token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_ci_job_pushes_to_dev_is_promoted_to_prod_by_an_identity_and_told_there() {
    let mut fleet = fleet(2).await;
    let issuer = Issuer::github().await;
    let (host, image) = (fleet.host("dev"), Image::single(8_500).build());
    let claims = github_with_ids("contoso/api", "main", &host);
    let id = claims["repository_id"].as_str().unwrap().to_owned();
    let claim = format!("{{repository_id: \"{id}\", ref: refs/heads/main}}");
    declare(
        &mut fleet,
        "ci",
        &format!("{{url: \"{}\"}}", issuer.url()),
        "repository-writer",
        &claim,
        "dev",
    );
    fleet.topology.allow(
        "{allow: repository-reader, to: \"identity:prod\", on: dev, repositories: [\"team-a/*\"]}",
    );
    fleet.topology.set("rules", "promote", "{on: prod, source: \"node://dev/team-a/api\", target: promoted/team-a/api, identity: prod}");
    fleet.apply().await.well();
    // Another branch, another repository: no push.
    for claims in [
        github("contoso/api", "feature", &host),
        github("mallory/api", "main", &host),
    ] {
        let client = with_token(&fleet, "dev", &issuer.token(&claims));
        let pushed = client.push("team-a/api", &["1"], &image).await;
        assert!(pushed.is_err(), "{pushed:?}");
    }
    let job = with_token(&fleet, "dev", &issuer.token(&claims));
    job.push("team-a/api", &["1"], &image).await.unwrap();
    let pull = ["pull", "prod/promoted/team-a/api:1", "--wait", "-o", "json"];
    let pulled = fleet.regmesh(&pull).await.well().json();
    assert_eq!(pulled["digest"], image.digest.to_string(), "{pulled:#}");
    eventually("prod tells of it", || {
        let told = fleet.hook.of_action("push");
        let of = |event: &&Value| {
            event["regmesh"]["node"] == "prod"
                && event["target"]["repository"] == "promoted/team-a/api"
                && event["target"]["digest"] == image.digest.to_string()
        };
        if told.iter().any(|event| of(&event)) {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
}

pub(super) async fn ask(fleet: &Fleet, authorization: &str) -> Reply {
    let client = fleet
        .client("dev")
        .with_header("authorization", authorization);
    client.get("/v2/team-a/app/tags/list").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clusters_tokens_are_believed_and_no_wrong_one_by_any_door() {
    let mut fleet = closed().await;
    let issuer = Issuer::kubernetes("canary-discovery").await;
    let claim = "{/kubernetes.io/namespace: apps}";
    let keys = fleet.write("jwks.json", &json!({"keys": [{"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "pq"}, issuer.key("RS256").jwk(), issuer.key("ES256").jwk()]}).to_string());
    let spec = format!(
        "{{url: \"{}\", jwks: \"{keys}\", algorithms: [RS256, ES256]}}",
        issuer.url()
    );
    declare(
        &mut fleet,
        "cluster",
        &spec,
        "repository-reader",
        claim,
        "dev",
    );
    fleet.apply().await.well();
    let host = fleet.host("dev");
    let pod = kubernetes("apps", "puller", &host);
    let zeros = "00000000-0000-0000-0000-000000000000";
    for alg in ["RS256", "ES256"] {
        let token = issuer.token_by(alg, &pod);
        for user in ["oidc", zeros] {
            let reply = ask(&fleet, &basic(user, &token)).await;
            assert!(let_in(&reply), "{alg} {user}: {reply:?}");
        }
    }
    let elsewhere = issuer.token(&kubernetes("other", "puller", &host));
    assert_eq!(ask(&fleet, &basic("oidc", &elsewhere)).await.status, 403);
    // Every wrong token by every door.
    let (exchange, token) = (
        fleet.url("dev") + "/oauth2/exchange",
        fleet.url("dev") + "/oauth2/token",
    );
    let http = fleet.http(None);
    for wrong in Wrong::ALL {
        let bad = issuer.wrong(&pod, wrong);
        let reply = ask(&fleet, &basic("oidc", &bad)).await;
        assert_eq!(reply.status, 401, "{wrong:?}: {reply:?}");
        let form = [
            ("grant_type", "access_token"),
            ("service", host.as_str()),
            ("access_token", bad.as_str()),
        ];
        let reply = post(&http, &exchange, &form).await;
        assert!(matches!(reply.status, 400 | 401), "{wrong:?}: {reply:?}");
        let form = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("subject_token", bad.as_str()),
        ];
        let reply = post(&http, &token, &form).await;
        assert!(matches!(reply.status, 400 | 401), "{wrong:?}: {reply:?}");
    }
    assert_eq!(issuer.record().len(), 0, "{:#?}", issuer.record());
}

/// One node that lets nobody in but whom a test names.
pub(super) async fn closed() -> Fleet {
    let mut fleet = fleet(1).await;
    fleet
        .topology
        .deny("{allow: repository-reader, to: anonymous, on: dev}");
    fleet
}

/// A closed node that takes jobs of one repository.
async fn of_jobs() -> (Fleet, Issuer, Value) {
    let mut fleet = closed().await;
    let issuer = Issuer::github().await;
    let claims = github("contoso/app", "main", &fleet.host("dev"));
    let spec = format!("{{url: \"{}\"}}", issuer.url());
    let claim = "{repository: contoso/app}";
    declare(&mut fleet, "ci", &spec, "repository-reader", claim, "dev");
    fleet.apply().await.well();
    (fleet, issuer, claims)
}

/// Somebody who is let in, to what is not there.
pub(super) fn let_in(reply: &Reply) -> bool {
    reply.status == 404
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_an_issuer_outlive_its_absence_and_a_restart() {
    let (mut fleet, issuer, claims) = of_jobs().await;
    let reply = ask(&fleet, &basic("oidc", &issuer.token(&claims))).await;
    assert!(let_in(&reply), "{reply:?}");
    issuer.stop().await;
    let reply = ask(&fleet, &basic("oidc", &issuer.token(&claims))).await;
    assert!(let_in(&reply), "{reply:?}");
    fleet.restart("dev").await;
    let reply = ask(&fleet, &basic("oidc", &issuer.token(&claims))).await;
    assert!(let_in(&reply), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_followed_and_a_flood_of_unknown_keys_costs_the_issuer_nothing() {
    let (mut fleet, issuer, claims) = of_jobs().await;
    let reply = ask(&fleet, &basic("oidc", &issuer.token(&claims))).await;
    assert!(let_in(&reply), "{reply:?}");
    let old = issuer.rotate();
    let rotated = issuer.token(&claims);
    // An issuer is asked once a minute for keys that are not known; a new process has its minute before it.
    fleet.restart("dev").await;
    let reply = ask(&fleet, &basic("oidc", &rotated)).await;
    assert!(let_in(&reply), "{reply:?}");
    let before = issuer.key_fetches();
    for n in 0..30 {
        let key = Key::es256(&format!("flood-{n}"));
        let forged = key.token(&issuer.complete(&claims));
        let reply = ask(&fleet, &basic("oidc", &forged)).await;
        assert!(matches!(reply.status, 401 | 429), "{reply:?}");
    }
    assert!(issuer.key_fetches() == before, "{:#?}", issuer.record());
    let reply = ask(&fleet, &basic("oidc", &rotated)).await;
    assert!(let_in(&reply), "a good key was put out: {reply:?}");
    let gone = old[0].token(&issuer.complete(&claims));
    let reply = ask(&fleet, &basic("oidc", &gone)).await;
    assert!(matches!(reply.status, 401 | 429), "{reply:?}");
}
