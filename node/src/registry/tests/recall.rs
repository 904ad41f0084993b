//! What was recalled is refused with what contains it, and a lifted recall is lifted at once.

use std::collections::HashMap;

use wire::{digest::Digest, media_type::OCI_INDEX, route::ContentVerb};

use super::rig::{Rig, image, index, publish, request, settled};
use crate::{registry::Error, upstream::scripted::Verb};

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
