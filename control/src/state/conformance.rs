//! What every implementation of `State` must do. One suite, run by all of them; a new database brings no new expectations.
//!
//! `make` gives an empty state that reads the clock it is handed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a suite of tests, also for other crates' implementations"
)]

use std::sync::Arc;

use runtime::Clock;
use wire::{generation::Generation, time::WallTime};

use super::{Desired, NewEntry, Part, Publish, State};

mod admission;
mod ask;
mod generation;
mod list;
mod value;

/// Runs the suite.
pub async fn run<F: AsyncFn(Clock) -> Arc<dyn State>>(make: &F) {
    let clock = Clock::manual(NOW);
    let state = async || make(clock.clone()).await;
    generation::a_generation_is_published_with_its_audit(state().await.as_ref()).await;
    generation::only_on_top_of_the_newest(state().await.as_ref()).await;
    generation::of_two_writers_one_is_told_to_look_again(state().await).await;
    generation::a_document_comes_back_as_it_was(state().await.as_ref()).await;
    generation::news_follow_what_was_written(state().await.as_ref()).await;
    list::the_audit_log_is_read_in_parts(state().await.as_ref()).await;
    list::the_audit_log_is_swept_from_its_beginning(state().await.as_ref()).await;
    list::an_event_is_kept_once(state().await.as_ref()).await;
    list::only_the_newest_events_are_kept(state().await.as_ref()).await;
    list::history_is_by_node_and_forgotten(state().await.as_ref()).await;
    admission::a_token_is_used_so_often_and_no_more(state().await.as_ref()).await;
    admission::an_enrolment_whose_answer_was_lost_is_given_again(state().await.as_ref()).await;
    admission::instances_that_vanished_are_swept(state().await.as_ref()).await;
    admission::uses_of_a_token_do_not_race(state().await).await;
    admission::a_token_that_is_refused_says_why(state().await.as_ref()).await;
    admission::a_copied_directory_is_shut_out(state().await.as_ref()).await;
    admission::who_is_shut_out_or_forgotten_does_not_come_back(state().await.as_ref()).await;
    value::a_value_is_swapped_only_as_expected(state().await.as_ref()).await;
    value::values_are_found_by_prefix(state().await.as_ref()).await;
    value::the_last_report_counts(state().await.as_ref()).await;
    ask::a_question_is_given_out_once_and_answered_once(state().await.as_ref()).await;
    let state = make(clock.clone()).await;
    ask::what_nobody_waits_for_is_swept(state.as_ref(), &clock).await;
}

/// Writes something of everything.
pub async fn fill(state: &dyn State) {
    admission::a_copied_directory_is_shut_out(state).await;
    generation::a_document_comes_back_as_it_was(state).await;
    list::an_event_is_kept_once(state).await;
    value::values_are_found_by_prefix(state).await;
    value::the_last_report_counts(state).await;
    list::fill_history(state).await;
}

/// Everything that can be read, for comparing.
pub async fn snapshot(state: &dyn State) -> Vec<String> {
    let all = Part {
        after: Some(0),
        limit: 10_000,
        ..Part::default()
    };
    let since = WallTime(0);
    let node = "a".parse().unwrap();
    vec![
        format!("{:?}", state.newest().await.unwrap()),
        format!("{:?}", state.audit(all.clone()).await.unwrap()),
        format!("{:?}", state.events(all).await.unwrap()),
        format!("{:?}", state.instances().await.unwrap()),
        format!("{:?}", state.reported().await.unwrap()),
        format!("{:?}", state.history(&node, since).await.unwrap()),
        format!("{:?}", state.values("").await.unwrap()),
    ]
}

/// Where the clock of a run stands at first.
const NOW: i64 = 1_800_000_000_000;

fn entry(target: &str) -> NewEntry {
    NewEntry {
        at: WallTime(NOW),
        who: "admin-token".to_owned(),
        action: "apply".to_owned(),
        target: target.to_owned(),
        before: None,
        after: Some(serde_json::json!({"on": "ünode", "n": 1})),
        generation: None,
        refused: None,
    }
}

fn publish(after: u64, generation: u64, document: &str) -> Publish {
    Publish {
        after: Generation(after),
        generation: Generation(generation),
        at: WallTime(NOW + 1),
        by: "account:ci".to_owned(),
        desired: Desired {
            document: document.to_owned(),
            ..Desired::default()
        },
        audit: vec![entry("topology")],
    }
}
