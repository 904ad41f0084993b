//! The suite on a real disk, and a sweep that fails or stops the disk at each call of a commit.

use runtime::file::{Failing, Fault, Real};
use tempfile::TempDir;

use super::*;
use crate::store::blob::conformance;

fn local(dir: &TempDir) -> Local {
    Local::new(dir.path(), Arc::new(Real))
}

#[tokio::test]
async fn files_keep_the_contract() {
    let dirs = TempDir::new().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    conformance::run(&|| {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let root = dirs.path().join(number.to_string());
        std::fs::create_dir(&root).unwrap();
        async move { Arc::new(Local::new(root, Arc::new(Real))) as Arc<dyn Blobs> }
    })
    .await;
}

async fn fill(blobs: &Local, bytes: &[u8]) -> Result<(), Error> {
    let digest = Digest::sha256(bytes);
    let stage = blobs.stage(StageName::Fill(digest.clone())).await?;
    stage.write_at(bytes, 0)?;
    blobs.commit(stage, &digest, bytes.len() as u64).await
}

/// T10, T13: whichever call fails, what was acknowledged is whole, what is visible is whole, and trying again works.
#[tokio::test]
async fn a_disk_that_fails_at_any_call_leaves_nothing_half_visible() {
    let bytes = vec![7; 100_000];
    let digest = Digest::sha256(&bytes);
    for fault in [
        Fault::Error(ErrorKind::StorageFull),
        Fault::Error(ErrorKind::Other),
        Fault::Stop,
    ] {
        let mut untouched = false;
        for at in 1..200 {
            let dir = TempDir::new().unwrap();
            let files = Failing::new(Arc::new(Real), fault, at);
            let broken = Local::new(dir.path(), Arc::new(files.clone()));
            let result = fill(&broken, &bytes).await;
            let healthy = local(&dir);
            let visible = conformance::read(&healthy, &digest).await;
            assert!(visible.is_none() || visible.as_deref() == Some(&bytes[..]));
            if result.is_ok() {
                assert!(visible.is_some(), "acknowledged at call {at} and lost");
            }
            if fault == Fault::Error(ErrorKind::StorageFull) && result.is_err() {
                assert!(matches!(result, Err(Error::Full)));
            }
            fill(&healthy, &bytes).await.unwrap();
            assert!(healthy.stages().await.unwrap().is_empty());
            if files.calls() < at {
                untouched = true;
                break;
            }
        }
        assert!(
            untouched,
            "the sweep ended before the operation ran untouched"
        );
    }
}

#[tokio::test]
async fn a_failed_flush_is_final_for_that_file() {
    let dir = TempDir::new().unwrap();
    let bytes = b"bytes";
    // Calls: open the stage, make its directory and flush that into three, create, write, length, flush.
    let mut flushes_failed = 0;
    for at in 1..30 {
        let files = Failing::new(Arc::new(Real), Fault::Error(ErrorKind::Other), at);
        let broken = Local::new(dir.path(), Arc::new(files));
        let name = StageName::Fill(Digest::sha256(bytes));
        let Ok(stage) = broken.stage(name).await else {
            continue;
        };
        let Ok(()) = stage.write_at(bytes, 0) else {
            continue;
        };
        let size = bytes.len() as u64;
        let committed = broken.commit(stage, &Digest::sha256(bytes), size).await;
        if committed.is_err() {
            flushes_failed += 1;
            let left = local(&dir).stages().await.unwrap();
            assert!(left.is_empty(), "the stage of a failed commit is gone");
        }
    }
    assert!(flushes_failed >= 3);
}

#[tokio::test]
async fn a_small_rotten_file_is_not_handed_out() {
    let dir = TempDir::new().unwrap();
    let blobs = local(&dir);
    let digest = conformance::store(&blobs, b"bytes").await;
    std::fs::write(blobs.inner.layout.blob(&digest), b"bytez").unwrap();
    assert!(matches!(blobs.open(&digest).await, Err(Error::Corrupt(_))));
    assert!(blobs.quarantine(&digest).await.unwrap());
    let kept = std::fs::read(blobs.inner.layout.quarantined(&digest)).unwrap();
    assert_eq!(kept, b"bytez");
}

#[tokio::test]
async fn the_quarantine_is_bounded() {
    let dir = TempDir::new().unwrap();
    let blobs = local(&dir);
    for number in 0..u32::try_from(QUARANTINED).unwrap() + 5 {
        let digest = conformance::store(&blobs, &number.to_be_bytes()).await;
        blobs.quarantine(&digest).await.unwrap();
    }
    let kept = std::fs::read_dir(dir.path().join("quarantine")).unwrap();
    assert_eq!(kept.count(), QUARANTINED);
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let blobs = local(&dir);
    conformance::store(&blobs, b"bytes").await;
    let strange = dir.path().join("blobs/sha256/zz");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("README"), b"hello").unwrap();
    std::fs::create_dir_all(dir.path().join("stage/upload")).unwrap();
    std::fs::write(dir.path().join("stage/upload/x"), b"hello").unwrap();
    assert_eq!(blobs.list(None, 10).await.unwrap().len(), 1);
    assert!(blobs.stages().await.unwrap().is_empty());
}
