//! What was recalled is refused with what contains it, and a lifted recall is lifted at once.

use std::collections::HashMap;

use topology::model::rule::WhenGone;
use wire::{digest::Digest, event::Action, media_type::OCI_INDEX, route::ContentVerb};

use super::rig::{Rig, image, index, publish, request, settled};
use crate::{
    registry::Error,
    upstream::{self, scripted::Verb},
};

fn recall(rig: &Rig, digests: &[&Digest]) {
    let all = digests
        .iter()
        .map(|digest| ((*digest).clone(), "CVE-2026-1".to_owned()));
    rig.recalls.replace(all.collect::<HashMap<_, _>>());
}

fn is_recalled<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Recalled { reason, .. }) if reason == "CVE-2026-1")
}

#[tokio::test]
async fn a_recalled_image_is_refused_by_tag_and_digest_until_it_is_lifted() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    recall(&rig, &[&image.digest]);
    assert!(is_recalled(rig.get("1").await));
    assert!(is_recalled(rig.head("1").await));
    assert!(is_recalled(rig.get(image.digest.as_str()).await));
    recall(&rig, &[]);
    assert_eq!(rig.get("1").await.unwrap().digest, image.digest);
}

#[tokio::test]
async fn a_recalled_digest_that_is_not_stored_is_not_fetched() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    recall(&rig, &[&image.digest, &image.layer]);
    assert!(is_recalled(rig.get("1").await));
    assert!(is_recalled(rig.get(image.digest.as_str()).await));
    assert!(is_recalled(
        rig.blob("mirror/app", &image.layer, None).await
    ));
    assert_eq!(rig.origin.count(Verb::GetManifest), 0);
    assert_eq!(rig.origin.count(Verb::GetBlob), 0);
}

#[tokio::test]
async fn what_contains_a_recalled_layer_is_refused_up_to_the_index() {
    let rig = Rig::new();
    let (amd, arm) = (image("amd"), image("arm"));
    publish(&rig.origin, "library/app", None, "amd");
    publish(&rig.origin, "library/app", None, "arm");
    let index = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    rig.origin
        .manifest("library/app", Some("1"), OCI_INDEX, index.clone());
    rig.get("1").await.unwrap();
    rig.get(amd.digest.as_str()).await.unwrap();
    settled(&rig.blob("mirror/app", &amd.layer, None).await.unwrap()).await;
    recall(&rig, &[&amd.layer]);
    let (app, tag) = (super::rig::name("mirror/app"), "1".parse().unwrap());
    let held = rig.registry.holds(Some(&app), &tag).await.unwrap();
    assert!(held.digest.is_some() && !held.complete);
    assert!(is_recalled(rig.blob("mirror/app", &amd.layer, None).await));
    assert!(is_recalled(rig.get(amd.digest.as_str()).await));
    assert!(is_recalled(rig.get("1").await));
    let other = rig.get(arm.digest.as_str()).await;
    assert!(other.is_ok(), "what does not contain it is served");
}

#[tokio::test]
async fn a_manifest_that_comes_with_a_recalled_layer_in_it_is_refused() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    recall(&rig, &[&image.layer]);
    assert!(is_recalled(rig.get("1").await));
    let (repository, tag) = (super::rig::name("pushed/app"), "1".parse().unwrap());
    let (bytes, request) = (image.manifest.clone().into(), request());
    let pushed = rig
        .registry
        .put_manifest(&repository, &tag, &[], None, bytes, &request);
    assert!(is_recalled(pushed.await));
    let again = rig.ask("mirror/app", "1", ContentVerb::Get, &request).await;
    assert!(is_recalled(again));
}

/// A node further up says that it was recalled, and this node has not heard of it, or of its end.
#[tokio::test]
async fn a_parents_recall_is_a_refusal_that_nobody_remembers() {
    for when_gone in [WhenGone::Keep, WhenGone::Deny] {
        let rig = Rig::with(|rule| rule.when_gone = when_gone);
        rig.subscribe(&[Action::ServedStale]);
        let image = rig.publish("1", "a");
        rig.get("1").await.unwrap();
        let absent = Digest::sha256(b"not stored");
        let parents = upstream::Error::recalled(image.digest.clone(), "origin answers 403");
        rig.origin.fail_all(&parents);
        for reference in ["1", "2", absent.as_str()] {
            let refused = rig.get(reference).await;
            let says = |digest: &Digest, reason: &str| {
                *digest == image.digest && reason.contains("origin")
            };
            assert!(
                matches!(&refused, Err(Error::Recalled { digest, reason }) if says(digest, reason)),
                "{reference}: {refused:?}"
            );
        }
        let facts = rig.facts();
        assert!(facts.denied_since.is_none() && facts.away_since.is_none());
        assert_eq!(rig.events().await, [""; 0], "nothing was served");
        rig.origin.heal();
        let lifted = rig.get("1").await.unwrap().provenance;
        assert_eq!(lifted.outcome, crate::registry::Outcome::Checked);
    }
}

#[tokio::test]
async fn what_is_recalled_here_is_never_told_as_served_stale() {
    let rig = Rig::new();
    rig.subscribe(&[Action::ServedStale]);
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    recall(&rig, &[&image.layer]);
    rig.origin.fail_all(&upstream::Error::away("refused"));
    assert!(is_recalled(rig.get("1").await));
    assert_eq!(rig.events().await, [""; 0]);
}
