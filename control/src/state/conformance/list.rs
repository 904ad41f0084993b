//! Lists that grow: audit, events, history.

use wire::{
    api::{event, mesh::HistoryPoint, report::Counters},
    time::WallTime,
};

use super::{NOW, entry};
use crate::state::{Part, State};

fn part(after: Option<u64>, before: Option<u64>, of: Option<&str>, limit: usize) -> Part {
    Part {
        after,
        before,
        of: of.map(str::to_owned),
        limit,
    }
}

pub(super) async fn the_audit_log_is_read_in_parts(state: &dyn State) {
    state.record(Vec::new()).await.unwrap();
    let mut third = entry("nodes/a");
    third.before = Some(serde_json::json!([null, 1.5, "x"]));
    third.after = None;
    third.generation = Some(wire::generation::Generation(3));
    third.refused = Some("no such role".to_owned());
    let entries = vec![
        entry("nodes/a"),
        entry("nodes/b"),
        third.clone(),
        entry("rules/r"),
    ];
    state.record(entries).await.unwrap();
    state.record(vec![entry("nodes/a")]).await.unwrap();
    let all = state.audit(part(Some(0), None, None, 100)).await.unwrap();
    let numbers: Vec<u64> = all.iter().map(|e| e.sequence).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(all.len(), 5);
    assert_eq!(all[2], third.numbered(numbers[2]));
    // (after, before, of, limit) -> positions
    type Case = (
        Option<usize>,
        Option<usize>,
        Option<&'static str>,
        usize,
        &'static [usize],
    );
    let cases: [Case; 9] = [
        (None, None, None, 2, &[4, 3]),
        (None, None, None, 0, &[]),
        (Some(1), None, None, 100, &[2, 3, 4]),
        (Some(1), None, None, 1, &[2]),
        (None, Some(2), None, 100, &[1, 0]),
        (None, Some(2), None, 1, &[1]),
        (None, None, Some("nodes/a"), 2, &[4, 2]),
        (Some(0), None, Some("nodes/a"), 100, &[2, 4]),
        (None, None, Some("nodes/z"), 100, &[]),
    ];
    for (after, before, of, limit, positions) in cases {
        let number = |position: Option<usize>| position.map(|position| numbers[position]);
        let wanted = part(number(after), number(before), of, limit);
        let found = state.audit(wanted.clone()).await.unwrap();
        let expected: Vec<_> = positions.iter().map(|p| all[*p].clone()).collect();
        assert_eq!(found, expected, "{wanted:?}");
    }
}

pub(super) async fn the_audit_log_is_swept_from_its_beginning(state: &dyn State) {
    let names = ["a", "b", "c"].map(|name| entry(&format!("nodes/{name}")));
    state.record(names.to_vec()).await.unwrap();
    let all = || part(Some(0), None, None, 100);
    let before = state.audit(all()).await.unwrap();
    assert_eq!(state.sweep_audit(before[0].sequence - 1).await, Ok(0));
    assert_eq!(state.sweep_audit(before[1].sequence).await, Ok(2));
    assert_eq!(state.audit(all()).await.unwrap(), before[2..]);
    assert_eq!(state.sweep_audit(before[2].sequence).await, Ok(1));
    state.record(vec![entry("nodes/d")]).await.unwrap();
    let after = state.audit(all()).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].sequence, before[2].sequence + 1, "numbers go on");
}

fn happened(node: &str, id: Option<u32>, text: &str) -> event::Entry {
    let event = id.map(|id| {
        serde_json::from_value(serde_json::json!({
            "id": format!("00000000-0000-4000-8000-{id:012}"),
            "timestamp": "2026-11-20T12:00:00.000Z",
            "action": "push",
            "target": {"digest": format!("sha256:{}", "0".repeat(64)), "repository": "a"},
            "regmesh": {"mesh": "contoso", "node": node, "cause": "copy"},
        }))
        .unwrap()
    });
    event::Entry {
        sequence: 0,
        at: WallTime(NOW),
        node: Some(node.parse().unwrap()),
        kind: "push".to_owned(),
        text: text.to_owned(),
        event,
    }
}

async fn texts(state: &dyn State, wanted: Part) -> Vec<String> {
    let found = state.events(wanted).await.unwrap();
    found.into_iter().map(|entry| entry.text).collect()
}

pub(super) async fn an_event_is_kept_once(state: &dyn State) {
    let first = vec![
        happened("a", Some(1), "one"),
        happened("b", None, "two"),
        happened("a", Some(2), "three"),
        happened("a", Some(2), "three again"),
    ];
    state.add_events(first, 100).await.unwrap();
    let second = vec![
        happened("a", Some(1), "one again"),
        happened("b", None, "two"),
        happened("a", Some(3), "four"),
    ];
    state.add_events(second, 100).await.unwrap();
    let all = texts(state, part(Some(0), None, None, 100)).await;
    assert_eq!(all, ["one", "two", "three", "two", "four"]);
    let of_b = texts(state, part(None, None, Some("b"), 100)).await;
    assert_eq!(of_b, ["two", "two"]);
    let newest = state.events(part(None, None, None, 1)).await.unwrap();
    let expected = happened("a", Some(3), "four");
    assert_eq!(newest[0].event, expected.event);
    assert_eq!(newest[0].at, WallTime(NOW));
    let before = texts(state, part(None, Some(newest[0].sequence), None, 1)).await;
    assert_eq!(before, ["two"]);
}

pub(super) async fn only_the_newest_events_are_kept(state: &dyn State) {
    for number in 0..5 {
        let events = (0..3).map(|n| happened("a", None, &format!("{number}.{n}")));
        state.add_events(events.collect(), 4).await.unwrap();
    }
    let left = texts(state, part(Some(0), None, None, 100)).await;
    assert_eq!(left, ["3.2", "4.0", "4.1", "4.2"]);
}

pub(super) async fn fill_history(state: &dyn State) {
    let point = HistoryPoint {
        at: WallTime(NOW),
        counters: Counters::default(),
        stored_bytes: 1,
    };
    let points = vec![("a".parse().unwrap(), point)];
    state.add_history(points, WallTime(0)).await.unwrap();
}

pub(super) async fn history_is_by_node_and_forgotten(state: &dyn State) {
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    let point = |at, requests| HistoryPoint {
        at: WallTime(at),
        counters: Counters {
            requests,
            ..Counters::default()
        },
        stored_bytes: u64::MAX / 4,
    };
    let mine = |name: &wire::name::NodeName, at, n| (name.clone(), point(at, n));
    let points = vec![mine(&a, 20, 2), mine(&a, 10, 1), mine(&b, 10, 7)];
    state.add_history(points, WallTime(0)).await.unwrap();
    state
        .add_history(vec![mine(&a, 30, 3)], WallTime(0))
        .await
        .unwrap();
    let found = state.history(&a, WallTime(0)).await.unwrap();
    assert_eq!(found, [point(10, 1), point(20, 2), point(30, 3)]);
    let found = state.history(&a, WallTime(20)).await.unwrap();
    assert_eq!(found, [point(20, 2), point(30, 3)]);
    state
        .add_history(vec![mine(&a, 30, 4)], WallTime(20))
        .await
        .unwrap();
    let found = state.history(&a, WallTime(0)).await.unwrap();
    assert_eq!(found, [point(20, 2), point(30, 4)], "one for each time");
    assert_eq!(
        state.history(&b, WallTime(0)).await.unwrap(),
        [],
        "forgotten for all"
    );
}
