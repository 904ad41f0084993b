//! T09: memory never says what the store no longer says, however slowly somebody reads.

use std::{sync::Arc, time::Duration};

use runtime::Clock;
use wire::time::WallTime;

use super::*;
use crate::store::{
    Store, blob,
    blob::{Content, conformance},
    metadata::{BlobRecord, LinkKind, Origin, Version, memory::Memory},
    over,
};

fn world() -> (Store, blob::memory::Memory) {
    let clock = Clock::manual(1_000_000_000);
    let blobs = blob::memory::Memory::new(clock.clone());
    let store = over(Arc::new(blobs.clone()), Arc::new(Memory::new()), clock);
    (store, blobs)
}

fn tag(of: &[u8], observed: i64) -> TagRecord {
    TagRecord {
        repository: "r".parse().unwrap(),
        tag: "v1".parse().unwrap(),
        current: Version {
            digest: Digest::sha256(of),
            media_type: "m".to_owned(),
            size: 1,
        },
        complete: None,
        checked_at: WallTime(observed),
        observed_at: WallTime(observed),
        origin: Origin::Pushed,
    }
}

fn link(of: &[u8]) -> Link {
    Link {
        repository: "r".parse().unwrap(),
        digest: Digest::sha256(of),
        kind: LinkKind::Manifest,
        complete: false,
        origin: Origin::Pushed,
        created_at: WallTime(1),
        used_at: WallTime(1),
    }
}

async fn stored_tag(store: &Store) -> Option<TagRecord> {
    let (repository, tag) = ("r".parse().unwrap(), "v1".parse().unwrap());
    store.metadata().tag(&repository, &tag).await.unwrap()
}

#[tokio::test]
async fn a_commit_is_seen_at_once_by_who_read_before() {
    let (store, _) = world();
    let repository: RepositoryName = "r".parse().unwrap();
    let put = |op| store.metadata().commit(vec![op]);
    put(Op::PutTag(tag(b"a", 1))).await.unwrap();
    put(Op::PutLink(link(b"a"))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stored_tag(&store).await, Some(tag(b"a", 1)));
    }
    assert!(
        store.cache_stats().hits >= 1,
        "the second read was from memory"
    );
    put(Op::PutTag(tag(b"b", 2))).await.unwrap();
    assert_eq!(stored_tag(&store).await, Some(tag(b"b", 2)));
    let digest = Digest::sha256(b"b");
    let none = store.metadata().link(&repository, &digest).await.unwrap();
    assert_eq!(none, None);
    put(Op::PutLink(link(b"b"))).await.unwrap();
    let some = store.metadata().link(&repository, &digest).await.unwrap();
    assert_eq!(some, Some(link(b"b")));
    put(Op::DeleteLink(repository.clone(), digest.clone()))
        .await
        .unwrap();
    assert_eq!(
        stored_tag(&store).await,
        None,
        "its tags went with the link"
    );
    let none = store.metadata().link(&repository, &digest).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_slow_reader_does_not_put_back_what_a_commit_took_away() {
    let cache = MemoryCache::new(1 << 20);
    let digest = Digest::sha256(b"a");
    let repository: RepositoryName = "r".parse().unwrap();
    let cases: [(Key, Value, Op); 4] = [
        (
            Key::Tag(repository.clone(), "v1".parse().unwrap()),
            Value::Tag(tag(b"a", 1)),
            Op::DeleteTag(repository.clone(), "v1".parse().unwrap()),
        ),
        (
            Key::Tag(repository.clone(), "v2".parse().unwrap()),
            Value::Tag(tag(b"a", 1)),
            Op::DeleteLink(repository.clone(), digest.clone()),
        ),
        (
            Key::Link(repository.clone(), digest.clone()),
            Value::Link(link(b"a")),
            Op::DeleteLink(repository, digest.clone()),
        ),
        (
            Key::Content(digest.clone()),
            Value::Content(Bytes::from_static(b"a")),
            Op::DeleteBlob(digest),
        ),
    ];
    for (key, value, op) in cases {
        let stamp = cache.stamp(&key);
        cache.moved(&cache.touched_by(&[op]));
        cache.insert(key.clone(), stamp, value.clone());
        assert!(cache.get(&key).is_none(), "{key:?} was put back");
        cache.insert(key.clone(), cache.stamp(&key), value);
        assert!(cache.get(&key).is_some());
    }
}

#[tokio::test]
async fn deleted_and_quarantined_content_is_not_served_from_memory() {
    let (store, blobs) = world();
    for quarantine in [false, true] {
        let digest = conformance::store(&blobs, b"content").await;
        for _ in 0..2 {
            assert_eq!(store.read_small(&digest).await.unwrap().unwrap(), "content");
        }
        if quarantine {
            assert!(store.blobs().quarantine(&digest).await.unwrap());
        } else {
            assert!(store.blobs().delete(&digest).await.unwrap());
        }
        assert!(store.read_small(&digest).await.unwrap().is_none());
        assert!(store.blobs().open(&digest).await.unwrap().is_none());
        assert_eq!(
            store.blobs().size(&digest).await.unwrap(),
            None,
            "HEAD and GET agree"
        );
    }
}

#[tokio::test]
async fn rotten_content_never_enters_memory() {
    let (store, blobs) = world();
    let large = vec![1; 100_000];
    for bytes in [b"small".to_vec(), large] {
        let digest = conformance::store(&blobs, &bytes).await;
        let record = BlobRecord {
            digest: digest.clone(),
            size: bytes.len() as u64,
            stored_at: WallTime(1),
            verified_at: WallTime(1),
        };
        let put = vec![Op::PutBlob(record)];
        store.metadata().commit(put).await.unwrap();
        let mut rotten = bytes.clone();
        rotten[3] ^= 1;
        blobs.corrupt(&digest, rotten.clone());
        assert!(store.read_small(&digest).await.unwrap().is_none());
        assert_eq!(blobs.quarantined(&digest).unwrap(), rotten);
        assert!(store.metadata().blob(&digest).await.unwrap().is_none());
        conformance::store(&blobs, &bytes).await;
        assert_eq!(store.read_small(&digest).await.unwrap().unwrap(), bytes);
    }
}

#[tokio::test]
async fn memory_is_bounded_and_large_blobs_pass_it_by() {
    let clock = Clock::manual(0);
    let blobs = blob::memory::Memory::new(clock.clone());
    let store = over(Arc::new(blobs.clone()), Arc::new(Memory::new()), clock);
    let large = conformance::store(&blobs, &vec![1; 100_000]).await;
    let opened = store.blobs().open(&large).await.unwrap();
    assert!(matches!(opened, Some(Content::File(..))));
    for number in 0..600_u32 {
        let mut bytes = vec![0; 60_000];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let digest = conformance::store(&blobs, &bytes).await;
        store.blobs().open(&digest).await.unwrap();
    }
    store.0.cache.0.entries.run_pending_tasks();
    let bytes = store.cache_stats().bytes;
    assert!(bytes <= 16 << 20 && bytes > 8 << 20, "{bytes}");
}

/// Readers and writers of one tag at once: nobody reads an older version after a newer one was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reader_goes_back_in_time() {
    let (store, _) = world();
    let tasks = runtime::Tasks::new("readers");
    let first = vec![Op::PutTag(tag(b"0", 0))];
    store.metadata().commit(first).await.unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        readers.push(tasks.spawn("reader", async move {
            for _ in 0..2_000 {
                let before = acknowledged.load(Ordering::SeqCst);
                let seen = stored_tag(&store).await.unwrap().observed_at.0;
                assert!(seen >= i64::try_from(before).unwrap());
                tokio::task::yield_now().await;
            }
        }));
    }
    for number in 1..500_i64 {
        let put = Op::PutTag(tag(number.to_string().as_bytes(), number));
        store.metadata().commit(vec![put]).await.unwrap();
        acknowledged.store(u64::try_from(number).unwrap(), Ordering::SeqCst);
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(tasks.drain(Duration::from_secs(30)).await);
}

#[tokio::test]
async fn a_commit_whose_caller_left_still_moves_the_stamps() {
    let (store, _) = world();
    let put = vec![Op::PutTag(tag(b"a", 1))];
    store.metadata().commit(put).await.unwrap();
    assert_eq!(stored_tag(&store).await, Some(tag(b"a", 1)));
    {
        let put = vec![Op::PutTag(tag(b"b", 2))];
        let mut commit = store.metadata().commit(put);
        let _ = futures_util::poll!(&mut commit);
    }
    for _ in 0..1_000 {
        if stored_tag(&store).await == Some(tag(b"b", 2)) {
            return;
        }
        tokio::task::yield_now().await;
    }
    unreachable!("the commit was dropped with its caller, or memory still says what was");
}
