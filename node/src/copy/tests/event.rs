//! Exactly the events of `spec/pull-through.md`, "Events", and what a tag gives without its upstream.

use topology::model::rule::{Platforms, Referrers};
use wire::digest::Digest;

use super::world::Node;

type Expected<'a> = (&'a Digest, &'a str, &'a str);

async fn check(node: &Node, expected: &[Expected<'_>]) {
    let mut wanted: Vec<_> = expected
        .iter()
        .map(|(digest, tag, platform)| {
            (
                "push".to_owned(),
                digest.to_string(),
                (*tag).to_owned(),
                (*platform).to_owned(),
            )
        })
        .collect();
    wanted.sort();
    assert_eq!(node.events().await, wanted);
}

#[tokio::test]
async fn one_platform_of_a_multi_platform_tag_is_three_events_and_the_next_one_more() {
    let node = Node::new();
    let (amd, arm) = (node.image("amd", &[b"a"]), node.image("arm", &[b"b"]));
    let index = node.index(&[(&amd, "linux/amd64"), (&arm, "linux/arm64")]);
    node.tag("1", &index);
    node.pull("1").await;
    node.settle().await;
    node.pull(amd.as_str()).await;
    node.settle().await;
    let mut expected = vec![
        (&index, "", ""),
        (&index, "1", ""),
        (&amd, "", "linux/amd64"),
    ];
    check(&node, &expected).await;
    node.pull("1").await;
    node.pull(amd.as_str()).await;
    node.settle().await;
    check(&node, &expected).await;
    node.pull(arm.as_str()).await;
    node.settle().await;
    expected.push((&arm, "", "linux/arm64"));
    check(&node, &expected).await;
}

#[tokio::test]
async fn a_single_platform_tag_is_two_events_and_a_pull_by_digest_one() {
    let node = Node::new();
    let (tagged, bare) = (node.image("x", &[b"a"]), node.image("y", &[b"b"]));
    node.tag("1", &tagged);
    node.pull("1").await;
    node.pull(bare.as_str()).await;
    node.settle().await;
    check(
        &node,
        &[(&tagged, "", ""), (&tagged, "1", ""), (&bare, "", "")],
    )
    .await;
}

#[tokio::test]
async fn a_second_tag_of_what_is_complete_is_one_event_also_when_it_comes_while_the_copy_runs() {
    let node = Node::new();
    let image = node.image("x", &[b"a"]);
    for tag in ["1", "2", "3"] {
        node.tag(tag, &image);
    }
    node.pull("1").await;
    node.pull("2").await;
    node.pull("2").await;
    node.settle().await;
    node.pull("3").await;
    node.settle().await;
    check(
        &node,
        &[
            (&image, "", ""),
            (&image, "1", ""),
            (&image, "2", ""),
            (&image, "3", ""),
        ],
    )
    .await;
    for tag in ["1", "2", "3"] {
        assert_eq!(node.served(tag).await.as_ref(), Some(&image));
    }
}

#[tokio::test]
async fn a_tag_that_moved_is_its_new_index_twice_and_its_new_platform_and_gives_way_when_that_is_here()
 {
    let node = Node::new();
    let (old, new) = (node.image("old", &[b"a"]), node.image("new", &[b"b"]));
    let (first, second) = (
        node.index(&[(&old, "linux/amd64")]),
        node.index(&[(&new, "linux/amd64")]),
    );
    node.tag("1", &first);
    node.pull("1").await;
    node.settle().await;
    assert_eq!(
        node.served("1").await.as_ref(),
        Some(&first),
        "it takes the place of nothing"
    );
    node.pull(old.as_str()).await;
    node.settle().await;
    node.tag("1", &second);
    node.pull("1").await;
    node.settle().await;
    assert_eq!(node.tag_record("1").await.current.digest, second);
    assert_eq!(
        node.served("1").await.as_ref(),
        Some(&first),
        "nothing of the new one can be run yet"
    );
    node.pull(new.as_str()).await;
    node.settle().await;
    assert_eq!(node.served("1").await.as_ref(), Some(&second));
    let moved = [
        (&second, "", ""),
        (&second, "1", ""),
        (&new, "", "linux/amd64"),
    ];
    let before = [
        (&first, "", ""),
        (&first, "1", ""),
        (&old, "", "linux/amd64"),
    ];
    check(&node, &[before, moved].concat()).await;
    node.tag("1", &first);
    node.pull("1").await;
    node.settle().await;
    assert_eq!(
        node.served("1").await.as_ref(),
        Some(&first),
        "it is complete already"
    );
    check(
        &node,
        &[&before[..], &moved[..], &[(&first, "1", "")]].concat(),
    )
    .await;
}

#[tokio::test]
async fn an_older_observation_moves_nothing_and_tells_nobody() {
    let node = Node::new();
    let (old, new) = (node.image("old", &[]), node.image("new", &[]));
    node.tag("1", &new);
    node.pull("1").await;
    node.settle().await;
    let mut record = node.tag_record("1").await;
    record.observed_at = record.observed_at.plus(std::time::Duration::from_secs(60));
    node.world
        .store
        .metadata()
        .commit(vec![crate::store::metadata::Op::PutTag(record)])
        .await
        .unwrap();
    node.tag("1", &old);
    node.pull("1").await;
    node.settle().await;
    assert_eq!(node.served("1").await.as_ref(), Some(&new));
    check(&node, &[(&new, "", ""), (&new, "1", ""), (&old, "", "")]).await;
}

#[tokio::test]
async fn all_platforms_are_one_event_each_attestations_and_nested_indexes_too() {
    let node = Node::with(Platforms::All, Referrers::OnDemand);
    let (amd, arm, att) = (
        node.image("amd", &[b"a"]),
        node.image("arm", &[b"b"]),
        node.image("att", &[b"c"]),
    );
    let inner = node.index(&[(&arm, "linux/arm64")]);
    let index = node.index(&[
        (&amd, "linux/amd64"),
        (&inner, "index/"),
        (&att, "unknown/unknown"),
    ]);
    node.tag("1", &index);
    node.pull("1").await;
    node.settle().await;
    check(
        &node,
        &[
            (&index, "", ""),
            (&index, "1", ""),
            (&amd, "", "linux/amd64"),
            (&inner, "", ""),
            (&arm, "", "linux/arm64"),
            (&att, "", ""),
        ],
    )
    .await;
    assert_eq!(node.served("1").await, Some(index));
}

#[tokio::test]
async fn a_platform_that_comes_through_a_nested_index_completes_the_tag_above() {
    let node = Node::new();
    let (old, new) = (node.image("old", &[]), node.image("new", &[]));
    let first = node.index(&[(&old, "linux/amd64")]);
    let inner = node.index(&[(&new, "linux/amd64")]);
    let second = node.index(&[(&inner, "index/")]);
    node.tag("1", &first);
    node.pull("1").await;
    node.pull(old.as_str()).await;
    node.settle().await;
    node.tag("1", &second);
    for reference in ["1", inner.as_str(), new.as_str()] {
        node.pull(reference).await;
        node.settle().await;
    }
    assert_eq!(node.served("1").await, Some(second));
}
