//! Ranges of cold and growing blobs (T05).

use super::{
    Error, World,
    world::{app, noise, read, read_all, within},
};
use crate::upstream::scripted::Verb;

#[tokio::test]
async fn a_near_range_follows_the_fill() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    for (range, expected) in [
        (0..100, 0..100),
        (8_000..9_000, 8_000..9_000),
        (0..u64::MAX, 0..100_000),
        (500..500, 500..500),
    ] {
        let fill = world.fill(&digest);
        let (got, error) = read(&fill, range).await;
        assert!(error.is_none() && got == bytes[expected]);
    }
    world.idle().await;
    assert_eq!(world.upstream.count(Verb::GetBlob), 1);
    assert!(world.has(&app(), &bytes).await);
}

#[tokio::test]
async fn far_ahead_one_ranged_read_does_not_wait_and_the_fill_goes_on() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let gate = world.upstream.gate_at(&digest, 10_000);
    let fill = world.fill(&digest);
    within(gate.reached()).await;
    for range in [50_000..60_000, 99_953..100_000] {
        let (got, error) = read(&fill, range.clone()).await;
        assert!(error.is_none() && got == bytes[range.start as usize..range.end as usize]);
    }
    gate.open();
    assert!(read_all(&fill).await.0 == bytes);
    assert_eq!(world.upstream.count(Verb::GetBlob), 3);
}

#[tokio::test]
async fn a_long_read_ahead_gives_its_end_only_when_the_digest_is_confirmed() {
    for right in [true, false] {
        let world = World::new();
        let bytes = noise(100_000);
        let digest = world.upstream.blob("team/app", bytes.clone());
        if !right {
            let mut wrong = bytes.to_vec();
            wrong[99_999] ^= 1;
            world.upstream.instead(&digest, wrong);
        }
        let gate = world.upstream.gate_at(&digest, 10_000);
        let fill = world.fill(&digest);
        within(gate.reached()).await;
        let reading = read(&fill, 50_000..100_000);
        let opening = async {
            while world.upstream.count(Verb::GetBlob) < 2 {
                tokio::task::yield_now().await;
            }
            gate.open();
        };
        let ((got, error), ()) = within(async { tokio::join!(reading, opening) }).await;
        if right {
            assert!(error.is_none() && got == bytes[50_000..]);
        } else {
            assert!(matches!(error, Some(Error::Mismatch { .. })));
            assert_eq!(got.len(), 50_000 - 1024);
        }
    }
}
