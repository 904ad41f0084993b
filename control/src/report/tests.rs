//! Reports replace each other in order, are cut to their bounds, and are about their own node.

use uuid::Uuid;
use wire::{
    api::status::{CopiesStatus, RuleStatus, StoreStatus},
    event::{Action, Cause, Event, Origin, Target},
};

use super::*;

const NOW: WallTime = WallTime(1_000);

fn rule(state: RuleState) -> RuleStatus {
    RuleStatus {
        name: "golden".parse().unwrap(),
        source: "parent://golden/*".into(),
        target: "golden/*".parse().unwrap(),
        identity: None,
        status: state,
        refusal: None,
        reason: Some("disk full".into()),
        last_success: None,
        last_error: None,
        unstored_pulls: 0,
        fills: 0,
        copies: 0,
    }
}

pub(crate) fn report(node: &str, requests: u64, state: RuleState) -> Report {
    Report {
        status: NodeStatus {
            node: node.parse().unwrap(),
            mesh: "acme".parse().unwrap(),
            tier: 1,
            generation: Generation(1),
            version: "test".into(),
            ready: true,
            draining: false,
            store: StoreStatus::default(),
            rules: vec![rule(state)],
            copies: CopiesStatus::default(),
            webhooks: Vec::new(),
            warnings: Vec::new(),
        },
        counters: Counters {
            requests,
            ..Counters::default()
        },
        events: Vec::new(),
        used: Vec::new(),
    }
}

fn event(node: &str) -> Event {
    let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
    Event {
        id: Uuid::now_v7(),
        timestamp: NOW,
        action: Action::Push,
        target: Target {
            media_type: None,
            size: None,
            length: None,
            digest,
            repository: "team/api".parse().unwrap(),
            tag: Some("1.0".parse().unwrap()),
        },
        request: None,
        regmesh: Origin {
            mesh: "acme".parse().unwrap(),
            node: node.parse().unwrap(),
            rule: None,
            cause: Cause::Client,
            platform: None,
            trace_id: None,
            reason: None,
        },
    }
}

fn bytes(report: &Report) -> Vec<u8> {
    serde_json::to_vec(report).unwrap()
}

#[test]
fn a_later_report_replaces_an_earlier_one_and_the_other_way_round_changes_nothing() {
    let (node, mut seen) = ("prod".parse().unwrap(), Seen::default());
    let first = bytes(&report("prod", 1, RuleState::Active));
    let second = bytes(&report("prod", 2, RuleState::Active));
    assert!(seen.report(&node, 2, &second, NOW).unwrap().fresh);
    assert!(!seen.report(&node, 1, &first, NOW).unwrap().fresh);
    assert!(!seen.report(&node, 2, &first, NOW).unwrap().fresh);
    assert_eq!((seen.counters.requests, seen.sequence), (2, 2));
}

#[test]
fn a_changed_rule_is_an_event_and_an_unchanged_one_is_none() {
    let (node, mut seen) = ("prod".parse().unwrap(), Seen::default());
    let mut told = Vec::new();
    for (sequence, state) in [
        (1, RuleState::Active),
        (2, RuleState::Active),
        (3, RuleState::NotStoring),
    ] {
        let news = seen
            .report(&node, sequence, &bytes(&report("prod", 1, state)), NOW)
            .unwrap();
        told.extend(news.events.into_iter().map(|event| event.text));
    }
    assert_eq!(told, ["rule golden is NotStoring, was Active: disk full"]);
}

#[test]
fn a_report_of_another_node_or_of_none_changes_nothing() {
    let (node, mut seen) = ("prod".parse().unwrap(), Seen::default());
    let mut smuggled = report("prod", 1, RuleState::Active);
    smuggled.events.push(event("dev"));
    let other = Err(Invalid::OtherNode("dev".parse().unwrap()));
    assert_eq!(
        seen.report(&node, 1, &bytes(&report("dev", 1, RuleState::Active)), NOW),
        other
    );
    assert_eq!(seen.report(&node, 1, &bytes(&smuggled), NOW), other);
    assert!(matches!(
        seen.report(&node, 1, b"{}", NOW),
        Err(Invalid::Unreadable(_))
    ));
    assert_eq!(seen, Seen::default());
}

#[test]
fn events_are_bounded_and_keep_their_ids() {
    let (node, mut seen) = ("prod".parse().unwrap(), Seen::default());
    let mut long = report("prod", 1, RuleState::Active);
    long.events = (0..report::EVENTS + 9).map(|_| event("prod")).collect();
    let news = seen.report(&node, 1, &bytes(&long), NOW).unwrap();
    assert_eq!(news.events.len(), report::EVENTS);
    assert_eq!(news.events[0].event.as_ref().unwrap().id, long.events[0].id);
    assert_eq!(news.events[0].kind, "push");
    assert!(
        news.events[0]
            .text
            .starts_with("push team/api:1.0@sha256:aaa")
    );
}

#[test]
fn a_refusal_keeps_its_problems_within_bounds_until_something_newer_is_confirmed() {
    let mut seen = Seen::default();
    seen.confirm(Generation(4), "d4");
    let long = Problem::new(422, "target-overlap", "x".repeat(9_000));
    let many = vec![serde_json::to_vec(&long).unwrap(); 200];
    seen.refuse(Generation(5), &many);
    let refused = seen.refused.clone().unwrap();
    assert_eq!(
        (refused.generation, refused.problems.len()),
        (Generation(5), PROBLEMS)
    );
    assert_eq!(
        (
            refused.problems[0].code.as_str(),
            refused.problems[0].message.len()
        ),
        ("target-overlap", TEXT)
    );
    assert_eq!(seen.generation, Generation(4));
    seen.refuse(Generation(6), &[b"garbage".to_vec()]);
    assert_eq!(seen.refused.clone().unwrap().problems[0].code, "refused");
    seen.confirm(Generation(7), "d7");
    assert_eq!((seen.refused, seen.confirmed), (None, Generation(7)));
}
