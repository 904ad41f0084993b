//! What people ask a node for without being a client: pulls, and what it holds.

use wire::{
    api::{
        inventory::Page,
        pull::{Platforms, Progress, Request as Asked, State},
    },
    media_type::OCI_INDEX,
};

use super::rig::{Rig, image, index, name, publish};
use crate::{registry::own_request, upstream};

fn asked(reference: &str, platforms: Platforms) -> Asked {
    Asked {
        repository: name("mirror/app"),
        reference: reference.parse().unwrap(),
        platforms,
    }
}

/// Asks, and looks until it has ended.
async fn pulled(rig: &Rig, asked: Asked) -> Progress {
    let mut progress = rig.registry.pull(asked).await.unwrap();
    for _ in 0..10_000 {
        if matches!(progress.state, State::Complete | State::Failed) {
            return progress;
        }
        tokio::task::yield_now().await;
        progress = rig
            .registry
            .pull_progress(&progress.id)
            .await
            .unwrap()
            .unwrap();
    }
    panic!("it does not end: {progress:?}");
}

/// The origin has an index of two platforms under `library/app:1`.
fn two_platforms(rig: &Rig) -> String {
    let (amd, arm) = (image("amd"), image("arm"));
    publish(&rig.origin, "library/app", None, "amd");
    publish(&rig.origin, "library/app", None, "arm");
    let index = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    rig.origin
        .manifest("library/app", Some("1"), OCI_INDEX, index.clone());
    index
}

#[tokio::test]
async fn a_pull_takes_every_platform_of_a_rule_that_copies_what_is_requested() {
    let rig = Rig::copying();
    two_platforms(&rig);
    let progress = pulled(&rig, asked("1", Platforms::Rule)).await;
    assert_eq!(progress.state, State::Complete, "{progress:?}");
    assert!(
        progress
            .contents
            .iter()
            .all(|content| content.stored && content.done == content.size)
    );
    // The index, and of two images manifest, configuration and layer.
    assert_eq!(progress.contents.len(), 7);
    let (repository, tag) = (name("mirror/app"), "1".parse().unwrap());
    let holding = rig.registry.holds(Some(&repository), &tag).await.unwrap();
    assert!(holding.complete && holding.stored.iter().all(|part| part.complete));
    let anywhere = holding.digest.unwrap().to_string().parse().unwrap();
    assert!(rig.registry.holds(None, &anywhere).await.unwrap().complete);
}

#[tokio::test]
async fn a_pull_of_one_platform_leaves_the_other() {
    let rig = Rig::copying();
    two_platforms(&rig);
    let only = Platforms::Only(vec!["linux/arm64".parse().unwrap()]);
    let progress = pulled(&rig, asked("1", only)).await;
    assert_eq!(
        (progress.state, progress.contents.len()),
        (State::Complete, 4)
    );
    let none = Platforms::Only(vec!["linux/s390x".parse().unwrap()]);
    let progress = pulled(&rig, asked("1", none)).await;
    assert_eq!(progress.state, State::Failed);
    assert!(progress.last_error.unwrap().text.contains("linux/s390x"));
}

#[tokio::test]
async fn a_pull_does_not_take_stale_content_for_an_answer() {
    let rig = Rig::copying();
    rig.publish("1", "a");
    assert_eq!(
        pulled(&rig, asked("1", Platforms::Rule)).await.state,
        State::Complete
    );
    rig.later(60);
    rig.origin.fail_all(&upstream::Error::away("503"));
    let progress = pulled(&rig, asked("1", Platforms::Rule)).await;
    assert_eq!(progress.state, State::Failed);
    assert!(
        progress
            .last_error
            .unwrap()
            .text
            .contains("could not be asked")
    );
}

#[tokio::test]
async fn a_node_tells_what_it_holds_and_lets_go_of_it() {
    let rig = Rig::copying();
    two_platforms(&rig);
    pulled(&rig, asked("1", Platforms::Rule)).await;
    let registry = &rig.registry;
    let listed = registry.repositories(&Page::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    assert_eq!((listed.items[0].tags, listed.items[0].manifests), (1, 3));
    assert_eq!(
        listed.items[0].rule.as_ref().map(|rule| rule.as_str()),
        Some("mirror")
    );
    let repository = name("mirror/app");
    let tags = registry
        .held_tags(&repository, &Page::default())
        .await
        .unwrap()
        .unwrap();
    assert!(tags.items[0].complete && tags.items[0].checked_at.is_some());
    let page = Page {
        limit: 2,
        after: None,
    };
    let first = registry.held_manifests(&repository, &page).await;
    let first = first.unwrap().unwrap();
    let rest = Page {
        limit: 2,
        after: first.next.clone(),
    };
    let second = registry.held_manifests(&repository, &rest).await;
    let second = second.unwrap().unwrap();
    assert_eq!(
        (first.items.len(), second.items.len(), second.next),
        (2, 1, None)
    );
    let unknown = registry.held_manifests(&name("mirror/none"), &page).await;
    assert!(unknown.unwrap().is_none());
    let body = registry
        .held_manifest(&repository, &"1".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body.manifest.stored.len(), 2);
    let deleted = registry
        .evict(&repository, None, &own_request())
        .await
        .unwrap();
    assert_eq!((deleted.tags, deleted.manifests), (1, 3));
    assert!(
        registry
            .repositories(&Page::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        registry
            .evict(&repository, None, &own_request())
            .await
            .is_err()
    );
}
