//! Promises of Azure identities, against emulators on loopback: the real address of IMDS is never asked.

use std::{process::Command, time::Duration};

use runtime::{Clock, Secret, Tasks};

use super::*;
use crate::token_source::{
    conformance,
    scripted::{Answer, Asked, Scripted, in_seconds, json, silence},
};

const ACR: &str = "contoso.azurecr.io";
const CANARY: &str = "canary-eyJhbGciOiJSUzI1NiJ9.e30.c2ln";

fn id(client_id: &str) -> Id {
    Id {
        client_id: Some(client_id.to_owned()),
        ..Id::default()
    }
}

/// What IMDS really answers: numbers are strings.
fn imds(token: &str) -> Answer {
    let (from, until) = (in_seconds(-10), in_seconds(86_390));
    json(
        200,
        &format!(
            r#"{{"access_token":"{token}","client_id":"c","expires_in":"86390","expires_on":"{until}","ext_expires_in":"86399","not_before":"{from}","resource":"https://containerregistry.azure.net","token_type":"Bearer"}}"#
        ),
    )
}

async fn rig(
    attempt: Duration,
    answers: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
) -> (Tasks, Scripted, Machine) {
    let tasks = Tasks::new("test");
    let server = Scripted::start(&tasks, answers).await;
    let machine = Machine::with_imds_at(
        Environment::default(),
        attempt,
        Clock::system(),
        server.url.clone(),
    );
    (tasks, server, machine.unwrap())
}

fn source(machine: &Machine, id: Id, tasks: &Tasks) -> Azure {
    Azure::new(machine.clone(), id, None, ACR, tasks).unwrap()
}

async fn failure(machine: &Machine, tasks: &Tasks) -> Error {
    source(machine, id("c"), tasks).proof().await.unwrap_err()
}

#[tokio::test]
async fn imds_gives_one_token_for_many_and_is_asked_as_it_wants_it() {
    let (tasks, server, machine) = rig(ATTEMPT, |_, _| imds("entra")).await;
    let azure = source(&machine, id("c"), &tasks);
    conformance::check(&azure).await;
    let presented = azure.proof().await.unwrap();
    let Proof::Token(token) = &presented.proof else {
        unreachable!("a token");
    };
    assert_eq!((token.expose().as_str(), presented.version), ("entra", 1));
    let ends = azure.ends().unwrap().seconds();
    assert!(
        (in_seconds(86_300)..=in_seconds(86_400)).contains(&ends),
        "{ends}"
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "warm ones cost nothing");
    assert!(
        asked[0]
            .line
            .starts_with("GET /metadata/identity/oauth2/token?"),
        "{asked:?}"
    );
    assert_eq!(
        asked[0].query("resource").unwrap(),
        "https://containerregistry.azure.net"
    );
    assert_eq!(asked[0].query("client_id").unwrap(), "c");
    assert_eq!(asked[0].header("metadata"), Some("true"));
}

#[tokio::test]
async fn an_identity_is_named_by_what_it_was_declared_by() {
    let (tasks, server, machine) = rig(ATTEMPT, |_, _| imds("t")).await;
    let object = Id {
        object_id: Some("o".into()),
        ..Id::default()
    };
    let resource = Id {
        resource_id: Some("/subscriptions/s".into()),
        ..Id::default()
    };
    for id in [object, resource, Id::default()] {
        source(&machine, id, &tasks).proof().await.unwrap();
    }
    let asked = server.asked();
    assert_eq!(asked[0].query("object_id").unwrap(), "o");
    assert_eq!(asked[1].query("msi_res_id").unwrap(), "/subscriptions/s");
    let named = ["client_id", "object_id", "msi_res_id"];
    assert!(named.iter().all(|name| asked[2].query(name).is_none()));
}

#[tokio::test]
async fn two_rules_with_one_identity_have_a_token_each() {
    let (tasks, server, machine) = rig(ATTEMPT, |number, _| imds(&format!("t{number}"))).await;
    for wanted in ["t0", "t1"] {
        let proof = source(&machine, id("c"), &tasks)
            .proof()
            .await
            .unwrap()
            .proof;
        let Proof::Token(token) = proof else {
            unreachable!("a token");
        };
        assert_eq!(token.expose(), wanted);
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn not_assigned_is_no_permission_and_a_strange_resource_is_a_refusal() {
    let body = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
    let (tasks, _server, machine) = rig(ATTEMPT, move |_, _| json(400, body)).await;
    let error = failure(&machine, &tasks).await;
    assert!(matches!(error, Error::NotAttached { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("IMDS") && text.contains("Identity not found"),
        "{text}"
    );
    let body = r#"{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal was not found"}"#;
    let (tasks, _server, machine) = rig(ATTEMPT, move |_, _| json(400, body)).await;
    let error = failure(&machine, &tasks).await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn imds_that_is_silent_busy_or_broken_is_away_and_ends_by_our_limit() {
    let busy = || (429, vec![("retry-after", "17".to_owned())], String::new());
    let numeric = format!(
        r#"{{"access_token":"{CANARY}","expires_on":{},"resource":"r","token_type":"Bearer"}}"#,
        in_seconds(60)
    );
    let ended = format!(
        r#"{{"access_token":"{CANARY}","expires_on":"{}","resource":"r","token_type":"Bearer"}}"#,
        in_seconds(-60)
    );
    let long = "x".repeat(300 * 1024);
    let cases: Vec<(Answer, &str, Option<u64>)> = vec![
        (silence(), "gave no token within 0.3 s", None),
        (busy(), "it answered 429", Some(17)),
        (json(500, "{}"), "it answered 500", None),
        (json(404, ""), "it answered 404", None),
        (json(200, &numeric), "answers with what is no token", None),
        (json(200, &ended), "ended by this node's clock", None),
        (json(200, &long), "longer than", None),
        (json(200, "<html>"), "answers with what is no token", None),
    ];
    for (answer, wanted, after) in cases {
        let limit = Duration::from_millis(300);
        let (tasks, _server, machine) = rig(limit, move |_, _| answer.clone()).await;
        let error = failure(&machine, &tasks).await;
        let Error::Away {
            detail,
            retry_after,
        } = &error
        else {
            unreachable!("{wanted}: {error:?}");
        };
        assert!(
            detail.contains("IMDS") && detail.contains(wanted),
            "{wanted}: {detail}"
        );
        assert_eq!(*retry_after, after.map(Duration::from_secs), "{wanted}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn a_machine_without_imds_is_known_at_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let (tasks, url) = (Tasks::new("test"), Url::parse(&url).unwrap());
    // Far longer than the test may take: it is not the limit that ends this.
    let limit = Duration::from_secs(3600);
    let machine = Machine::with_imds_at(Environment::default(), limit, Clock::system(), url);
    let error = failure(&machine.unwrap(), &tasks).await;
    assert!(error.to_string().contains("cannot be asked: "), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let tasks = Tasks::new("test");
    let thief = Scripted::start(&tasks, |_, _| imds("stolen")).await;
    let to = thief.at("/metadata");
    let answers = move |_: usize, _: &Asked| (302, vec![("location", to.clone())], String::new());
    let (tasks, _server, machine) = rig(ATTEMPT, answers).await;
    let error = failure(&machine, &tasks).await;
    assert!(error.to_string().contains("not followed"), "{error}");
    assert!(thief.asked().is_empty());
}

#[test]
fn the_audience_of_registries_is_for_registries() {
    let own = Some("api://node/.default");
    let acr = Some("https://containerregistry.azure.net/.default");
    let cases = [
        (None, ACR, true),
        (None, "contoso.azurecr.cn", true),
        (None, "127.0.0.1:5000", true),
        (None, "localhost:5000", true),
        (None, "[::1]:5000", true),
        (None, "hub.contoso.example", false),
        (None, "evilazurecr.io", false),
        (None, "localhost.evil.example", false),
        (acr, "hub.contoso.example", false),
        (acr, ACR, true),
        (own, "hub.contoso.example", true),
    ];
    for (scope, host, allowed) in cases {
        let got = scope_for(scope, host);
        assert_eq!(got.is_ok(), allowed, "{scope:?} {host}");
    }
    assert_eq!(scope_for(own, ACR).unwrap(), "api://node/.default");
}

/// A pod's environment, with Entra on loopback.
async fn pod(
    file: &std::path::Path,
    answers: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
) -> (Tasks, Scripted, Machine) {
    let tasks = Tasks::new("test");
    let server = Scripted::start(&tasks, answers).await;
    let environment = Environment {
        client_id: Some("pod-client".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        token_file: Some(file.to_owned()),
        authority: Some(server.url.to_string()),
        ..Environment::default()
    };
    let limit = Duration::from_millis(500);
    let machine = Machine::new(environment, limit, Clock::system()).unwrap();
    (tasks, server, machine)
}

#[tokio::test]
async fn a_pod_shows_entra_its_token_and_is_told_apart_from_its_machine() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{CANARY}\n")).unwrap();
    let granted =
        r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"entra"}"#;
    let (tasks, server, machine) = pod(&file, move |_, _| json(200, granted)).await;
    let azure = source(&machine, Id::default(), &tasks);
    conformance::check(&azure).await;
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /tenant/oauth2/v2.0/token");
    for (field, wanted) in [
        ("client_id", "pod-client"),
        ("grant_type", "client_credentials"),
        ("client_assertion", CANARY),
        ("scope", acr::SCOPE),
    ] {
        assert_eq!(asked[0].field(field).as_deref(), Some(wanted), "{field}");
    }
    source(&machine, id("other"), &tasks).proof().await.unwrap();
    assert_eq!(server.asked()[1].field("client_id").unwrap(), "other");
    std::fs::remove_file(&file).unwrap();
    let error = failure(&machine, &tasks).await;
    assert!(matches!(error, Error::Away { .. }));
    assert!(error.to_string().contains("token: "), "{error}");
}

#[tokio::test]
async fn what_entra_says_is_judged_and_shown_without_the_assertion() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, CANARY).unwrap();
    let body = |code: u32, error: &str| {
        format!(
            r#"{{"error":"{error}","error_description":"AADSTS{code}: about {CANARY}","error_codes":[{code}],"trace_id":"t","correlation_id":"c"}}"#
        )
    };
    let cases = [
        (401, body(70_021, "invalid_client"), false),
        (400, body(700_016, "unauthorized_client"), true),
        (401, body(7_000_215, "invalid_client"), true),
        (503, String::new(), false),
    ];
    for (status, body, refused) in cases {
        let said = body.clone();
        let (tasks, _server, machine) = pod(&file, move |_, _| json(status, &said)).await;
        let error = failure(&machine, &tasks).await;
        assert_eq!(
            matches!(error, Error::Refused { .. }),
            refused,
            "{body}: {error:?}"
        );
        let text = format!("{error} {error:?}");
        assert!(text.contains("Entra (127.0.0.1)"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn an_authority_beyond_loopback_is_https() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, CANARY).unwrap();
    let environment = Environment {
        client_id: Some("c".to_owned()),
        tenant_id: Some("t".to_owned()),
        token_file: Some(file),
        authority: Some("http://login.example".to_owned()),
        ..Environment::default()
    };
    let (tasks, machine) = (
        Tasks::new("test"),
        Machine::new(environment, ATTEMPT, Clock::system()),
    );
    let error = failure(&machine.unwrap(), &tasks).await;
    assert!(error.to_string().contains("is not https"), "{error}");
}

/// The crate reads the process's own environment, so this test runs itself as a process that has one.
#[tokio::test]
async fn app_service_is_asked_where_its_environment_says_and_no_proxy_is_in_between() {
    const NAME: &str = "token_source::azure::tests::app_service_is_asked_where_its_environment_says_and_no_proxy_is_in_between";
    if std::env::var("REGMESH_TEST_CHILD").is_ok() {
        return inside().await;
    }
    let tasks = Tasks::new("test");
    let server = Scripted::start(&tasks, |_, _| {
        let until = in_seconds(3600);
        json(
            200,
            &format!(
                r#"{{"access_token":"app","client_id":"c","expires_on":"{until}","not_before":"1","resource":"r","token_type":"Bearer"}}"#
            ),
        )
    })
    .await;
    let thief = Scripted::start(&tasks, |_, _| json(502, "")).await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", NAME, "--nocapture"])
        .env("REGMESH_TEST_CHILD", "1")
        .env("IDENTITY_ENDPOINT", server.at("/msi/token"))
        .env("IDENTITY_HEADER", CANARY)
        .env("HTTP_PROXY", thief.url.as_str())
        .env("http_proxy", thief.url.as_str());
    let run = move || child.output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    let asked = server.asked();
    assert_eq!(
        asked.len(),
        1,
        "a resource id is refused before anything is asked"
    );
    assert!(asked[0].line.starts_with("GET /msi/token?"), "{asked:?}");
    assert_eq!(asked[0].header("x-identity-header"), Some(CANARY));
    assert_eq!(asked[0].query("client_id").unwrap(), "c");
    assert!(thief.asked().is_empty());
}

async fn inside() {
    let environment = Environment::read(|name| std::env::var(name).ok());
    let (tasks, machine) = (
        Tasks::new("test"),
        Machine::new(environment, ATTEMPT, Clock::system()),
    );
    let machine = machine.unwrap();
    let proof = source(&machine, id("c"), &tasks)
        .proof()
        .await
        .unwrap()
        .proof;
    assert!(
        matches!(proof, Proof::Token(token) if token.expose() == &Secret::from("app").expose().clone())
    );
    let resource = Id {
        resource_id: Some("/s".into()),
        ..Id::default()
    };
    let error = source(&machine, resource, &tasks)
        .proof()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotAttached { .. }), "{error:?}");
}
