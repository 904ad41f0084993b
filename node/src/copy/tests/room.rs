//! `storage.maxSize` under pulls and their copies: old images leave for new ones, and what never fits costs no upstream anything.

use wire::digest::Digest;

use super::world::Node;
use crate::{
    fill::world::{app, noise, read_all, within},
    upstream::scripted::Verb,
};

const MAX_SIZE: u64 = 120_000;

/// A layer of which three fit, and not four.
fn layer(number: u8) -> Vec<u8> {
    let mut layer = noise(38_000).to_vec();
    layer[0] = number;
    layer
}

#[tokio::test]
async fn the_oldest_image_leaves_for_a_new_one_before_it_is_stored_by_its_one_fill() {
    let node = Node::limited(MAX_SIZE);
    let layers: Vec<Vec<u8>> = (0..4).map(layer).collect();
    let mut images = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let tag = number.to_string();
        let image = node.image(&tag, &[layer]);
        node.tag(&tag, &image);
        node.pull(&tag).await;
        let fill = node.world.fill(&Digest::sha256(layer));
        assert!(within(fill.opened()).await.unwrap().stores, "{number}");
        assert!(read_all(&fill).await.0 == *layer);
        node.settle().await;
        assert!(node.is_complete(&image).await, "{number}");
        images.push(image);
        // What is used is told apart by milliseconds.
        let used = node.world.clock.wall_ms();
        node.until(async || node.world.clock.wall_ms() > used).await;
    }
    for (number, layer) in layers.iter().enumerate() {
        let gets = node
            .world
            .upstream
            .count_of(Verb::GetBlob, &Digest::sha256(layer).to_string());
        assert_eq!(gets, 1, "{number}");
        assert_eq!(node.world.has(&app(), layer).await, number > 0, "{number}");
        assert_eq!(node.is_complete(&images[number]).await, number > 0);
    }
    assert!(node.world.active.state.facts().store_error.is_none());
    assert_eq!(node.world.store.errors(), []);
}

#[tokio::test]
async fn a_layer_that_never_fits_is_not_asked_for_by_its_copy_and_the_store_is_not_degraded() {
    let node = Node::limited(MAX_SIZE);
    let huge = noise(130_000);
    let image = node.image("huge", &[&huge]);
    node.tag("1", &image);
    node.pull("1").await;
    node.until(async || node.jobs().await[0].attempts >= 4)
        .await;
    let digest = Digest::sha256(&huge);
    let gets = || {
        node.world
            .upstream
            .count_of(Verb::GetBlob, &digest.to_string())
    };
    assert_eq!(gets(), 0);
    let told = node.world.active.state.facts().store_error;
    assert_eq!(told.as_deref(), Some("the store is full"));
    let fill = node.world.fill(&digest);
    assert!(!within(fill.opened()).await.unwrap().stores);
    let (got, error) = read_all(&fill).await;
    assert!(got == huge && error.is_none());
    assert_eq!(gets(), 1, "streamed through");
    assert_eq!(node.world.store.degraded(), None);
    assert_eq!(node.world.store.errors(), []);
}

#[tokio::test]
async fn an_image_does_not_leave_for_a_part_of_itself() {
    let node = Node::limited(MAX_SIZE);
    let layers: Vec<Vec<u8>> = (0..4).map(layer).collect();
    let image = node.image(
        "whole",
        &layers.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    );
    node.tag("1", &image);
    node.pull("1").await;
    for _ in 0..3 {
        for layer in &layers {
            let fill = node.world.fill(&Digest::sha256(layer));
            assert!(read_all(&fill).await.0 == *layer);
        }
    }
    assert_eq!(node.world.store.evicted()[0], ("full", 0));
    assert_eq!(node.world.store.degraded(), None);
}
