//! Wrong bytes never complete and are never stored (T01, T02).

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{
    Error, World,
    world::{app, noise, read, read_all, within},
};
use crate::{fill::Want, upstream::scripted::Verb};

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut wrong = bytes.to_vec();
    wrong[at] ^= 1;
    wrong.into()
}

#[tokio::test]
async fn wrong_bytes_never_complete_and_leave_nothing() {
    for size in [1, 1024, 2048, 2049, 100_000] {
        for at in [0, size / 2, size - 1] {
            let world = World::new();
            let bytes = noise(size);
            let digest = world.upstream.blob("team/app", bytes.clone());
            world.upstream.instead(&digest, flipped(&bytes, at));
            let fill = world.fill(&digest);
            let (got, error) = read_all(&fill).await;
            assert!(
                error.is_some_and(|error| error.is_mismatch()),
                "{size} {at}"
            );
            let most = if size <= 2048 { 0 } else { size - 1024 };
            assert!(got.len() <= most, "{} of {size} came", got.len());
            assert!(within(fill.verified()).await.is_err());
            world.idle().await;
            assert!(world.has_nothing_of(&digest).await);
            assert!(world.store.blobs().stages().await.unwrap().is_empty());
            assert_eq!(
                (
                    world.mismatches.load(Ordering::SeqCst),
                    world.ended("mismatch")
                ),
                (1, 1)
            );
            world.upstream.instead(&digest, bytes.clone());
            assert!(read_all(&world.fill(&digest)).await.0 == bytes, "healed");
        }
    }
}

#[tokio::test]
async fn a_wrong_length_never_completes_whoever_noticed() {
    for size in [1000, 100_000] {
        for wrong in [
            noise(size - 1),
            noise(size + 1),
            noise(size / 2),
            Bytes::new(),
        ] {
            for known in [None, Some(size as u64)] {
                let world = World::new();
                let digest = world.upstream.blob("team/app", noise(size));
                world.upstream.instead(&digest, wrong.clone());
                let fill = world
                    .fills
                    .join(Want {
                        size: known,
                        ..world.want(&digest)
                    })
                    .fill;
                let (got, error) = read_all(&fill).await;
                assert!(
                    error.is_some_and(|error| error.is_mismatch()),
                    "{size} {} {known:?}",
                    wrong.len()
                );
                assert!(got.len() < wrong.len().max(1));
                world.idle().await;
                assert!(world.has_nothing_of(&digest).await);
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_that_changes_its_mind_in_mid_transfer_is_not_spliced() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    world.upstream.break_at(&digest, 40_000);
    let gate = world.upstream.gate_at(&digest, 30_000);
    let fill = world.fill(&digest);
    within(gate.reached()).await;
    world.upstream.instead(&digest, noise(99_999));
    gate.open();
    assert!(read_all(&fill).await.1.is_some_and(|error| matches!(
        error,
        Error::Size {
            expected: 100_000,
            got: 99_999
        }
    )));
    world.idle().await;
    assert!(world.has_nothing_of(&digest).await);
}

#[tokio::test]
async fn who_comes_back_for_the_missing_tail_does_not_get_it_unverified() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    world.upstream.instead(&digest, flipped(&bytes, 99_999));
    let (got, _) = read_all(&world.fill(&digest)).await;
    world.idle().await;
    let again = world.fill(&digest);
    assert!(
        within(again.opened()).await.is_err(),
        "a clean error before the headers"
    );
    assert!(read(&again, got.len() as u64..100_000).await.0.is_empty());
    world.idle().await;
    world.upstream.instead(&digest, bytes.clone());
    let healed = world.fill(&digest);
    within(healed.opened()).await.unwrap();
    assert!(read(&healed, got.len() as u64..100_000).await.0 == bytes[got.len()..]);
    within(healed.stored()).await.unwrap();
    assert!(world.has(&app(), &bytes).await);
    assert_eq!(world.upstream.count(Verb::GetBlob), 3);
}
