//! Tag records and their guards.

use wire::time::WallTime;

use super::make::{commit, digest, manifest_link, name, stored_tag, tag, version};
use crate::store::metadata::{Metadata, Op, record::NOT_KNOWN};

pub(super) async fn a_later_observation_is_never_replaced(metadata: &dyn Metadata) {
    commit(metadata, [Op::PutTag(tag("a", "v1", "new", 20))]).await;
    commit(metadata, [Op::PutTag(tag("a", "v1", "old", 10))]).await;
    let stored = stored_tag(metadata, "a", "v1").await;
    assert_eq!(stored, Some(tag("a", "v1", "new", 20)));
    commit(metadata, [Op::PutTag(tag("a", "v1", "newer", 30))]).await;
    let stored = stored_tag(metadata, "a", "v1").await;
    assert_eq!(stored, Some(tag("a", "v1", "newer", 30)));
    commit(metadata, [Op::DeleteTag(name("a"), name("v1"))]).await;
    assert_eq!(stored_tag(metadata, "a", "v1").await, None);
}

pub(super) async fn a_check_only_moves_forwards(metadata: &dyn Metadata) {
    let check = |of: &str, at| Op::Checked(name("a"), name("v1"), digest(of), WallTime(at));
    commit(metadata, [check("m", 5)]).await;
    assert_eq!(stored_tag(metadata, "a", "v1").await, None);
    commit(metadata, [Op::PutTag(tag("a", "v1", "m", 10))]).await;
    for (of, at, checked) in [("m", 30, 30), ("m", 20, 30), ("other", 40, 30)] {
        commit(metadata, [check(of, at)]).await;
        let stored = stored_tag(metadata, "a", "v1").await.unwrap();
        assert_eq!(stored.checked_at, WallTime(checked), "{of} at {at}");
        assert_eq!(stored.observed_at, WallTime(10));
    }
    commit(metadata, [Op::PutTag(tag("a", "v1", "m", 10))]).await;
    let stored = stored_tag(metadata, "a", "v1").await.unwrap();
    assert_eq!(
        stored.checked_at,
        WallTime(30),
        "a repeated step takes nothing back"
    );
}

pub(super) async fn a_clock_that_was_ahead_is_forgotten_when_a_process_begins(
    metadata: &dyn Metadata,
) {
    let mut ahead = tag("a", "ahead", "old", 900);
    ahead.checked_at = WallTime(950);
    let right = tag("a", "right", "old", 90);
    commit(metadata, [Op::PutTag(ahead), Op::PutTag(right.clone())]).await;
    commit(metadata, [Op::Begin(WallTime(100))]).await;
    assert_eq!(stored_tag(metadata, "a", "right").await, Some(right));
    let stored = stored_tag(metadata, "a", "ahead").await.unwrap();
    assert_eq!(
        (stored.observed_at, stored.checked_at),
        (WallTime(100), NOT_KNOWN)
    );
    // A check moves it, and so does a move.
    let check = Op::Checked(name("a"), name("ahead"), digest("old"), WallTime(110));
    commit(metadata, [check]).await;
    let stored = stored_tag(metadata, "a", "ahead").await.unwrap();
    assert_eq!(stored.checked_at, WallTime(110));
    commit(metadata, [Op::PutTag(tag("a", "ahead", "new", 120))]).await;
    let stored = stored_tag(metadata, "a", "ahead").await.unwrap();
    assert_eq!(stored.current, version("new"));
}

pub(super) async fn complete_follows_current(metadata: &dyn Metadata) {
    let complete = |of: &str| Op::Completed(name("a"), name("v1"), version(of));
    commit(metadata, [complete("m")]).await;
    assert_eq!(stored_tag(metadata, "a", "v1").await, None);
    commit(
        metadata,
        [Op::PutTag(tag("a", "v1", "m", 10)), complete("other")],
    )
    .await;
    let stored = stored_tag(metadata, "a", "v1").await.unwrap();
    assert_eq!(stored.complete, None);
    commit(
        metadata,
        [complete("m"), Op::PutTag(tag("a", "v1", "new", 20))],
    )
    .await;
    let stored = stored_tag(metadata, "a", "v1").await.unwrap();
    assert_eq!(stored.current, version("new"));
    assert_eq!(
        stored.complete,
        Some(version("m")),
        "the last complete one stays"
    );
    commit(metadata, [complete("m")]).await;
    let stored = stored_tag(metadata, "a", "v1").await.unwrap();
    assert_eq!(stored.complete, Some(version("m")));
    commit(metadata, [complete("new")]).await;
    let stored = stored_tag(metadata, "a", "v1").await.unwrap();
    assert_eq!(stored.complete, Some(version("new")));
}

pub(super) async fn tags_are_listed_in_order(metadata: &dyn Metadata) {
    let repository = name("a");
    assert_eq!(metadata.tags(&repository, None, 9).await.unwrap(), None);
    commit(metadata, [manifest_link("a", "m")]).await;
    let none = metadata.tags(&repository, None, 9).await.unwrap();
    assert_eq!(none, Some(Vec::new()));
    for text in ["v2", "v10", "V1", "latest", "_x"] {
        commit(metadata, [Op::PutTag(tag("a", text, "m", 1))]).await;
    }
    commit(metadata, [Op::PutTag(tag("b", "elsewhere", "m", 1))]).await;
    let listed = |after: Option<&'static str>, limit| {
        let repository = repository.clone();
        async move {
            metadata
                .tags(&repository, after, limit)
                .await
                .unwrap()
                .unwrap()
        }
    };
    let names = |texts: &[&str]| texts.iter().map(|t| name(t)).collect::<Vec<_>>();
    assert_eq!(listed(None, 3).await, names(&["V1", "_x", "latest"]));
    assert_eq!(listed(Some("latest"), 9).await, names(&["v10", "v2"]));
    assert_eq!(listed(Some("m"), 1).await, names(&["v10"]));
    assert_eq!(listed(Some("zzz"), 9).await, names(&[]));
    assert_eq!(listed(None, 0).await, names(&[]));
}
