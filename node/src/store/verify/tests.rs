//! The oracle itself: it must see every kind of damage, and none where there is none.

use std::{collections::BTreeMap, sync::Arc};

use runtime::{
    Clock, Tasks,
    file::{Failing, Fault, Real},
};
use tempfile::TempDir;
use wire::time::WallTime;

use super::*;
use crate::store::{
    Config, Store,
    blob::StageName,
    metadata::{BlobRecord, Child, Link, LinkKind, ManifestRecord, Op, Origin, TagRecord, Version},
};

async fn open(path: &Path, files: Arc<dyn Files>) -> (Store, Tasks) {
    let tasks = Tasks::new("test");
    let config = Config::new(path);
    let store = config.build(files, Clock::system(), &tasks).await.unwrap();
    (store, tasks)
}

async fn put_content(store: &Store, bytes: &[u8]) -> Result<Op, Error> {
    let digest = Digest::sha256(bytes);
    let size = bytes.len() as u64;
    let stage = store.blobs().stage(StageName::Fill(digest.clone())).await?;
    stage.write_at(bytes, 0)?;
    store.blobs().commit(stage, &digest, size).await?;
    Ok(Op::PutBlob(BlobRecord {
        digest,
        size,
        stored_at: WallTime(1),
        verified_at: WallTime(1),
    }))
}

fn link(digest: &Digest, kind: LinkKind) -> Op {
    Op::PutLink(Link {
        repository: "r".parse().unwrap(),
        digest: digest.clone(),
        kind,
        complete: kind == LinkKind::Manifest,
        origin: Origin::Pushed,
        created_at: WallTime(1),
        used_at: WallTime(1),
    })
}

/// An image of one layer under a tag: its contents, then everything else in one transaction.
async fn put_image(store: &Store) -> Result<(), Error> {
    let layer = vec![7; 100_000];
    let (layer_digest, image_digest) = (Digest::sha256(&layer), Digest::sha256(b"image"));
    let manifest = ManifestRecord {
        digest: image_digest.clone(),
        media_type: "m".to_owned(),
        size: 5,
        children: vec![Child {
            kind: ChildKind::Layer,
            digest: layer_digest.clone(),
            size: 100_000,
            media_type: "l".to_owned(),
            platform: None,
            foreign: false,
        }],
        subject: None,
        artifact_type: None,
        annotations: BTreeMap::new(),
    };
    let version = Version {
        digest: image_digest.clone(),
        media_type: "m".to_owned(),
        size: 5,
    };
    let tag = TagRecord {
        repository: "r".parse().unwrap(),
        tag: "v1".parse().unwrap(),
        current: version.clone(),
        complete: Some(version),
        checked_at: WallTime(1),
        observed_at: WallTime(1),
        origin: Origin::Pushed,
    };
    let ops = vec![
        put_content(store, &layer).await?,
        put_content(store, b"image").await?,
        Op::PutManifest(Arc::new(manifest)),
        link(&layer_digest, LinkKind::Blob),
        link(&image_digest, LinkKind::Manifest),
        Op::PutTag(tag),
    ];
    store.metadata().commit(ops).await
}

async fn image_in(path: &Path) {
    let (store, tasks) = open(path, Arc::new(Real)).await;
    put_image(&store).await.unwrap();
    assert!(tasks.drain(std::time::Duration::from_secs(30)).await);
}

fn file_of(path: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    path.join("blobs/sha256").join(&hex[..2]).join(hex)
}

#[tokio::test]
async fn a_whole_store_has_no_problems() {
    let dir = TempDir::new().unwrap();
    image_in(dir.path()).await;
    let report = verify(dir.path(), &Real).unwrap();
    let expected = Report {
        blobs: 2,
        bytes: 100_005,
        links: 2,
        tags: 1,
        problems: Vec::new(),
    };
    assert_eq!(report, expected);
}

#[tokio::test]
async fn a_directory_of_stores_is_verified_as_one() {
    let dir = TempDir::new().unwrap();
    image_in(&dir.path().join("hub")).await;
    image_in(&dir.path().join("nodes/spoke")).await;
    let layer = Digest::sha256(&[7; 100_000]);
    std::fs::write(file_of(&dir.path().join("nodes/spoke"), &layer), b"x").unwrap();
    let report = verify(dir.path(), &Real).unwrap();
    assert_eq!((report.blobs, report.links, report.tags), (4, 4, 2));
    assert_eq!(report.problems.len(), 2);
    assert!(report.problems[0].starts_with("nodes/spoke: content sha256:"));
    assert!(verify(&dir.path().join("nodes/spoke/blobs"), &Real).is_err());
}

#[tokio::test]
async fn every_kind_of_damage_is_seen() {
    let image = Digest::sha256(b"image");
    let layer = Digest::sha256(&[7; 100_000]);
    let database = |path: &Path, sql: &str| {
        let connection = rusqlite::Connection::open(path.join(METADATA)).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    type Harm<'a> = (Box<dyn Fn(&Path) + 'a>, &'static str);
    let harms: [Harm<'_>; 6] = [
        (
            Box::new(|path| std::fs::write(file_of(path, &image), b"imagE").unwrap()),
            "hash to",
        ),
        (
            Box::new(|path| std::fs::write(file_of(path, &layer), b"").unwrap()),
            "hash to",
        ),
        (
            Box::new(|path| std::fs::remove_file(file_of(path, &layer)).unwrap()),
            "is missing",
        ),
        (
            Box::new(|path| database(path, "DELETE FROM blob WHERE size = 5")),
            "has no content",
        ),
        (
            Box::new(|path| database(path, "DELETE FROM link WHERE manifest = 0")),
            "complete without",
        ),
        (
            Box::new(|path| database(path, "DELETE FROM link WHERE manifest = 1")),
            "is not linked",
        ),
    ];
    for (harm, problem) in harms {
        let dir = TempDir::new().unwrap();
        image_in(dir.path()).await;
        harm(dir.path());
        let report = verify(dir.path(), &Real).unwrap();
        let seen = report.problems.iter().any(|line| line.contains(problem));
        assert!(seen, "{problem}: {:?}", report.problems);
    }
}

/// T10, T13 for a manifest and its tag: whichever call to the disk fails or is the last, the store is whole, what was acknowledged
/// is there, and trying again works.
/// Until the format is written, there is nothing that a half-made database could have lost.
#[tokio::test]
async fn a_first_start_that_was_interrupted_is_no_damage() {
    let dir = TempDir::new().unwrap();
    let problems = || {
        let report = verify(dir.path(), &Real).unwrap();
        report.problems.len()
    };
    std::fs::write(dir.path().join(METADATA), b"").unwrap();
    assert_eq!(problems(), 0);
    std::fs::write(dir.path().join(FORMAT_FILE), b"1\n").unwrap();
    assert_eq!(problems(), 1);
    std::fs::remove_file(dir.path().join(FORMAT_FILE)).unwrap();
    let content = file_of(dir.path(), &Digest::sha256(b"content"));
    std::fs::create_dir_all(content.parent().unwrap()).unwrap();
    std::fs::write(content, b"content").unwrap();
    assert_eq!(problems(), 1);
}

#[tokio::test]
async fn a_commit_that_fails_anywhere_leaves_a_whole_store() {
    for fault in [Fault::Stop, Fault::Error(std::io::ErrorKind::StorageFull)] {
        let mut untouched = false;
        for at in 1..300 {
            let dir = TempDir::new().unwrap();
            let files = Failing::new(Arc::new(Real), fault, at);
            let tasks = Tasks::new("test");
            let config = Config::new(dir.path());
            let built = config
                .build(Arc::new(files.clone()), Clock::system(), &tasks)
                .await;
            let done = match &built {
                Ok(store) => put_image(store).await.is_ok(),
                Err(_) => false,
            };
            let calls = files.calls();
            drop(built);
            assert!(tasks.drain(std::time::Duration::from_secs(30)).await);
            let (store, tasks) = open(dir.path(), Arc::new(Real)).await;
            let report = verify(dir.path(), &Real).unwrap();
            assert_eq!(
                report.problems,
                Vec::<String>::new(),
                "{fault:?} at call {at}"
            );
            assert!(
                !done || report.tags == 1,
                "acknowledged and lost at call {at}"
            );
            put_image(&store).await.unwrap();
            assert!(tasks.drain(std::time::Duration::from_secs(30)).await);
            assert_eq!(verify(dir.path(), &Real).unwrap().tags, 1);
            if calls < at {
                untouched = true;
                break;
            }
        }
        assert!(untouched, "the sweep ended before the commit ran untouched");
    }
}
