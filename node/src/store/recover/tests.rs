//! T12, T14, T15: what a start finds and what it makes of it.

use std::{path::PathBuf, time::Duration};

use runtime::{Clock, Tasks, file::Real};
use tempfile::TempDir;
use uuid::Uuid;
use wire::{digest::Digest, time::WallTime};

use super::*;
use crate::store::{
    Config, Store, adopt,
    blob::{StageName, conformance},
    metadata::{BlobRecord, Op},
    verify::verify,
};

const LIMIT: Duration = Duration::from_secs(30);

struct Running {
    store: Store,
    tasks: Tasks,
}

async fn start(path: PathBuf) -> Result<Running, Error> {
    let tasks = Tasks::new("test");
    let clock = Clock::system();
    let store = Config::new(path)
        .build(Arc::new(Real), clock, &tasks)
        .await?;
    Ok(Running { store, tasks })
}

impl Running {
    async fn stop(self) {
        assert!(self.tasks.drain(LIMIT).await);
    }

    /// A record of now: the collector of the running store may take an old one that nothing links at any moment.
    fn stored_now(&self, digest: Digest) -> BlobRecord {
        let now = self.store.now();
        BlobRecord {
            digest,
            size: 4,
            stored_at: now,
            verified_at: now,
        }
    }

    async fn put_value(&self, key: &str) {
        let put = Op::PutValue(key.to_owned(), Some(vec![1]));
        self.store.metadata().commit(vec![put]).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_lock_left_behind_is_not_in_the_way() {
    let dir = TempDir::new().unwrap();
    let first = start(dir.path().join("node")).await.unwrap();
    let second = start(dir.path().join("node"))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(second.contains("used by another process"), "{second}");
    assert!(
        second.contains(&format!("pid {}", std::process::id())),
        "{second}"
    );
    assert_eq!(second.lines().count(), 1);
    first.stop().await;
    // The file is still there, as after kill -9; nobody holds its lock.
    assert!(dir.path().join("node/lock").exists());
    start(dir.path().join("node")).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_directory_of_a_newer_release_is_refused_before_anything_is_touched() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(FORMAT_FILE), "2\n").unwrap();
    let error = start(dir.path().to_owned())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("newer release"), "{error}");
    assert!(!dir.path().join(METADATA).exists());
}

#[tokio::test]
async fn a_start_sweeps_leftovers_and_keeps_what_can_be_resumed() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path().to_owned()).await.unwrap();
    let fill = StageName::Fill(Digest::sha256(b"half"));
    for name in [fill.clone(), StageName::Scratch(Uuid::now_v7())] {
        let stage = running.store.blobs().stage(name).await.unwrap();
        stage.write_at(b"ha", 0).unwrap();
    }
    running.stop().await;
    for _ in 0..2 {
        let running = start(dir.path().to_owned()).await.unwrap();
        let stages = running.store.blobs().stages().await.unwrap();
        let names: Vec<_> = stages
            .iter()
            .map(|info| (&info.name, info.length))
            .collect();
        assert_eq!(names, [(&fill, 2)]);
        running.stop().await;
    }
}

/// T12: a crash between the rename and the transaction.
#[tokio::test]
async fn contents_without_a_record_are_adopted_once() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path().to_owned()).await.unwrap();
    let store = &running.store;
    let orphan = conformance::store(store.blobs().as_ref(), b"orphan").await;
    assert_eq!(adopt::scan(store).await.unwrap(), 1);
    let adopted = store.metadata().blob(&orphan).await.unwrap().unwrap();
    assert_eq!((adopted.size, adopted.verified_at), (6, WallTime(0)));
    assert_eq!(adopt::scan(store).await.unwrap(), 0);
    assert_eq!(store.metadata().blob(&orphan).await.unwrap(), Some(adopted));
    let swept = store.metadata().totals().await.unwrap();
    assert_eq!((swept.blobs, swept.bytes), (1, 6));
    running.stop().await;
}

/// T12: a record whose file is gone is no content; the next fill brings it back.
#[tokio::test]
async fn a_record_without_its_file_is_taken_away_when_it_is_met() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path().to_owned()).await.unwrap();
    let store = &running.store;
    let digest = Digest::sha256(b"gone");
    let put = Op::PutBlob(running.stored_now(digest.clone()));
    store.metadata().commit(vec![put.clone()]).await.unwrap();
    let held = store.hold(&digest);
    assert!(store.blobs().open(&digest).await.unwrap().is_none());
    let kept = store.metadata().blob(&digest).await.unwrap();
    assert!(kept.is_some(), "whoever holds it may be about to bring it");
    drop(held);
    assert!(store.blobs().open(&digest).await.unwrap().is_none());
    assert!(store.metadata().blob(&digest).await.unwrap().is_none());
    assert_eq!(store.damaged(), 1);
    running.stop().await;
}

async fn filled_store(dir: &TempDir) {
    let running = start(dir.path().to_owned()).await.unwrap();
    for number in 0..200 {
        running
            .put_value(&format!("key/{number:03}/{}", "x".repeat(500)))
            .await;
    }
    let stored = conformance::store(running.store.blobs().as_ref(), b"kept").await;
    let put = vec![Op::PutBlob(running.stored_now(stored))];
    running.store.metadata().commit(put).await.unwrap();
    running.stop().await;
}

/// T14: whatever happened to the database, the node starts, says so, and deletes nothing.
#[tokio::test]
async fn damaged_metadata_are_set_aside_and_no_content_is_deleted() {
    type Harm = (&'static str, fn(&Path), usize);
    let harms: [Harm; 5] = [
        ("deleted", |path| fs::remove_file(path).unwrap(), 0),
        (
            "zeroed",
            |path| fs::write(path, vec![0; 65_536]).unwrap(),
            0,
        ),
        (
            "noise",
            |path| fs::write(path, vec![0xa5; 65_536]).unwrap(),
            0,
        ),
        ("cut by 1", |path| cut(path, 1), 100),
        ("cut by 64", |path| cut(path, 64), 100),
    ];
    for (what, harm, saved) in harms {
        let dir = TempDir::new().unwrap();
        filled_store(&dir).await;
        harm(&dir.path().join(METADATA));
        let running = start(dir.path().to_owned()).await.unwrap();
        let store = &running.store;
        assert!(store.degraded().is_some(), "{what}: damage is told");
        let values = store.metadata().values("key/").await.unwrap();
        assert!(
            values.len() >= saved,
            "{what}: {} rows were saved",
            values.len()
        );
        let digest = Digest::sha256(b"kept");
        assert!(
            store.blobs().open(&digest).await.unwrap().is_some(),
            "{what}"
        );
        adopt::scan(store).await.unwrap();
        assert!(store.metadata().blob(&digest).await.unwrap().is_some());
        running.put_value("works").await;
        running.stop().await;
        let again = start(dir.path().to_owned()).await.unwrap();
        assert_eq!(again.store.degraded(), None, "{what}: once");
        assert!(
            again
                .store
                .metadata()
                .value("works")
                .await
                .unwrap()
                .is_some()
        );
        again.stop().await;
        let report = verify(dir.path(), &Real).unwrap();
        assert_eq!(report.problems, Vec::<String>::new(), "{what}");
    }
}

fn cut(path: &Path, by: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

#[tokio::test]
async fn a_store_that_failed_heals_by_itself() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path().to_owned()).await.unwrap();
    running.store.report("fill", &Error::Full);
    // The report nudges the probe, which passes; nobody restarts anything.
    for _ in 0..10_000 {
        if running.store.degraded().is_none() {
            break;
        }
        tokio::task::yield_now().await;
        running.store.metadata().totals().await.unwrap();
        running.put_value("x").await;
    }
    assert_eq!(running.store.degraded(), None);
    assert_eq!(running.store.errors(), [("fill", 1)]);
    running.stop().await;
}

/// A killed node leaves its database's log behind; who only reads must see what is in it.
#[tokio::test]
async fn what_a_killed_node_left_is_verified_as_it_is() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let running = start(dir.path().to_owned()).await.unwrap();
    let record = running.stored_now(Digest::sha256(b"lost"));
    let put = vec![Op::PutBlob(record)];
    running.store.metadata().commit(put).await.unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    assert!(
        fs::metadata(copy.path().join("metadata.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    let report = verify(copy.path(), &Real).unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let again = start(copy.path().to_owned()).await.unwrap();
    assert_eq!(again.store.degraded(), None);
    assert_eq!(again.store.metadata().totals().await.unwrap().blobs, 1);
    again.stop().await;
    running.stop().await;
}
