//! What every implementation of `Blobs` must do. One suite, run by all of them; a new backend brings no new expectations.

#![expect(
    clippy::unwrap_used,
    reason = "a suite of tests, also for other crates' implementations"
)]

use std::{collections::BTreeSet, future::Future, sync::Arc};

use uuid::Uuid;
use wire::digest::{Algorithm, Digest};

use super::{Blobs, Content, SMALL, StageName};
use crate::store::Error;

/// Runs the suite; `make` gives an empty store each time.
pub async fn run<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Blobs>>,
{
    what_is_committed_is_there(make().await.as_ref()).await;
    a_stage_is_read_while_it_grows_and_found_again(make().await.as_ref()).await;
    a_commit_is_all_or_nothing(make().await.as_ref()).await;
    a_second_commit_of_a_digest_changes_nothing(make().await.as_ref()).await;
    who_has_it_open_reads_on_after_deletion(make().await.as_ref()).await;
    quarantine_takes_it_out_of_sight(make().await.as_ref()).await;
    listing_is_ordered_and_paged(make().await.as_ref()).await;
    stages_are_listed_and_discarded(make().await.as_ref()).await;
    assert!(make().await.space().await.unwrap().total > 0);
}

/// Stores `bytes` under their digest.
pub async fn store(blobs: &dyn Blobs, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    store_as(blobs, &digest, bytes).await;
    digest
}

async fn store_as(blobs: &dyn Blobs, digest: &Digest, bytes: &[u8]) {
    let stage = blobs.stage(StageName::Fill(digest.clone())).await.unwrap();
    stage.write_at(bytes, 0).unwrap();
    let size = bytes.len() as u64;
    blobs.commit(stage, digest, size).await.unwrap();
}

/// Reads a whole content.
pub async fn read(blobs: &dyn Blobs, digest: &Digest) -> Option<Vec<u8>> {
    let content = blobs.open(digest).await.unwrap()?;
    Some(read_all(&content))
}

fn read_all(content: &Content) -> Vec<u8> {
    match content {
        Content::Memory(bytes) => bytes.to_vec(),
        Content::File(file, size) => {
            let mut bytes = vec![0; usize::try_from(*size).unwrap()];
            let count = file.read_at(&mut bytes, 0).unwrap();
            assert_eq!(count as u64, *size);
            bytes
        }
    }
}

fn large() -> Vec<u8> {
    let size = usize::try_from(SMALL).unwrap() + 1;
    (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

async fn what_is_committed_is_there(blobs: &dyn Blobs) {
    for bytes in [Vec::new(), b"small".to_vec(), large()] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, &bytes);
            assert!(blobs.open(&digest).await.unwrap().is_none());
            assert_eq!(blobs.size(&digest).await.unwrap(), None);
            store_as(blobs, &digest, &bytes).await;
            assert_eq!(blobs.size(&digest).await.unwrap(), Some(bytes.len() as u64));
            assert_eq!(read(blobs, &digest).await.unwrap(), bytes);
            let content = blobs.open(&digest).await.unwrap().unwrap();
            let in_memory = matches!(content, Content::Memory(_));
            assert_eq!(in_memory, bytes.len() as u64 <= SMALL);
        }
    }
    assert!(blobs.stages().await.unwrap().is_empty());
}

async fn a_stage_is_read_while_it_grows_and_found_again(blobs: &dyn Blobs) {
    let digest = Digest::sha256(b"0123456789");
    let name = StageName::Fill(digest.clone());
    let stage = blobs.stage(name.clone()).await.unwrap();
    assert_eq!((stage.name(), stage.length().unwrap()), (&name, 0));
    stage.write_at(b"01234", 0).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(stage.read_at(&mut buffer, 3).unwrap(), 2);
    assert_eq!(&buffer[..2], b"34");
    assert_eq!(stage.read_at(&mut buffer, 5).unwrap(), 0);
    assert_eq!(stage.read_at(&mut buffer, 50).unwrap(), 0);
    assert!(blobs.open(&digest).await.unwrap().is_none());
    drop(stage);
    let again = blobs.stage(name).await.unwrap();
    assert_eq!(
        again.length().unwrap(),
        5,
        "what was written is found again"
    );
    again.write_at(b"X6789garbage", 5).unwrap();
    again.write_at(b"5", 5).unwrap();
    again.truncate(10).unwrap();
    again.sync().unwrap();
    assert_eq!(again.length().unwrap(), 10);
    blobs.commit(Arc::clone(&again), &digest, 10).await.unwrap();
    assert_eq!(
        again.read_at(&mut buffer, 8).unwrap(),
        2,
        "followers read on"
    );
    assert_eq!(read(blobs, &digest).await.unwrap(), b"0123456789");
}

async fn a_commit_is_all_or_nothing(blobs: &dyn Blobs) {
    let digest = Digest::sha256(b"whole");
    let stage = blobs.stage(StageName::Fill(digest.clone())).await.unwrap();
    stage.write_at(b"who", 0).unwrap();
    let short = blobs.commit(stage, &digest, 5).await;
    assert!(matches!(short, Err(Error::Corrupt(_))));
    assert!(blobs.open(&digest).await.unwrap().is_none());
    let longer = blobs
        .stage(StageName::Upload(Uuid::now_v7()))
        .await
        .unwrap();
    longer.write_at(b"whole and more", 0).unwrap();
    blobs.commit(longer, &digest, 5).await.unwrap();
    assert_eq!(read(blobs, &digest).await.unwrap(), b"whole");
}

async fn a_second_commit_of_a_digest_changes_nothing(blobs: &dyn Blobs) {
    let digest = store(blobs, b"same").await;
    let stage = blobs
        .stage(StageName::Upload(Uuid::now_v7()))
        .await
        .unwrap();
    stage.write_at(b"same", 0).unwrap();
    blobs.commit(stage, &digest, 4).await.unwrap();
    assert_eq!(read(blobs, &digest).await.unwrap(), b"same");
    assert!(
        blobs.stages().await.unwrap().is_empty(),
        "the second stage is dropped"
    );
}

async fn who_has_it_open_reads_on_after_deletion(blobs: &dyn Blobs) {
    let bytes = large();
    let digest = store(blobs, &bytes).await;
    let open = blobs.open(&digest).await.unwrap().unwrap();
    assert!(blobs.delete(&digest).await.unwrap());
    assert!(!blobs.delete(&digest).await.unwrap());
    assert!(blobs.open(&digest).await.unwrap().is_none());
    assert_eq!(blobs.size(&digest).await.unwrap(), None);
    assert_eq!(read_all(&open), bytes);
}

async fn quarantine_takes_it_out_of_sight(blobs: &dyn Blobs) {
    let digest = store(blobs, b"rotten").await;
    assert!(blobs.quarantine(&digest).await.unwrap());
    assert!(!blobs.quarantine(&digest).await.unwrap());
    assert!(blobs.open(&digest).await.unwrap().is_none());
    assert!(blobs.list(None, 10).await.unwrap().is_empty());
    store(blobs, b"rotten").await;
    assert_eq!(read(blobs, &digest).await.unwrap(), b"rotten");
}

async fn listing_is_ordered_and_paged(blobs: &dyn Blobs) {
    let mut stored = BTreeSet::new();
    for number in 0..40_u32 {
        let bytes = number.to_be_bytes();
        let algorithm = if number % 4 == 0 {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        let digest = Digest::of(algorithm, &bytes);
        store_as(blobs, &digest, &bytes).await;
        stored.insert(digest.as_str().to_owned());
    }
    let mut listed = Vec::new();
    let mut after: Option<Digest> = None;
    for _ in 0..20 {
        let page = blobs.list(after.as_ref(), 7).await.unwrap();
        assert!(page.len() <= 7 && page.iter().all(|(_, size)| *size == 4));
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        listed.extend(
            page.into_iter()
                .map(|(digest, _)| digest.as_str().to_owned()),
        );
    }
    assert_eq!(listed, stored.into_iter().collect::<Vec<_>>());
}

async fn stages_are_listed_and_discarded(blobs: &dyn Blobs) {
    let names = [
        StageName::Fill(Digest::of(Algorithm::Sha512, b"x")),
        StageName::Upload(Uuid::now_v7()),
        StageName::Scratch(Uuid::now_v7()),
    ];
    for name in &names {
        let stage = blobs.stage(name.clone()).await.unwrap();
        stage.write_at(b"abc", 0).unwrap();
    }
    let stages = blobs.stages().await.unwrap();
    assert_eq!(stages.len(), 3);
    for name in &names {
        let found = stages.iter().find(|info| info.name == *name).unwrap();
        assert_eq!(found.length, 3);
        blobs.discard(name).await.unwrap();
        blobs.discard(name).await.unwrap();
    }
    assert!(blobs.stages().await.unwrap().is_empty());
}
