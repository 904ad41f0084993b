//! Broken transfers go on, in the same response, in the next fill and after a restart (T02, T05).

use std::sync::atomic::Ordering;

use wire::digest::Digest;

use super::{
    Error, World,
    world::{app, noise, read_all, within},
};
use crate::{
    store::blob::StageName,
    upstream::{
        self,
        error::Kind,
        scripted::{Call, Verb},
    },
};

fn starts(world: &World) -> Vec<u64> {
    let gets = world
        .upstream
        .calls()
        .into_iter()
        .filter(|call: &Call| call.verb == Verb::GetBlob);
    gets.map(|call| call.range.map_or(0, |range| range.start))
        .collect()
}

#[tokio::test]
async fn a_transfer_cut_at_half_completes_in_the_same_response() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    world.upstream.break_at(&digest, 50_000);
    let fill = world.fill(&digest);
    let (got, error) = read_all(&fill).await;
    assert!(got == bytes && error.is_none());
    within(fill.stored()).await.unwrap();
    assert_eq!(starts(&world), [0, 50_000]);
    assert!(world.has(&app(), &bytes).await);
}

#[tokio::test]
async fn an_upstream_that_ignores_ranges_is_read_again_up_to_the_break() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    world.upstream.ignore_ranges(true);
    world.upstream.break_at(&digest, 33_333);
    world.upstream.break_at(&digest, 66_666);
    let (got, error) = read_all(&world.fill(&digest)).await;
    assert!(got == bytes && error.is_none());
    assert_eq!(starts(&world), [0, 33_333, 66_666]);
}

#[tokio::test]
async fn after_five_resumes_the_body_is_cut_and_the_next_fill_goes_on_from_there() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    for i in 1..=6 {
        world.upstream.break_at(&digest, i * 10_000);
    }
    let (got, error) = read_all(&world.fill(&digest)).await;
    assert!(got == bytes[..60_000]);
    assert!(matches!(error, Some(Error::Upstream(error)) if error.kind == Kind::Broken));
    world.idle().await;
    assert!(world.has_nothing_of(&digest).await);
    assert_eq!(starts(&world), [0, 10_000, 20_000, 30_000, 40_000, 50_000]);
    let (got, error) = read_all(&world.fill(&digest)).await;
    assert!(got == bytes && error.is_none());
    assert_eq!(starts(&world).last(), Some(&59_999));
}

#[tokio::test]
async fn an_error_status_is_not_asked_again() {
    let world = World::new();
    let digest = world.upstream.blob("team/app", noise(100_000));
    world.upstream.break_at(&digest, 50_000);
    let gate = world.upstream.gate_at(&digest, 20_000);
    let fill = world.fill(&digest);
    within(gate.reached()).await;
    world.upstream.fail(
        Verb::GetBlob,
        usize::MAX,
        upstream::Error::away("502").with_status(502),
    );
    gate.open();
    assert!(
        matches!(read_all(&fill).await.1, Some(Error::Upstream(error)) if error.status == Some(502))
    );
    assert_eq!(starts(&world).len(), 2);
}

#[tokio::test]
async fn a_restart_goes_on_with_what_was_left_over() {
    let mut world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let gate = world.upstream.gate_at(&digest, 70_000);
    drop(world.fill(&digest));
    within(gate.reached()).await;
    within(async {
        while world
            .store
            .blobs()
            .stages()
            .await
            .unwrap()
            .iter()
            .all(|stage| stage.length < 70_000)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.restart().await;
    gate.open();
    let (got, error) = read_all(&world.fill(&digest)).await;
    assert!(got == bytes && error.is_none());
    assert_eq!(starts(&world), [0, 69_999]);
    world.idle().await;
    assert!(world.has(&app(), &bytes).await);
    assert!(world.store.blobs().stages().await.unwrap().is_empty());
}

async fn leave_over(world: &mut World, digest: &Digest, bytes: &[u8]) {
    let stage = world
        .store
        .blobs()
        .stage(StageName::Fill(digest.clone()))
        .await
        .unwrap();
    stage.write_at(bytes, 0).unwrap();
    world.restart().await;
}

#[tokio::test]
async fn a_bad_leftover_goes_at_the_first_mismatch_and_is_not_the_upstreams_fault() {
    let mut world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    leave_over(&mut world, &digest, &[7; 40_000]).await;
    let (_, error) = read_all(&world.fill(&digest)).await;
    assert!(matches!(error, Some(Error::Mismatch { .. })));
    world.idle().await;
    assert!(world.store.blobs().stages().await.unwrap().is_empty());
    let (got, error) = read_all(&world.fill(&digest)).await;
    assert!(got == bytes && error.is_none());
    assert_eq!(starts(&world), [39_999, 0]);
    assert_eq!(world.mismatches.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_leftover_that_is_whole_or_too_long_does_no_harm() {
    for (length, starts_at) in [(100_000, vec![99_999]), (120_000, vec![119_999, 0])] {
        let mut world = World::new();
        let bytes = noise(100_000);
        let digest = world.upstream.blob("team/app", bytes.clone());
        let mut left = bytes.to_vec();
        left.resize(length, 0);
        leave_over(&mut world, &digest, &left).await;
        let (got, error) = read_all(&world.fill(&digest)).await;
        assert!(got == bytes && error.is_none(), "{length}");
        assert_eq!(starts(&world), starts_at);
        world.idle().await;
        assert!(world.has(&app(), &bytes).await);
    }
}
