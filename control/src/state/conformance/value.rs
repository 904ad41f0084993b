//! Values and reports: the last one counts.

use wire::time::WallTime;

use super::NOW;
use crate::state::{Reported, State};

pub(super) async fn a_value_is_swapped_only_as_expected(state: &dyn State) {
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    // (expected, new) -> whether, and what is there afterwards
    let cases = [
        (bytes("x"), bytes("a"), false, None),
        (None, bytes("a"), true, bytes("a")),
        (None, bytes("b"), false, bytes("a")),
        (bytes("b"), bytes("c"), false, bytes("a")),
        (bytes("a"), bytes("\0\u{ff}"), true, bytes("\0\u{ff}")),
        (bytes("a"), None, false, bytes("\0\u{ff}")),
        (bytes("\0\u{ff}"), bytes(""), true, bytes("")),
        (bytes(""), None, true, None),
        (None, None, true, None),
    ];
    for (step, (expected, new, swapped, after)) in cases.into_iter().enumerate() {
        let found = state.swap_value("ca", expected, new).await.unwrap();
        assert_eq!(found, swapped, "step {step}");
        assert_eq!(state.value("ca").await.unwrap(), after, "step {step}");
    }
}

pub(super) async fn values_are_found_by_prefix(state: &dyn State) {
    for name in ["key/b", "key/a", "key", "kez", "ke", "key/%", "key_x"] {
        let value = Some(name.as_bytes().to_vec());
        assert!(state.swap_value(name, None, value).await.unwrap());
    }
    let found = state.values("key/").await.unwrap();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["key/%", "key/a", "key/b"]);
    assert_eq!(found[1].1, b"key/a");
    assert_eq!(state.values("").await.unwrap().len(), 7);
    assert_eq!(state.values("nothing").await.unwrap(), []);
}

pub(super) async fn the_last_report_counts(state: &dyn State) {
    let said = |instance: &str, node: Option<&str>, at| Reported {
        instance: instance.to_owned(),
        node: node.map(|node| node.parse().unwrap()),
        held_by: "here".to_owned(),
        last_seen: WallTime(NOW + at),
        seen: format!("{{\"at\":{at}}}").into_bytes(),
    };
    state.put_reported(Vec::new()).await.unwrap();
    let first = vec![said("one", Some("a"), 1), said("two", None, 1)];
    state.put_reported(first).await.unwrap();
    let second = vec![said("one", Some("a"), 2), said("one", Some("a"), 3)];
    state.put_reported(second).await.unwrap();
    let mut found = state.reported().await.unwrap();
    found.sort_by(|one, other| one.instance.cmp(&other.instance));
    assert_eq!(found, [said("one", Some("a"), 3), said("two", None, 1)]);
}
