//! Which parts a copy fetches, and at what price.

use std::sync::Arc;

use serde_json::json;
use topology::model::rule::{Platforms, Referrers, Rule};
use wire::{
    digest::Digest,
    manifest,
    media_type::{OCI_INDEX, OCI_MANIFEST},
};

use super::world::{Node, again};
use crate::{
    fill::world::{app, noise, other, read_all, within},
    rule::{ActiveRule, Rules},
    upstream::{self, scripted::Verb},
};

#[tokio::test]
async fn a_copy_brings_what_the_client_never_asked_for_and_shares_what_it_did() {
    let node = Node::new();
    let (asked, unasked) = (noise(50_000), noise(60_000));
    let image = node.image("x", &[&asked, &unasked]);
    let digest = Digest::sha256(&asked);
    let gate = node.world.upstream.gate_at(&digest, 10_000);
    let fill = node.world.fill(&digest);
    within(gate.reached()).await;
    node.pull(image.as_str()).await;
    gate.open();
    assert!(read_all(&fill).await.0 == asked);
    node.settle().await;
    assert!(node.world.has(&app(), &asked).await && node.world.has(&app(), &unasked).await);
    assert_eq!(
        node.world.upstream.count(Verb::GetBlob),
        3,
        "one GET each: configuration and two layers"
    );
}

#[tokio::test]
async fn what_another_repository_has_is_linked_after_one_head_each_and_without_a_byte() {
    let node = Node::with(Platforms::All, Referrers::OnDemand);
    let image = node.image("x", &[b"a"]);
    let index = node.index(&[(&image, "linux/amd64")]);
    node.pull_into(&other(), index.as_str()).await;
    node.settle().await;
    let gets = (
        node.world.upstream.count(Verb::GetBlob),
        node.world.upstream.count(Verb::GetManifest),
    );
    assert_eq!(
        (gets, node.world.upstream.count(Verb::HeadBlob)),
        ((2, 2), 0)
    );
    node.pull(index.as_str()).await;
    node.settle().await;
    assert!(node.is_complete(&index).await && node.is_complete(&image).await);
    assert_eq!(node.world.upstream.count(Verb::GetBlob), 2);
    assert_eq!(
        node.world.upstream.count(Verb::GetManifest),
        3,
        "the index by the client"
    );
    assert_eq!(
        (
            node.world.upstream.count(Verb::HeadBlob),
            node.world.upstream.count(Verb::HeadManifest)
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn foreign_layers_are_never_fetched_and_keep_no_copy_open() {
    let node = Node::new();
    let config = node.world.upstream.blob("team/app", "config");
    let foreign = Digest::sha256(b"far away");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 6},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": foreign, "size": 8, "urls": ["http://169.254.169.254/"]}],
    });
    let image = node
        .world
        .upstream
        .manifest("team/app", None, OCI_MANIFEST, manifest.to_string());
    node.pull(image.as_str()).await;
    node.settle().await;
    assert!(node.is_complete(&image).await);
    assert!(
        node.world
            .upstream
            .calls()
            .iter()
            .all(|call| call.what != foreign.as_str())
    );
}

#[tokio::test]
async fn listed_platforms_are_copied_and_no_others() {
    let node = Node::with(
        Platforms::Listed(vec!["linux/arm64".parse().unwrap()]),
        Referrers::OnDemand,
    );
    let (amd, arm) = (node.image("amd", &[b"a"]), node.image("arm", &[b"b"]));
    let index = node.index(&[(&amd, "linux/amd64"), (&arm, "linux/arm64")]);
    node.pull(index.as_str()).await;
    node.settle().await;
    assert!(node.is_complete(&arm).await && !node.is_complete(&amd).await);
    assert_eq!(
        node.world
            .upstream
            .count_of(Verb::GetManifest, amd.as_str()),
        0
    );
}

#[tokio::test]
async fn referrers_come_with_the_image_and_their_absence_does_not_hold_it_up() {
    let node = Node::with(Platforms::Requested, Referrers::WithImage);
    let image = node.image("x", &[b"a"]);
    let signature = node.push("signature", &[b"signed"], Some(&image));
    let descriptor = manifest::Descriptor {
        media_type: OCI_MANIFEST.into(),
        size: 1,
        digest: signature.clone(),
        platform: None,
        urls: Vec::new(),
        artifact_type: None,
        annotations: Default::default(),
    };
    node.world.upstream.refer(
        "team/app",
        &image,
        manifest::referrers_index(&[descriptor.into()]),
    );
    node.world
        .upstream
        .fail(Verb::Referrers, 2, upstream::Error::away("not now"));
    node.tag("1", &image);
    node.pull("1").await;
    node.until(async || node.is_complete(&image).await).await;
    node.settle().await;
    assert!(node.is_complete(&signature).await && node.world.has(&app(), b"signed").await);
    let found = node
        .world
        .store
        .metadata()
        .referrers(&app(), &image)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        node.events().await.len(),
        3,
        "the image twice and the signature once, whatever was repeated"
    );
}

#[tokio::test]
async fn a_rule_that_is_widened_brings_what_its_copies_lack_without_a_client() {
    let mut node = Node::new();
    let amd = node.image("x", &[b"a"]);
    let arm = node.image("y", &[b"b"]);
    let index = node.index(&[(&amd, "linux/amd64"), (&arm, "linux/arm64")]);
    node.tag("1", &index);
    let signature = node.push("signature", &[b"s"], Some(&amd));
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": signature, "size": 1},
    ]});
    let upstream = &node.world.upstream;
    upstream.refer("team/app", &amd, list.to_string());
    node.copies.widen().await;
    node.pull("1").await;
    node.pull(amd.as_str()).await;
    node.settle().await;
    assert!(!node.is_complete(&arm).await);
    // The same scope again, in another process: nothing to do.
    node.restart().await;
    node.copies.widen().await;
    assert!(node.jobs().await.is_empty());
    let wide = Rule {
        platforms: Platforms::All,
        referrers: Referrers::WithImage,
        ..(*node.world.active.rule).clone()
    };
    let wide = ActiveRule {
        rule: Arc::new(wide),
        ..again(&node.world.active)
    };
    node.rules.store(Arc::new(Rules::new(vec![wide])));
    node.until(async || {
        node.copies.widen().await;
        node.is_complete(&arm).await && node.is_complete(&signature).await
    })
    .await;
    node.settle().await;
    assert_eq!(node.served("1").await, Some(index));
    assert_eq!(node.events().await.len(), 5, "one for each manifest more");
}
