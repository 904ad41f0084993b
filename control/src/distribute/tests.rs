//! Streams over real TLS on loopback: what nodes are sent, what they may say, and what others see of them.

use std::time::Duration;

use tonic::Code;
use wire::{
    api::{
        ask::{Answer, Question},
        problem::Problem,
        status::RuleState,
    },
    node_service::{self, FromNode, Heartbeat, from_node, to_node},
    not_admitted::METADATA,
};

use super::*;
use crate::{
    ask,
    report::tests::report,
    test_mesh::{Control, Line, Node, WHO, eventually},
};

const WITHIN: Duration = Duration::from_secs(10);

async fn control() -> Control {
    let control = Control::new().await;
    control.apply(&["dev", "prod"], "one").await;
    control
}

fn seen(control: &Control, node: &Node) -> Option<InstanceSeen> {
    let nodes = control.distribute.nodes();
    nodes
        .get(&node.name)?
        .instances
        .get(&node.instance)
        .cloned()
}

async fn confirmed(control: &Control, node: &Node, generation: Generation) {
    eventually("the generation is confirmed", async || {
        seen(control, node).is_some_and(|seen| seen.connected && seen.seen.generation == generation)
    })
    .await;
}

/// A node that joined, connected and has the newest slice.
async fn settled(control: &Control, name: &str) -> (Node, Line, String) {
    let node = control.joined(name).await;
    let mut line = node.connect(&control.address, 0, "").await.unwrap();
    line.welcome().await;
    let (generation, document) = line.take(None).await;
    confirmed(control, &node, generation).await;
    (node, line, document)
}

#[tokio::test]
async fn a_node_gets_its_own_slice_then_what_changes_and_no_document_twice() {
    let control = control().await;
    let node = control.joined("prod").await;
    let mut line = node.connect(&control.address, 0, "").await.unwrap();
    let welcome = line.welcome().await;
    assert!(!welcome.ahead && !welcome.roots.is_empty());
    let (first, document) = line.take(None).await;
    assert!(
        document.contains("prod") && !document.contains("dev"),
        "{document}"
    );
    confirmed(&control, &node, first).await;

    let second = control.apply(&["dev", "prod"], "two").await;
    let (generation, changed) = line.take(None).await;
    assert_eq!(generation, second);
    assert_ne!(changed, document);
    confirmed(&control, &node, second).await;

    // What concerns others only moves the number.
    let third = control.apply(&["dev", "prod", "test"], "two").await;
    let (slice, envelope) = line.slice().await;
    assert_eq!((envelope.generation, envelope.document), (third, None));
    line.say(from_node::Kind::Ack(node_service::Ack {
        nonce: slice.nonce,
        generation: third.0,
    }))
    .await;
    confirmed(&control, &node, third).await;

    // Who comes back with what is in force is sent nothing; with less, the newest.
    drop(line);
    let mut line = node
        .connect(&control.address, third.0, &changed)
        .await
        .unwrap();
    line.welcome().await;
    let fourth = control.apply(&["dev", "prod", "test"], "three").await;
    assert_eq!(
        line.take(None).await.0,
        fourth,
        "the first thing after the welcome"
    );
}

#[tokio::test]
async fn who_comes_back_with_the_newest_slice_has_confirmed_it_and_with_another_document_has_not() {
    let control = control().await;
    let newest = control.apply(&["dev", "prod"], "two").await;
    // As after a crash between an ACK and its being written: nothing is known of either.
    let (right, wrong) = (control.joined("prod").await, control.joined("dev").await);
    let slice = control.publisher.slice(&right.name).unwrap().document;
    let connect = async |node: &Node, document: &str| {
        let line = node.connect(&control.address, newest.0, document).await;
        let mut line = line.unwrap();
        line.welcome().await;
        line
    };
    let _right = connect(&right, &slice).await;
    eventually("it is taken as confirmed", async || {
        seen(&control, &right).is_some_and(|seen| seen.seen.confirmed == newest)
    })
    .await;
    // From here on everybody who is not known to have ours waits for an operator.
    let _wrong = connect(&wrong, "another").await;
    let wrong = seen(&control, &wrong).unwrap().seen.confirmed;
    assert_eq!(wrong, Generation(0));
}

#[tokio::test]
async fn a_refused_slice_is_seen_and_not_sent_again_and_the_next_one_is() {
    let control = control().await;
    let (node, mut line, _) = settled(&control, "prod").await;
    let before = seen(&control, &node).unwrap().seen.generation;
    let bad = control.apply(&["dev", "prod"], "two").await;
    let problem = serde_json::to_vec(&Problem::new(
        422,
        "rule-conflict",
        "golden holds pushed content",
    ))
    .unwrap();
    assert_eq!(line.refuse(vec![problem]).await, bad);
    eventually("the refusal is seen", async || {
        seen(&control, &node).is_some_and(|seen| seen.seen.refused.is_some())
    })
    .await;
    let known = seen(&control, &node).unwrap().seen;
    assert_eq!(known.generation, before, "the last good one is in force");
    assert_eq!(
        known.refused.as_ref().unwrap().problems[0].code,
        "rule-conflict"
    );
    eventually("it is told", async || {
        !control.events("slice_refused").await.is_empty()
    })
    .await;
    let good = control.apply(&["dev", "prod"], "three").await;
    assert_eq!(line.take(None).await.0, good);
    confirmed(&control, &node, good).await;
    assert_eq!(seen(&control, &node).unwrap().seen.refused, None);
}

#[tokio::test]
async fn enrolment_over_the_network_says_why_not_and_a_stranger_gets_no_stream() {
    let control = control().await;
    let token = control.token("prod", 1).await;
    let mut node = Node::join(&control, &token, "prod").await.unwrap();
    let used = Node::join(&control, &token, "prod")
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(used.code(), Code::Unauthenticated);
    assert_eq!(used.metadata().get(METADATA).unwrap(), "used-token");
    node.renew(&control.address).await.unwrap();
    assert_eq!(node.counter, 2);

    // A certificate of another mesh is none, and so is no certificate.
    let foreign = self::control().await.joined("prod").await;
    let stranger = Node {
        roots: node.roots.clone(),
        ..foreign
    };
    let refused = stranger
        .connect(&control.address, 0, "")
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // Its own certificate under another instance's name.
    let mut line = node
        .connect_with(
            &control.address,
            Hello {
                instance: "another".into(),
                ..Hello::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(
        line.next().await.unwrap_err().code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_revoked_node_loses_its_stream_at_every_control_plane_and_others_do_not() {
    let first = control().await;
    let second = first.beside().await;
    let (node, mut here, document) = settled(&first, "prod").await;
    let token = first.token("prod", 1).await;
    let replica = Node::join(&first, &token, "prod").await.unwrap();
    let generation = first.publisher.current().published.generation;
    let mut there = replica
        .connect(&second.address, generation.0, &document)
        .await
        .unwrap();
    there.welcome().await;
    let (_other, mut other, _) = settled(&first, "dev").await;

    first.enrol.revoke(&node.name, WHO).await.unwrap();
    for line in [&mut here, &mut there] {
        let status = loop {
            if let Err(status) = line.next().await {
                break status;
            }
        };
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert_eq!(status.metadata().get(METADATA).unwrap(), "revoked");
    }
    let again = node
        .connect(&second.address, generation.0, &document)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(again.metadata().get(METADATA).unwrap(), "revoked");
    let (slice, _) = other.slice().await;
    assert!(slice.nonce > 0, "the other node is told of the revocation");
}

#[tokio::test]
async fn a_node_ahead_gets_nothing_until_recovered_even_when_numbers_catch_up() {
    let control = control().await;
    let node = control.joined("prod").await;
    let newest = control.publisher.current().published.generation.0;
    let mut line = node
        .connect(&control.address, newest + 2, "from before the restore")
        .await
        .unwrap();
    assert!(line.welcome().await.ahead);
    eventually("it is told", async || {
        !control.events("node_ahead").await.is_empty()
    })
    .await;
    for text in ["two", "three", "four"] {
        control.apply(&["dev", "prod"], text).await;
    }
    drop(line);
    let mut line = node
        .connect(&control.address, newest + 2, "from before the restore")
        .await
        .unwrap();
    assert!(
        line.welcome().await.ahead,
        "numbers have caught up, the content has not"
    );
    let (_other, _line, _) = settled(&control, "dev").await;
    assert!(seen(&control, &node).unwrap().seen.ahead);

    let recovered = control.distribute.recover(WHO).await.unwrap();
    let (generation, _) = line.take(None).await;
    assert_eq!(generation, recovered);
    confirmed(&control, &node, recovered).await;
    assert!(!seen(&control, &node).unwrap().seen.ahead);
}

#[tokio::test]
async fn a_number_of_ours_with_other_content_is_ahead_until_recovered_and_with_ours_is_not() {
    let control = control().await;
    let (node, line, document) = settled(&control, "prod").await;
    drop(line);
    let newest = control.apply(&["dev", "prod"], "after the restore").await;
    let mut line = node
        .connect(&control.address, newest.0, "from before the restore")
        .await
        .unwrap();
    assert!(line.welcome().await.ahead);
    control.apply(&["dev", "prod"], "two").await;
    drop(line);
    let mut line = node
        .connect(&control.address, newest.0, "from before the restore")
        .await
        .unwrap();
    assert!(line.welcome().await.ahead, "it is older than ours by now");
    // An instance that we do not know, with what is ours: another control plane's confirmation was lost.
    let replica = control.joined("prod").await;
    let first = Generation(newest.0 - 1);
    let mut other = replica
        .connect(&control.address, first.0, &document)
        .await
        .unwrap();
    assert!(!other.welcome().await.ahead);
    let late = control.joined("dev").await;

    let recovered = control.distribute.recover(WHO).await.unwrap();
    assert_eq!(line.take(None).await.0, recovered);
    let mut line = late
        .connect(&control.address, newest.0, "from before the restore")
        .await
        .unwrap();
    assert!(!line.welcome().await.ahead, "an operator has confirmed");
    assert_eq!(line.take(None).await.0, recovered);
}

/// Answers the next question.
async fn answer(line: &mut Line, outcome: Result<Answer, Problem>) -> node_service::Ask {
    let to_node::Kind::Ask(asked) = line.next().await.unwrap() else {
        panic!("no question")
    };
    let outcome = match outcome {
        Ok(answer) => node_service::answer::Outcome::Answer(serde_json::to_vec(&answer).unwrap()),
        Err(problem) => {
            node_service::answer::Outcome::Problem(serde_json::to_vec(&problem).unwrap())
        }
    };
    let answer = node_service::Answer {
        id: asked.id,
        outcome: Some(outcome),
    };
    line.say(from_node::Kind::Answer(answer)).await;
    asked
}

#[tokio::test]
async fn a_question_is_answered_refused_timed_out_or_taken_back() {
    let control = control().await;
    let (node, mut line, _) = settled(&control, "prod").await;
    let asker = control.distribute.clone();
    let ask = |within| asker.ask(&node.name, Question::Drain, within);

    let (answered, asked) = tokio::join!(ask(WITHIN), answer(&mut line, Ok(Answer::Draining)));
    assert_eq!(answered.unwrap(), Answer::Draining);
    assert_eq!(
        serde_json::from_slice::<Question>(&asked.question).unwrap(),
        Question::Drain
    );
    let no = Problem::new(409, "conflict", "not now");
    let (refused, _) = tokio::join!(ask(WITHIN), answer(&mut line, Err(no.clone())));
    assert!(matches!(refused, Err(ask::Error::Refused(problem)) if problem == no));

    let silent = ask(Duration::from_millis(50)).await;
    assert!(matches!(silent, Err(ask::Error::TimedOut(_))));
    let to_node::Kind::Ask(asked) = line.next().await.unwrap() else {
        panic!("no question")
    };
    let to_node::Kind::Cancel(cancel) = line.next().await.unwrap() else {
        panic!("no cancel")
    };
    assert_eq!(cancel.id, asked.id);
    // An answer nobody waits for any more disturbs nothing.
    let outcome = Some(node_service::answer::Outcome::Answer(b"null".to_vec()));
    line.say(from_node::Kind::Answer(node_service::Answer {
        id: asked.id,
        outcome,
    }))
    .await;
    let (answered, _) = tokio::join!(ask(WITHIN), answer(&mut line, Ok(Answer::Draining)));
    assert!(answered.is_ok());

    let absent = asker
        .ask(&"dev".parse().unwrap(), Question::Drain, WITHIN)
        .await;
    assert!(matches!(absent, Err(ask::Error::NotConnected(_))));
    let (gone, ()) = tokio::join!(ask(WITHIN), async {
        let to_node::Kind::Ask(_) = line.next().await.unwrap() else {
            panic!("no question")
        };
        drop(line);
    });
    assert!(matches!(gone, Err(ask::Error::Refused(problem)) if problem.code == "not-connected"));
}

#[tokio::test]
async fn any_control_plane_serves_any_node_and_asks_those_of_the_other() {
    let first = control().await;
    let second = first.beside().await;
    let (node, mut line, _) = settled(&first, "prod").await;
    eventually("the other one sees it", async || {
        seen(&second, &node).is_some_and(|seen| seen.connected && !seen.here)
    })
    .await;
    let ask = second.distribute.ask(&node.name, Question::Drain, WITHIN);
    let (answered, _) = tokio::join!(ask, answer(&mut line, Ok(Answer::Draining)));
    assert_eq!(answered.unwrap(), Answer::Draining);

    let changed = second.apply(&["dev", "prod"], "two").await;
    assert_eq!(
        line.take(None).await.0,
        changed,
        "published there, sent from here"
    );
    drop(line);
    eventually("it is gone for both", async || {
        !seen(&second, &node).is_some_and(|seen| seen.connected)
    })
    .await;
}

#[tokio::test]
async fn reports_are_kept_confirmed_when_written_and_told_once() {
    let control = control().await;
    let (node, mut line, _) = settled(&control, "prod").await;
    let say = |sequence, state| {
        let report = serde_json::to_vec(&report("prod", sequence, state)).unwrap();
        from_node::Kind::Report(node_service::Report { sequence, report })
    };
    for (sequence, state) in [
        (1, RuleState::Active),
        (2, RuleState::NotStoring),
        (2, RuleState::NotStoring),
    ] {
        line.say(say(sequence, state)).await;
        let to_node::Kind::Reported(reported) = line.next().await.unwrap() else {
            panic!("not confirmed")
        };
        assert_eq!(reported.sequence, sequence);
    }
    assert_eq!(
        control.events("rule_status").await.len(),
        1,
        "it was confirmed, so it is written"
    );
    let known = seen(&control, &node).unwrap().seen;
    assert_eq!((known.sequence, known.counters.requests), (2, 2));
    let stored = control.state.reported().await.unwrap();
    assert!(
        stored
            .iter()
            .any(|row| row.instance == node.instance && !row.held_by.is_empty())
    );
    crate::history::record(&control.distribute.0).await;
    let history = control
        .state
        .history(&node.name, WallTime(0))
        .await
        .unwrap();
    assert_eq!(history[0].counters.requests, 2);

    // Of another node: the stream ends, and the audit log knows.
    let report = serde_json::to_vec(&report("dev", 3, RuleState::Active)).unwrap();
    line.say(from_node::Kind::Report(node_service::Report {
        sequence: 3,
        report,
    }))
    .await;
    assert_eq!(
        line.next().await.unwrap_err().code(),
        Code::PermissionDenied
    );
    eventually("it is audited", async || {
        !control.refusals().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_silent_node_is_let_go_and_a_beating_one_is_kept() {
    let rhythm = Rhythm {
        heartbeat: Duration::from_millis(100),
        report: Duration::from_secs(1),
    };
    let control = Control::with(Clock::system(), rhythm).await;
    control.apply(&["dev", "prod"], "one").await;
    let (silent, beating) = (control.joined("dev").await, control.joined("prod").await);
    let mut quiet = silent.connect(&control.address, 0, "").await.unwrap();
    let mut lively = beating.connect(&control.address, 0, "").await.unwrap();
    lively.welcome().await;
    lively.take(None).await;
    let ended = async {
        // Reads, and never says a word.
        quiet.welcome().await;
        quiet.slice().await;
        quiet.hush().await
    };
    let beats = async {
        loop {
            if lively.next().await.is_err() {
                break;
            }
        }
    };
    let status = tokio::select! {
        status = ended => status,
        () = beats => panic!("the beating node was let go"),
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(seen(&control, &beating).unwrap().connected);
    assert!(!seen(&control, &silent).unwrap().connected);
}

#[tokio::test]
async fn the_newest_stream_of_an_instance_is_the_one_that_counts_and_hello_is_first_and_once() {
    let control = control().await;
    let (node, mut old, document) = settled(&control, "prod").await;
    let generation = seen(&control, &node).unwrap().seen.generation;
    let mut new = node
        .connect(&control.address, generation.0, &document)
        .await
        .unwrap();
    new.welcome().await;
    assert_eq!(old.next().await.unwrap_err().code(), Code::Aborted);
    assert!(seen(&control, &node).unwrap().connected);
    new.say(from_node::Kind::Hello(Hello::default())).await;
    assert_eq!(new.next().await.unwrap_err().code(), Code::InvalidArgument);

    let (out, receiver) = mpsc::channel(4);
    let beat = from_node::Kind::Heartbeat(Heartbeat { now_ms: 1 });
    out.try_send(FromNode { kind: Some(beat) }).unwrap();
    let mut client = node.client(&control.address).await;
    let stream = client
        .connect(tokio_stream::wrappers::ReceiverStream::new(receiver))
        .await
        .unwrap();
    assert_eq!(
        stream.into_inner().message().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_hundred_streams_hear_of_a_change_while_one_of_them_reads_nothing() {
    let control = Control::new().await;
    let names: Vec<String> = (0..100).map(|n| format!("node-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    control.apply(&names, "one").await;
    let mut lines = Vec::new();
    for name in &names {
        let (node, line, _) = settled(&control, name).await;
        lines.push((node, line));
    }
    assert_eq!(control.distribute.streams(), 100);
    let dead = lines.pop().unwrap();
    let changed = control.apply(&names, "two").await;
    for (_, line) in &mut lines {
        assert_eq!(line.take(None).await.0, changed);
    }
    for (node, _) in &lines {
        confirmed(&control, node, changed).await;
    }
    assert!(seen(&control, &dead.0).unwrap().seen.generation < changed);
    assert!(
        control.tasks.drain(Duration::from_secs(20)).await,
        "nothing is left of them"
    );
}
