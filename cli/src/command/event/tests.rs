//! A control plane that breaks its stream off, and the time of what happened.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Parser;
use runtime::{listener, tasks::Tasks};
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::{args::Args, client::NOTHING};

/// What the control plane still answers, and the ids that streams were asked for after.
type Script = Arc<Mutex<(VecDeque<Result<Vec<u64>, u16>>, Vec<String>)>>;

fn entry(sequence: u64) -> Value {
    json!({"sequence": sequence, "at": "2026-11-20T12:00:09.000Z", "kind": "push", "text": "pushed"})
}

async fn events(State(script): State<Script>, headers: HeaderMap) -> Response {
    let Some(last) = headers.get("last-event-id") else {
        return json!({"items": [entry(5)]}).to_string().into_response();
    };
    let mut script = script.lock().unwrap();
    script.1.push(last.to_str().unwrap().to_owned());
    match script.0.pop_front().unwrap() {
        Ok(sequences) => {
            let told = sequences
                .iter()
                .map(|n| format!("id: {n}\ndata: {}\n\n", entry(*n)));
            Body::from(told.collect::<String>()).into_response()
        }
        Err(status) => {
            let body = json!({"status": status, "title": "t", "detail": "no", "code": "no"});
            let status = StatusCode::from_u16(status).unwrap();
            (status, body.to_string()).into_response()
        }
    }
}

async fn client(answers: Vec<Result<Vec<u64>, u16>>) -> (Client, Script, Tasks) {
    runtime::tls::install_crypto();
    let script: Script = Arc::new(Mutex::new((answers.into(), Vec::new())));
    let router = Router::new().route("/api/v1/events", get(events));
    let tasks = Tasks::new("control");
    let bound = listener::bind(listener::Config::new(([127, 0, 0, 1], 0).into()));
    let bound = bound.await.unwrap();
    let address: Url = format!("http://{}", bound.local_addr()).parse().unwrap();
    bound.serve(router.with_state(Arc::clone(&script)), &tasks);
    let args = Args::try_parse_from(["regmesh", "logout"]).unwrap();
    let client = Client::at(&args.global, address, None).unwrap();
    (client, script, tasks)
}

#[tokio::test]
async fn a_broken_stream_goes_on_after_the_last_event_and_ends_with_a_refusal() {
    let answers = vec![
        Ok(vec![6, 7]),
        Err(503),
        Err(503),
        Ok(vec![8]),
        Ok(vec![]),
        Err(403),
    ];
    let (client, script, _tasks) = client(answers).await;
    let (clock, said) = (Clock::manual(0), Mutex::new(0));
    let mut told = Vec::new();
    let watching = follow(
        &client,
        NOTHING,
        &clock,
        |entry| {
            told.push(entry.sequence);
            Ok(())
        },
        |_| *said.lock().unwrap() += 1,
    );
    let time = async {
        loop {
            clock.advance(SHORTEST);
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        ended = watching => ended.unwrap_err(),
        () = time => unreachable!("time goes on"),
    };
    assert_eq!(fault::code(&ended), "no");
    assert_eq!(told, [6, 7, 8]);
    let asked = script.lock().unwrap().1.clone();
    assert_eq!(asked, ["5", "7", "7", "7", "8", "8"]);
    assert!(said.into_inner().unwrap() >= 2);
}

#[test]
fn it_is_asked_again_ever_more_slowly_and_not_for_ever() {
    assert_eq!(pause(0), Some(Duration::ZERO));
    let pauses: Vec<u64> = (1..8).map(|vain| pause(vain).unwrap().as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(pause(ATTEMPTS), None);
    let whole: Duration = (0..ATTEMPTS).filter_map(pause).sum();
    assert!(whole > Duration::from_secs(540), "{whole:?}");
}

#[test]
fn the_time_is_that_of_the_event_and_not_of_the_report() {
    let mut pushed = entry(1);
    let of_mesh: Entry = serde_json::from_value(pushed.clone()).unwrap();
    assert_eq!(when(&of_mesh), of_mesh.at);
    pushed["event"] = json!({
        "id": "0190b1c2-0000-7000-8000-000000000000", "timestamp": "2026-11-20T12:00:00.000Z", "action": "push",
        "target": {"digest": format!("sha256:{}", "a".repeat(64)), "repository": "team/app"},
        "regmesh": {"mesh": "m", "node": "dev", "cause": "client"}
    });
    let reported: Entry = serde_json::from_value(pushed).unwrap();
    assert_eq!(when(&reported).to_string(), "2026-11-20T12:00:00.000Z");
    assert_eq!(reported.at, of_mesh.at);
}
