//! Questions left for whoever holds a node's stream.

use std::time::Duration;

use runtime::Clock;
use wire::time::WallTime;

use super::NOW;
use crate::state::{Asked, State};

fn asked(id: &str, node: &str, until: i64) -> Asked {
    Asked {
        id: id.to_owned(),
        node: node.parse().unwrap(),
        question: br#"{"status":null}"#.to_vec(),
        until: WallTime(NOW + until),
    }
}

async fn take(state: &dyn State, nodes: &[&str], at: i64) -> Vec<String> {
    let nodes = nodes.iter().map(|node| node.parse().unwrap()).collect();
    let taken = state.take_asked(nodes, WallTime(NOW + at)).await.unwrap();
    let mut ids: Vec<String> = taken.into_iter().map(|asked| asked.id).collect();
    ids.sort();
    ids
}

pub(super) async fn a_question_is_given_out_once_and_answered_once(state: &dyn State) {
    let before = state.news().borrow().asks;
    for (id, node) in [("q1", "a"), ("q2", "b"), ("q3", "a")] {
        state.ask(asked(id, node, 1000)).await.unwrap();
    }
    let told = state.news().borrow().asks;
    assert!(told > before);
    assert_eq!(take(state, &[], 0).await, Vec::<String>::new());
    assert_eq!(take(state, &["z"], 0).await, Vec::<String>::new());
    assert_eq!(take(state, &["a", "z"], 0).await, ["q1", "q3"]);
    assert_eq!(take(state, &["a", "b"], 0).await, ["q2"], "once");
    assert_eq!(state.take_answer("q1").await.unwrap(), None);
    state.put_answer("q1", b"yes".to_vec()).await.unwrap();
    assert!(state.news().borrow().asks > told);
    assert_eq!(
        state.take_answer("q1").await.unwrap(),
        Some(b"yes".to_vec())
    );
    assert_eq!(
        state.take_answer("q1").await.unwrap(),
        None,
        "it is forgotten"
    );
    state.put_answer("unknown", b"?".to_vec()).await.unwrap();
    assert_eq!(state.take_answer("unknown").await.unwrap(), None);
}

pub(super) async fn what_nobody_waits_for_is_swept(state: &dyn State, clock: &Clock) {
    state.ask(asked("early", "a", 1000)).await.unwrap();
    assert_eq!(
        take(state, &["a"], 1000).await,
        Vec::<String>::new(),
        "too late"
    );
    clock.advance(Duration::from_secs(2));
    state.ask(asked("late", "a", 5000)).await.unwrap();
    state.put_answer("early", b"nobody".to_vec()).await.unwrap();
    assert_eq!(state.take_answer("early").await.unwrap(), None);
    assert_eq!(take(state, &["a"], 2000).await, ["late"]);
}
