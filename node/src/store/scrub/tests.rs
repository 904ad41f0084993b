//! T06: rot at rest is found within one round, also when nobody reads it, and nothing sound is touched.

use std::sync::Arc;

use runtime::Clock;

use super::*;
use crate::store::{
    blob::{Blobs, conformance, memory::Memory},
    metadata::memory::Memory as MemoryMetadata,
    over,
};

const DAY: Duration = Duration::from_hours(24);

struct World {
    clock: Clock,
    blobs: Memory,
    store: Store,
    scrub: Scrub,
}

impl World {
    fn new() -> Self {
        let clock = Clock::manual(1_000_000_000);
        let blobs = Memory::new(clock.clone());
        let metadata = Arc::new(MemoryMetadata::new());
        let store = over(Arc::new(blobs.clone()), metadata, clock.clone());
        let scrub = Scrub::new(7 * DAY, CancellationToken::new());
        Self {
            clock,
            blobs,
            store,
            scrub,
        }
    }

    async fn put(&self, bytes: &[u8]) -> Digest {
        let digest = conformance::store(&self.blobs, bytes).await;
        let record = BlobRecord {
            digest: digest.clone(),
            size: bytes.len() as u64,
            stored_at: self.store.now(),
            verified_at: self.store.now(),
        };
        let put = vec![Op::PutBlob(record)];
        self.store.metadata().commit(put).await.unwrap();
        digest
    }

    async fn turns(&mut self, hours: u32) {
        for _ in 0..hours {
            self.clock.advance(Duration::from_hours(1));
            self.scrub.turn(&self.store).await.unwrap();
        }
    }
}

#[tokio::test]
async fn rot_is_found_within_one_round_and_reported() {
    let mut world = World::new();
    let large = vec![7; 200_000];
    let small_rotten = world.put(b"small").await;
    let large_rotten = world.put(&large).await;
    let lost = world.put(b"lost").await;
    let sound = world.put(&vec![8; 200_000]).await;
    let mut damage = world.store.damage();
    world.turns(1).await;
    world.blobs.corrupt(&small_rotten, &b"smalL"[..]);
    let mut flipped = large.clone();
    flipped[150_000] ^= 1;
    world.blobs.corrupt(&large_rotten, flipped.clone());
    world.blobs.delete(&lost).await.unwrap();
    world.turns(7 * 24).await;
    for digest in [&small_rotten, &large_rotten, &lost] {
        assert!(world.store.blobs().open(digest).await.unwrap().is_none());
        assert!(world.store.metadata().blob(digest).await.unwrap().is_none());
    }
    assert_eq!(world.blobs.quarantined(&large_rotten).unwrap(), flipped);
    assert_eq!(world.store.damaged(), 3);
    let mut told = Vec::new();
    while let Ok(damage) = damage.try_recv() {
        told.push(damage.digest);
    }
    told.sort();
    let mut expected = [small_rotten, large_rotten, lost];
    expected.sort();
    assert_eq!(told, expected);
    let record = world.store.metadata().blob(&sound).await.unwrap().unwrap();
    assert!(record.verified_at > record.stored_at);
}

#[tokio::test]
async fn the_work_is_spread_over_the_period() {
    let mut world = World::new();
    for number in 0..100_u8 {
        world.put(&vec![number; 1_000]).await;
    }
    let verified = |world: &World| {
        let store = world.store.clone();
        async move {
            let blobs = store.metadata().least_verified(1_000).await.unwrap();
            blobs
                .iter()
                .filter(|blob| blob.verified_at > blob.stored_at)
                .count()
        }
    };
    world.clock.advance(2 * DAY);
    world.turns(1).await;
    assert!(
        verified(&world).await < 5,
        "a turn does its share and no more"
    );
    world.turns(3 * 24).await;
    let half = verified(&world).await;
    assert!(
        (40..60).contains(&half),
        "{half} of 100 after half the time"
    );
    world.turns(4 * 24).await;
    assert_eq!(verified(&world).await, 100);
}

#[tokio::test]
async fn what_was_served_lately_is_verified_first() {
    let mut world = World::new();
    for number in 0..50_u8 {
        world.put(&vec![number; 1_000]).await;
    }
    let popular = world.put(b"popular").await;
    world.clock.advance(2 * DAY);
    world.scrub.turn(&world.store).await.unwrap();
    world.store.used(&"r".parse().unwrap(), &popular);
    world.turns(1).await;
    let record = world
        .store
        .metadata()
        .blob(&popular)
        .await
        .unwrap()
        .unwrap();
    assert!(record.verified_at > record.stored_at);
}

#[test]
fn credit_grows_with_time_and_stays_within_a_round() {
    let week = 7 * DAY;
    for (credit, since, expected) in [
        (0.0, Duration::ZERO, 0.0),
        (0.0, DAY * 63 / 10, 700.0),
        (0.0, DAY * 63 / 20, 350.0),
        (600.0, DAY * 63 / 20, 700.0),
        (-100.0, DAY * 63 / 20, 250.0),
        (0.0, 100 * DAY, 700.0),
    ] {
        let earned = earned(credit, 700, since, week);
        assert!(
            (earned - expected).abs() < 1.0,
            "{credit} {since:?}: {earned}"
        );
    }
}
