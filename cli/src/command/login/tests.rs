//! Which issuer is meant, and a person who takes their time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use runtime::{clock::Clock, listener, tasks::Tasks};
use serde_json::{Value, json};
use wire::time::WallTime;

use super::*;
use crate::args::{self, Command};

#[test]
fn the_only_issuer_is_meant_when_none_is_named() {
    let named = |name: &str| SignIn {
        issuer: Some(name.to_owned()),
        ..SignIn::default()
    };
    let offered =
        |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
    let nobody = SignIn::default();
    let picked = |sign_in: &SignIn, names: &[&str]| pick(sign_in, &offered(names));
    assert_eq!(picked(&nobody, &[]).unwrap(), None);
    assert_eq!(picked(&nobody, &["corp"]).unwrap().as_deref(), Some("corp"));
    assert!(
        picked(&nobody, &["a", "b"])
            .unwrap_err()
            .to_string()
            .contains("a, b")
    );
    assert_eq!(
        picked(&named("b"), &["a", "b"]).unwrap().as_deref(),
        Some("b")
    );
    assert!(
        picked(&named("c"), &["a", "b"])
            .unwrap_err()
            .to_string()
            .contains("a, b")
    );
    assert!(picked(&named("c"), &[]).is_err());
}

/// A control plane that answers a poll with what is next.
type Polls = Arc<Mutex<(VecDeque<(u16, Value)>, Vec<String>)>>;

async fn begin() -> Response {
    // This machine's clock may be ahead of the control plane's by any time.
    let ends = WallTime(Clock::system().wall_ms() - 60_000);
    let begun = json!({"id": "canary-id", "userCode": "WDJB-MJHT", "verificationUri": "https://corp.example/d",
        "interval": 1, "expiresAt": ends.to_string()});
    begun.to_string().into_response()
}

async fn poll(State(polls): State<Polls>, uri: Uri) -> Response {
    let mut polls = polls.lock().unwrap();
    polls.1.push(uri.path().to_owned());
    let (status, body) = polls.0.pop_front().unwrap();
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

async fn control(answers: Vec<(u16, Value)>) -> (Url, Polls, Tasks) {
    runtime::tls::install_crypto();
    let polls: Polls = Arc::new(Mutex::new((answers.into(), Vec::new())));
    let router = Router::new()
        .route(
            "/api/v1/sign-in",
            get(|| async { r#"{"issuers":["corp"]}"# }),
        )
        .route("/api/v1/sign-in/device", post(begin))
        .route("/api/v1/sign-in/device/{id}", post(poll))
        .with_state(Arc::clone(&polls));
    let tasks = Tasks::new("control");
    let bound = listener::bind(listener::Config::new(([127, 0, 0, 1], 0).into()));
    let bound = bound.await.unwrap();
    let address = format!("http://{}", bound.local_addr()).parse().unwrap();
    bound.serve(router, &tasks);
    (address, polls, tasks)
}

fn global() -> Global {
    let args = args::Args::try_parse_from(["regmesh", "--quiet", "logout"]).unwrap();
    assert!(matches!(args.command, Command::Logout));
    args.global
}

fn problem(status: u16, code: &str) -> (u16, Value) {
    let problem = json!({"type": "about:blank", "status": status, "title": "t", "detail": code, "code": code});
    (status, problem)
}

#[tokio::test]
async fn a_person_who_takes_their_time_is_waited_for() {
    let until = WallTime(0).to_string();
    let signed_in = json!({"token": "canary-session", "expiresAt": until, "idToken": "a.b.c"});
    let answers = vec![
        (202, json!({"interval": 1})),
        problem(503, "issuer-away"),
        (200, signed_in),
    ];
    let (address, polls, _tasks) = control(answers).await;
    assert_eq!(
        device::offered(&global(), &address).await.unwrap(),
        ["corp"]
    );
    let signed_in = device::sign_in(&global(), &address, "corp").await.unwrap();
    assert_eq!(
        (signed_in.token.as_str(), signed_in.id_token.as_str()),
        ("canary-session", "a.b.c")
    );
    let asked = polls.lock().unwrap().1.clone();
    assert_eq!(asked, ["/api/v1/sign-in/device/canary-id"; 3]);
}

#[tokio::test]
async fn the_control_plane_says_when_the_time_is_over() {
    let (address, polls, _tasks) = control(vec![problem(404, "sign-in-ended")]).await;
    let ended = device::sign_in(&global(), &address, "corp").await;
    let ended = format!("{:#}", ended.map(drop).unwrap_err());
    assert!(ended.contains("in time: "), "{ended}");
    assert_eq!(polls.lock().unwrap().1.len(), 1);
}

#[test]
fn signing_out_says_until_when_a_copy_of_the_token_is_worth_something() {
    let address: Url = "http://127.0.0.1:7080".parse().unwrap();
    let told = |expires_at: Option<&str>| {
        let login = Login {
            who: "account:ci".to_owned(),
            token: "canary".to_owned(),
            expires_at: expires_at.map(str::to_owned),
            id_token: None,
        };
        signed_out(&address, &login)
    };
    let session = told(Some("2026-11-20T20:00:00.000Z"));
    assert!(
        session.contains("until 2026-11-20T20:00:00.000Z"),
        "{session}"
    );
    assert!(told(None).contains("until it is changed"));
    assert!(!session.contains("canary"));
}

#[tokio::test]
async fn a_person_who_says_no_is_not_asked_again() {
    let (address, polls, _tasks) = control(vec![problem(403, "sign-in-denied")]).await;
    let denied = device::sign_in(&global(), &address, "corp").await;
    let denied = format!("{:#}", denied.map(drop).unwrap_err());
    assert!(
        denied.contains("sign-in-denied") && !denied.contains("canary"),
        "{denied}"
    );
    assert_eq!(polls.lock().unwrap().1.len(), 1);
}
