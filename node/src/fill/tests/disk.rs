//! A disk that is full, read-only or broken never fails a pull that the upstream can serve (T63, T65).

use futures_util::StreamExt;

use super::{
    Error, World,
    world::{Fault, app, noise, read, read_all, within},
};
use crate::{store, upstream::scripted::Verb};

#[tokio::test]
async fn a_disk_that_fills_up_in_mid_blob_streams_the_rest_through() {
    for left in [0, 10_000, 50_000, 99_500, 99_999] {
        let world = World::new();
        let bytes = noise(100_000);
        let digest = world.upstream.blob("team/app", bytes.clone());
        world.disk.leave(left);
        let fill = world.fill(&digest);
        let (got, error) = read_all(&fill).await;
        assert!(
            got == bytes && error.is_none(),
            "with {left} bytes left: {error:?}"
        );
        assert!(matches!(
            within(fill.stored()).await,
            Err(Error::Store(store::Error::Full))
        ));
        world.idle().await;
        assert!(world.has_nothing_of(&digest).await);
        assert!(world.store.blobs().stages().await.unwrap().is_empty());
        assert_eq!(
            world.upstream.count(Verb::GetBlob),
            1,
            "the open transfer is taken over"
        );
        assert!(
            world.active.state.facts().store_error.is_some() && world.store.degraded().is_some()
        );
        world.disk.leave(u64::MAX);
        within(world.fill(&digest).stored()).await.unwrap();
        assert!(world.has(&app(), &bytes).await, "storing resumes by itself");
        assert!(world.active.state.facts().store_error.is_none());
    }
}

#[tokio::test]
async fn all_who_read_when_the_disk_fills_up_go_on_and_who_comes_later_gets_one_of_their_own() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    world.disk.leave(60_000);
    let gate = world.upstream.gate_at(&digest, 48_000);
    let fill = world.fill(&digest);
    let mut slow = fill.read(0..u64::MAX);
    let mut got = within(slow.next()).await.unwrap().unwrap().to_vec();
    gate.open();
    let (one, two) = tokio::join!(read_all(&fill), read(&fill, 30_000..99_000));
    assert!(one.0 == bytes && one.1.is_none());
    assert!(two.0 == bytes[30_000..99_000] && two.1.is_none());
    while let Some(piece) = within(slow.next()).await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == bytes);
    let late = world.fills.join(world.want(&digest));
    assert!(!late.collapsed);
    assert!(read_all(&late.fill).await.0 == bytes);
}

#[tokio::test]
async fn what_is_streamed_through_is_verified_all_the_same() {
    for left in [0, 50_000] {
        let world = World::new();
        let bytes = noise(100_000);
        let digest = world.upstream.blob("team/app", bytes.clone());
        let mut wrong = bytes.to_vec();
        wrong[70_000] ^= 1;
        world.upstream.instead(&digest, wrong);
        world.disk.leave(left);
        let (got, error) = read_all(&world.fill(&digest)).await;
        assert!(matches!(error, Some(Error::Mismatch { .. })));
        assert_eq!(got.len(), 100_000 - 1024);
    }
}

#[tokio::test]
async fn a_transfer_streamed_through_survives_a_break() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    world.disk.leave(20_000);
    world.upstream.break_at(&digest, 70_000);
    let (got, error) = read_all(&world.fill(&digest)).await;
    assert!(got == bytes && error.is_none());
}

#[tokio::test]
async fn a_store_that_takes_nothing_fails_no_reader() {
    for fault in [Fault::Stage, Fault::Commit] {
        for size in [100, 100_000] {
            let world = World::new();
            let bytes = noise(size);
            let digest = world.upstream.blob("team/app", bytes.clone());
            world.disk.fault(fault);
            let fill = world.fill(&digest);
            let (got, error) = read_all(&fill).await;
            assert!(got == bytes && error.is_none(), "{fault:?} {size}");
            assert!(matches!(within(fill.stored()).await, Err(Error::Store(_))));
            world.idle().await;
            assert!(
                world
                    .store
                    .metadata()
                    .link(&app(), &digest)
                    .await
                    .unwrap()
                    .is_none()
            );
            assert_eq!(world.upstream.count(Verb::GetBlob), 1);
            assert_eq!(world.ended("through"), 1);
        }
    }
}
