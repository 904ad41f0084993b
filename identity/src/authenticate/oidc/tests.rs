//! Genuine tokens as the well-known issuers write them, and how issuers fare from one slice to the next. What must not be believed is
//! in `attack`.

use std::{sync::Arc, time::Duration};

use runtime::Clock;
use serde_json::{Map, Value, json};

use super::*;
use crate::keys::{
    memory::Memory,
    rig::{self, Issuer, Says, Signer, around, key_set},
};

mod attack;

const NOW: WallTime = WallTime(1_800_000_000_000);
const NODE: &str = "dev.registry.example:5000";
const GITHUB: &str = "https://token.actions.githubusercontent.com";
const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

fn declared(name: &str, url: &str) -> Declared {
    Declared {
        name: name.parse().unwrap(),
        place: rig::place(url),
        audiences: vec![NODE.to_owned()],
        client_id: None,
        algorithms: Vec::new(),
        assigned: true,
    }
}

/// One issuer, GitHub, that publishes the keys of `signers`.
fn github(signers: &[&Signer], change: impl FnOnce(&mut Declared)) -> (Issuers, Arc<Memory>) {
    let source = Arc::new(Memory::publishing(key_set(signers)));
    let mut declared = declared("github", GITHUB);
    change(&mut declared);
    let keys: Arc<dyn KeySource> = Arc::<Memory>::clone(&source);
    (Issuers::with([(declared, keys)]), source)
}

fn claims() -> Value {
    let now = NOW.seconds();
    json!({
        "iss": GITHUB, "aud": NODE, "sub": "repo:contoso/api:ref:refs/heads/main", "repository_id": "7",
        "iat": now - 10, "nbf": now - 10, "exp": now + 300
    })
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn verify(issuers: &Issuers, token: &str) -> Result<Option<Verified>, Error> {
    issuers.verify(&Secret::from(token), NOW).await
}

async fn refused(issuers: &Issuers, token: &str) -> bool {
    matches!(
        verify(issuers, token).await,
        Err(Error::Refused(Refused::Token))
    )
}

async fn accepted(issuers: &Issuers, token: &str) -> Verified {
    verify(issuers, token).await.unwrap().unwrap()
}

#[tokio::test]
async fn github_in_both_forms_of_its_subject_kubernetes_and_entra_in_both_versions_are_known() {
    let key = Signer::new("RS256", "a");
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let source: Arc<dyn KeySource> = Arc::new(Memory::publishing(key_set(&[&key])));
    let mut entra = declared("entra", &v2);
    entra.audiences = vec!["66666666-7777-8888-9999-000000000000".to_owned()];
    let mut old = declared("entra-v1", &v1);
    old.audiences = vec!["api://regmesh".to_owned()];
    let all = [
        declared("github", GITHUB),
        declared("cluster", CLUSTER),
        entra,
        old,
    ];
    let issuers = Issuers::with(all.map(|declared| (declared, Arc::clone(&source))));
    let pod = json!({
        "iss": CLUSTER, "aud": [NODE], "sub": "system:serviceaccount:prod:puller",
        "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "puller", "uid": "1-2-3"}, "pod": {"name": "p", "uid": "4"}}
    });
    let cases = [
        ("github", json!({}), "repo:contoso/api:ref:refs/heads/main"),
        (
            "github",
            json!({"sub": "repo:contoso@12/api@34:ref:refs/heads/main"}),
            "repo:contoso@12/api@34:ref:refs/heads/main",
        ),
        ("cluster", pod, "system:serviceaccount:prod:puller"),
        (
            "entra",
            json!({"iss": v2, "aud": "66666666-7777-8888-9999-000000000000", "sub": "s", "oid": "o", "tid": TENANT, "ver": "2.0", "groups": ["a", "b"]}),
            "s",
        ),
        (
            "entra-v1",
            json!({"iss": v1, "aud": "api://regmesh", "sub": "s", "appid": "a", "ver": "1.0", "acr": "1", "amr": ["pwd"]}),
            "s",
        ),
        // As Cognito and Auth0 write ID tokens.
        (
            "github",
            json!({"sub": "s", "email_verified": "true", "updated_at": "2026-11-20T12:00:00Z", "iat": NOW.seconds() as f64 - 0.5}),
            "s",
        ),
    ];
    for (name, changes, subject) in cases {
        let claims = with(&changes);
        let verified = accepted(&issuers, &key.token(&claims)).await;
        let Principal::Workload {
            issuer,
            claims: kept,
        } = &verified.principal
        else {
            unreachable!()
        };
        assert_eq!(issuer.as_str(), name);
        assert_eq!(Value::Object(Map::clone(kept)), claims);
        assert_eq!(
            verified.principal.to_string(),
            format!("issuer:{name}:{subject}")
        );
        assert_eq!(verified.expires, NOW.plus(Duration::from_secs(300)));
        assert!(!verified.person);
    }
    // The other version of the same tenant, and a tenant that is not declared.
    let swapped = with(&json!({"iss": v1, "aud": "66666666-7777-8888-9999-000000000000"}));
    assert!(refused(&issuers, &key.token(&swapped)).await);
    let foreign = v2.replace('9', "8");
    let foreign = key.token(&with(&json!({"iss": foreign})));
    assert!(verify(&issuers, &foreign).await.unwrap().is_none());
}

#[tokio::test]
async fn every_algorithm_that_is_declared_works_and_no_other() {
    let all = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    ];
    for alg in all {
        let key = Signer::new(alg, "a");
        let token = key.token(&claims());
        let (issuers, _) = github(&[&key], |it| it.algorithms = vec![alg.to_owned()]);
        accepted(&issuers, &token).await;
        let others = all.iter().filter(|other| **other != alg);
        let others: Vec<String> = others.map(|other| (*other).to_owned()).collect();
        let (issuers, source) = github(&[&key], |it| it.algorithms = others);
        assert!(refused(&issuers, &token).await, "{alg}");
        assert_eq!(source.asked(), 0);
        let (issuers, _) = github(&[&key], |_| ());
        let by_default = matches!(alg, "RS256" | "ES256");
        assert_eq!(verify(&issuers, &token).await.is_ok(), by_default, "{alg}");
    }
}

#[tokio::test]
async fn a_persons_token_is_for_the_client_id_and_a_workloads_is_not() {
    let key = Signer::new("ES256", "a");
    let (issuers, _) = github(&[&key], |it| it.client_id = Some("regmesh-cli".to_owned()));
    for (aud, person) in [
        (json!("regmesh-cli"), true),
        (json!(["regmesh-cli"]), true),
        (json!([NODE, "regmesh-cli"]), true),
        (json!(NODE), false),
    ] {
        let token = key.token(&with(
            &json!({"aud": aud, "nonce": "n", "azp": "regmesh-cli"}),
        ));
        assert_eq!(accepted(&issuers, &token).await.person, person, "{aud}");
    }
}

#[tokio::test]
async fn of_two_entries_for_one_issuer_the_one_counts_whose_audience_the_token_has() {
    let key = Signer::new("ES256", "a");
    let source: Arc<dyn KeySource> = Arc::new(Memory::publishing(key_set(&[&key])));
    let mut second = declared("second", GITHUB);
    second.audiences = vec!["b".to_owned()];
    let issuers =
        Issuers::with([declared("first", GITHUB), second].map(|it| (it, Arc::clone(&source))));
    for (aud, name) in [(NODE, "issuer:first:"), ("b", "issuer:second:")] {
        let verified = accepted(&issuers, &key.token(&with(&json!({"aud": aud})))).await;
        assert!(verified.principal.to_string().starts_with(name));
    }
    let both = key.token(&with(&json!({"aud": [NODE, "b"]})));
    assert!(refused(&issuers, &both).await);
    assert!(issuers.declares(&"first".parse().unwrap(), GITHUB));
    assert!(!issuers.declares(&"first".parse().unwrap(), "https://other.example"));
    assert!(!issuers.declares(&"third".parse().unwrap(), GITHUB));
}

/// Clusters like to have the same URL, and every node knows the issuers of all of them.
#[tokio::test]
async fn of_issuers_with_one_url_the_one_counts_that_something_is_assigned_to() {
    let (theirs, ours) = (Signer::new("ES256", "a"), Signer::new("ES256", "b"));
    let keys = |signer| Arc::new(Memory::publishing(key_set(&[signer]))) as Arc<dyn KeySource>;
    let of = |name, assigned| Declared {
        assigned,
        ..declared(name, CLUSTER)
    };
    let issuers = Issuers::with([
        (of("another-cluster", false), keys(&theirs)),
        (of("cluster", true), keys(&ours)),
    ]);
    let claims = with(&json!({"iss": CLUSTER}));
    let verified = accepted(&issuers, &ours.token(&claims)).await;
    assert!(
        verified
            .principal
            .to_string()
            .starts_with("issuer:cluster:")
    );
    assert!(refused(&issuers, &theirs.token(&claims)).await);
}

/// Nobody misses its keys: whoever shows its tokens is merely not known, as long as they cannot be had.
#[tokio::test]
async fn an_issuer_that_nothing_is_assigned_to_is_not_waited_for() {
    let key = Signer::new("ES256", "a");
    let (issuers, source) = github(&[&key], |declared| declared.assigned = false);
    source.set_away(true);
    let token = key.token(&claims());
    assert!(refused(&issuers, &token).await);
    source.set_away(false);
    accepted(&issuers, &token).await;
}

#[tokio::test]
async fn a_verified_token_is_remembered_until_it_ends_or_the_keys_change() {
    let (key, other) = (Signer::new("ES256", "a"), Signer::new("ES256", "b"));
    let (issuers, source) = github(&[&key], |_| ());
    let token = key.token(&claims());
    let at = |now| {
        let (issuers, token) = (&issuers, Secret::from(token.as_str()));
        async move { issuers.verify(&token, now).await.is_ok() }
    };
    for _ in 0..2 {
        assert!(at(NOW).await);
        assert!(at(NOW.plus(Duration::from_secs(359))).await);
        assert!(!at(NOW.plus(Duration::from_secs(360))).await);
        assert!(at(NOW.minus(Duration::from_secs(70))).await);
        assert!(!at(NOW.minus(Duration::from_secs(71))).await);
    }
    assert_eq!(source.asked(), 1);
    // The key is withdrawn: the next unknown one brings the news, and what was verified by the old one counts no more.
    source.rotate(key_set(&[&other]));
    assert!(at(NOW).await);
    accepted(&issuers, &other.token(&claims())).await;
    assert!(refused(&issuers, &token).await);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_away_and_its_known_keys_go_on() {
    let (key, other) = (Signer::new("ES256", "a"), Signer::new("ES256", "b"));
    let (issuers, source) = github(&[&key], |_| ());
    source.set_away(true);
    let away = |result| matches!(result, Err(Error::Unavailable { .. }));
    let token = key.token(&claims());
    assert!(away(verify(&issuers, &token).await));
    // What is wrong without any key is wrong whether the issuer is there or not.
    let over = key.token(&with(&json!({"exp": NOW.seconds() - 61})));
    assert!(refused(&issuers, &over).await);
    source.set_away(false);
    accepted(&issuers, &token).await;
    source.set_away(true);
    accepted(&issuers, &token).await;
    accepted(&issuers, &key.token(&with(&json!({"jti": "2"})))).await;
    // Whether this is a new key of the issuer's cannot be known.
    assert!(away(verify(&issuers, &other.token(&claims())).await));
}

#[tokio::test]
async fn what_stays_the_same_in_the_next_slice_is_not_asked_for_again() {
    let (clock, issuer) = (Clock::manual(NOW.0), Issuer::start().await);
    let around = around(&clock, None);
    let key = Signer::new("ES256", "a");
    issuer.publish(&[&key]);
    let token = key.token(&with(&json!({"iss": issuer.url})));
    let of = |change: &dyn Fn(&mut Declared), previous: Option<&Issuers>| {
        let mut declared = declared("cluster", &issuer.url);
        change(&mut declared);
        Issuers::new([declared], &around, previous)
    };
    let first = of(&|_| (), None);
    accepted(&first, &token).await;
    assert_eq!(issuer.asked().len(), 2);
    issuer.jwks(Says::Silence);
    let same = of(&|_| (), Some(&first));
    accepted(&same, &token).await;
    // Another audience: the keys are still known, and what was verified for the old one is forgotten.
    let narrowed = of(&|it| it.audiences = vec!["b".to_owned()], Some(&same));
    assert!(refused(&narrowed, &token).await);
    let widened = of(&|it| it.audiences.push("b".to_owned()), Some(&narrowed));
    accepted(&widened, &token).await;
    assert!(issuer.asked().is_empty());
    // Its keys are elsewhere now.
    let moved = |it: &mut Declared| it.place = rig::at_uri(&issuer.url, "http://localhost:1/");
    let moved = of(&moved, Some(&widened));
    assert!(matches!(
        verify(&moved, &token).await,
        Err(Error::Unavailable { .. })
    ));
    assert!(
        !Issuers::new([], &around, Some(&moved)).declares(&"cluster".parse().unwrap(), &issuer.url)
    );
}
