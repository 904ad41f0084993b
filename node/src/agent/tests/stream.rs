//! What passes beside slices: questions, reports, silence.

use wire::{
    api::{ask, report::Report},
    node_service::{Ask, Reported, answer::Outcome, from_node, to_node},
};

use super::*;

#[tokio::test]
async fn questions_are_answered_beside_slices_and_reports_go_on_until_they_are_heard() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    let ask = async |id: u64, question: &[u8]| {
        let (within_ms, question) = (5_000, question.to_vec());
        stream
            .send(to_node::Kind::Ask(Ask {
                id,
                within_ms,
                question,
            }))
            .await;
    };
    ask(1, &serde_json::to_vec(&ask::Question::Status).unwrap()).await;
    ask(2, br#"{"ask":"ofTomorrow"}"#).await;
    let answers = async |stream: &mut Stream, id: u64| {
        stream
            .until(|kind| {
                let from_node::Kind::Answer(answer) = kind else {
                    return None;
                };
                answer.outcome.clone().filter(|_| answer.id == id)
            })
            .await
    };
    let Outcome::Answer(bytes) = answers(&mut stream, 1).await else {
        unreachable!("a status was asked for")
    };
    let ask::Answer::Status(status) = serde_json::from_slice(&bytes).unwrap() else {
        unreachable!("a status was asked for")
    };
    assert_eq!(status.generation, Generation(1));
    let Outcome::Problem(bytes) = answers(&mut stream, 2).await else {
        unreachable!("nobody knows that")
    };
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .contains("unknown-question")
    );

    let recorder = agent.running().unwrap();
    record_event(&recorder).await;
    let report = |kind: &from_node::Kind| {
        let from_node::Kind::Report(report) = kind else {
            return None;
        };
        let read: Report = serde_json::from_slice(&report.report).unwrap();
        Some((report.sequence, read))
    };
    let with_events = async |stream: &mut Stream| {
        stream
            .until(|kind| report(kind).filter(|(_, report)| !report.events.is_empty()))
            .await
    };
    let (first, told) = with_events(&mut stream).await;
    assert_eq!(told.events.len(), 1);
    let (second, again) = with_events(&mut stream).await;
    assert!(
        second > first && again.events == told.events,
        "nobody heard the first"
    );
    stream
        .send(to_node::Kind::Reported(Reported { sequence: second }))
        .await;
    stream
        .until(|kind| report(kind).filter(|(at, report)| *at > second && report.events.is_empty()))
        .await;

    let drain = serde_json::to_vec(&ask::Question::Drain).unwrap();
    stream
        .send(to_node::Kind::Ask(Ask {
            id: 3,
            within_ms: 5_000,
            question: drain,
        }))
        .await;
    assert_eq!(agent.ended().await, End::Drain);
    agent.drain(Duration::from_secs(1)).await;
}

async fn record_event(running: &Running) {
    use crate::store::metadata::{EventRecord, Op};
    let body = serde_json::json!({
        "id": uuid::Uuid::now_v7(), "timestamp": "2026-11-20T12:00:00.000Z", "action": "push",
        "target": { "digest": wire::digest::Digest::sha256(b"x"), "repository": "team/a" },
        "regmesh": { "mesh": "acme", "node": "prod", "cause": "client" },
    });
    let event = EventRecord {
        id: uuid::Uuid::now_v7(),
        key: "team/a:".to_owned(),
        action: "push".to_owned(),
        body: serde_json::to_vec(&body).unwrap(),
        recorded_at: WallTime(1),
    };
    let ops = vec![Op::PutEvent(event, Vec::new())];
    running.store().metadata().commit(ops).await.unwrap();
}

#[tokio::test]
async fn a_control_plane_that_falls_silent_is_given_up_after_three_heartbeats() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let agent = machine.start(Some(control.token())).await.unwrap();
    let mut stream = control.stream().await;
    stream.welcome_every(20, &machine.clock).await;
    stream
        .until(|kind| matches!(kind, from_node::Kind::Heartbeat(_)).then_some(()))
        .await;
    let next = control.stream().await;
    stream.closed().await;
    assert_eq!(next.hello.instance.len(), 36);
    drop(agent);
}
