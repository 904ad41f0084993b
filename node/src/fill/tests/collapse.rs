//! One transfer for everybody, owned by nobody who asks (T17).

use futures_util::StreamExt;

use super::{
    Config, Error, World,
    world::{Fault, app, noise, other, read_all, within},
};
use crate::{
    fill::{ManifestWant, Want},
    upstream::{self, scripted::Verb},
};

#[tokio::test]
async fn a_second_client_costs_the_upstream_nothing() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let gate = world.upstream.gate_at(&digest, 50_000);
    let first = world.fills.join(world.want(&digest));
    within(gate.reached()).await;
    let second = world.fills.join(world.want(&digest));
    assert_eq!(
        (first.collapsed, second.collapsed, world.fills.in_flight()),
        (false, true, 1)
    );
    gate.open();
    let ((one, _), (two, _)) = tokio::join!(read_all(&first.fill), read_all(&second.fill));
    assert!(one == bytes && two == bytes);
    within(first.fill.stored()).await.unwrap();
    assert_eq!(
        (
            world.upstream.total(),
            world.fills.in_flight(),
            world.ended("stored")
        ),
        (1, 0, 1)
    );
    assert!(world.has(&app(), &bytes).await);
}

#[tokio::test]
async fn a_leader_that_hangs_up_stops_nothing_and_wedges_nobody() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let gate = world.upstream.gate_at(&digest, 50_000);
    let leader = world.fill(&digest);
    let mut reads = leader.read(0..u64::MAX);
    assert!(within(reads.next()).await.unwrap().is_ok());
    let follower = world.fill(&digest);
    drop((reads, leader));
    gate.open();
    assert!(read_all(&follower).await.0 == bytes);
    drop(follower);
    world.idle().await;
    assert!(world.has(&app(), &bytes).await);
    assert_eq!(world.upstream.total(), 1);
}

#[tokio::test]
async fn a_fill_that_nobody_reads_ends_all_the_same() {
    let world = World::new();
    for size in [0, 1, 2048, 2049, 100_000] {
        let bytes = noise(size);
        let digest = world.upstream.blob("team/app", bytes.clone());
        drop(world.fill(&digest));
        world.idle().await;
        assert!(world.has(&app(), &bytes).await, "{size} bytes");
    }
}

#[tokio::test]
async fn the_first_bytes_leave_before_the_rest_has_come() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let gate = world.upstream.gate_at(&digest, 20_000);
    let fill = world.fill(&digest);
    assert_eq!(within(fill.opened()).await.unwrap().size, 100_000);
    let mut reads = fill.read(0..100_000);
    let mut got = Vec::new();
    while got.len() < 20_000 {
        got.extend_from_slice(&within(reads.next()).await.unwrap().unwrap());
    }
    assert!(got == bytes[..20_000]);
    gate.open();
    within(fill.stored()).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_slows_nobody() {
    let world = World::new();
    let bytes = noise(5 << 20);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let fill = world.fill(&digest);
    let mut slow = fill.read(0..u64::MAX);
    let mut got = within(slow.next()).await.unwrap().unwrap().to_vec();
    assert!(read_all(&fill).await.0 == bytes);
    within(fill.stored()).await.unwrap();
    while let Some(piece) = within(slow.next()).await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == bytes);
}

#[tokio::test]
async fn every_repository_that_joined_is_linked_and_begin_joins_only_its_own() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    let gate = world.upstream.gate(Verb::GetBlob);
    let fill = world.fill(&digest);
    within(gate.reached()).await;
    let foreign = Want {
        repository: other(),
        ..world.want(&digest)
    };
    assert!(world.fills.begin(world.want(&digest)).unwrap().collapsed);
    let refused = world.fills.begin(foreign).unwrap_err();
    assert!(world.fills.join(*refused).collapsed);
    gate.open();
    within(fill.stored()).await.unwrap();
    assert!(world.has(&app(), &bytes).await && world.has(&other(), &bytes).await);
}

#[tokio::test]
async fn stored_content_is_linked_after_one_head_and_without_a_byte() {
    let world = World::new();
    let bytes = noise(100_000);
    let digest = world.upstream.blob("team/app", bytes.clone());
    within(world.fill(&digest).stored()).await.unwrap();
    world
        .upstream
        .fail(Verb::HeadBlob, 1, upstream::Error::denied("not yours"));
    let want = || Want {
        repository: other(),
        ..world.want(&digest)
    };
    let denied = within(world.fills.join(want()).fill.stored()).await;
    assert!(
        matches!(denied, Err(Error::Upstream(error)) if error.kind == upstream::error::Kind::Denied)
    );
    assert!(!world.has(&other(), &bytes).await);
    let fill = world.fills.join(want()).fill;
    assert!(read_all(&fill).await.0 == bytes);
    within(fill.stored()).await.unwrap();
    assert!(world.has(&other(), &bytes).await);
    assert_eq!(
        (
            world.upstream.count(Verb::GetBlob),
            world.upstream.count(Verb::HeadBlob)
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn beyond_the_limit_callers_are_told_to_come_back() {
    let world = World::with(
        Config {
            max: 1,
            ..super::world::config()
        },
        Default::default(),
        Default::default(),
    );
    let (one, two) = (
        world.upstream.blob("team/app", noise(9_000)),
        world.upstream.blob("team/app", noise(8_000)),
    );
    let gate = world.upstream.gate(Verb::GetBlob);
    let running = world.fill(&one);
    assert!(matches!(
        within(world.fill(&two).opened()).await,
        Err(Error::Busy)
    ));
    gate.open();
    within(running.stored()).await.unwrap();
    within(world.fill(&two).stored()).await.unwrap();
}

#[tokio::test]
async fn a_lost_task_is_told_to_all_who_wait_and_leaves_nothing_in_flight() {
    let world = World::new();
    let digest = world.upstream.blob("team/app", noise(9_000));
    world.disk.fault(Fault::Panic);
    let fill = world.fill(&digest);
    assert!(matches!(within(fill.stored()).await, Err(Error::Aborted)));
    assert!(matches!(read_all(&fill).await, (bytes, Some(Error::Aborted)) if bytes.is_empty()));
    assert_eq!(world.fills.in_flight(), 0);
    world.disk.fault(Fault::None);
    within(world.fill(&digest).stored()).await.unwrap();
}

#[tokio::test]
async fn an_aborted_node_ends_every_fill() {
    let world = World::new();
    let digest = world.upstream.blob("team/app", noise(90_000));
    let gate = world.upstream.gate_at(&digest, 50_000);
    let fill = world.fill(&digest);
    within(gate.reached()).await;
    world.tasks.abort();
    assert!(matches!(within(fill.stored()).await, Err(Error::Aborted)));
    assert_eq!(world.fills.in_flight(), 0);
}

#[tokio::test]
async fn a_stopping_node_goes_on_only_for_who_reads() {
    let world = World::new();
    let bytes = noise(90_000);
    let (read, unread) = (
        world.upstream.blob("team/app", bytes.clone()),
        world.upstream.blob("team/app", noise(80_000)),
    );
    let (gate, closed) = (
        world.upstream.gate_at(&read, 50_000),
        world.upstream.gate_at(&unread, 50_000),
    );
    let fill = world.fill(&read);
    let mut reads = fill.read(0..u64::MAX);
    let mut got = within(reads.next()).await.unwrap().unwrap().to_vec();
    let idle = world.fill(&unread);
    within(closed.reached()).await;
    world.tasks.cancel();
    assert!(matches!(within(idle.stored()).await, Err(Error::Aborted)));
    gate.open();
    while let Some(piece) = within(reads.next()).await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == bytes);
}

#[tokio::test]
async fn a_manifest_is_asked_for_once_by_all_who_want_it() {
    let world = World::new();
    let digest = world
        .upstream
        .manifest("team/app", None, wire::media_type::OCI_MANIFEST, "{}");
    let gate = world.upstream.gate(Verb::GetManifest);
    let want = || ManifestWant {
        digest: digest.clone(),
        source: super::world::source(),
        active: std::sync::Arc::clone(&world.active),
        request: super::world::request(),
    };
    let open = async {
        gate.reached().await;
        gate.open();
    };
    let (one, two, ()) = within(async {
        tokio::join!(
            world.fills.manifest(want()),
            world.fills.manifest(want()),
            open
        )
    })
    .await;
    assert!(one.unwrap().bytes == "{}" && two.unwrap().bytes == "{}");
    assert_eq!(world.upstream.total(), 1);
    world.upstream.instead(&digest, "[]");
    assert!(within(world.fills.manifest(want())).await.is_err());
}
