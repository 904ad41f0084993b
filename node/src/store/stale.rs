//! Which stages have been given up: uploads nobody goes on with, partial fills that are old or too many, leftovers.
//!
//! Used at the start, when nobody works with any stage yet, and by the collector later, which leaves alone what is held. A
//! partial fill is worth keeping: the next pull resumes it.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use uuid::Uuid;
use wire::time::WallTime;

use super::{
    Error, Store,
    blob::{StageInfo, StageName},
    metadata::Op,
};

/// How long after its last write a scratch file is left alone: it is written at once and committed, so what is older was meant to be
/// discarded by somebody whose disk failed at that as well.
const SCRATCH: Duration = Duration::from_mins(10);
/// How much partial fills may take in all, in bytes.
const PARTIAL: u64 = 16 << 30;
const PAGE: usize = 256;

/// At the start: nobody works with any stage.
pub(crate) async fn sweep_at_start(
    store: &Store,
    now: WallTime,
    ttl: Duration,
    gc: bool,
) -> Result<(), Error> {
    for info in store.0.raw_blobs.stages().await? {
        if matches!(info.name, StageName::Scratch(_)) {
            store.0.raw_blobs.discard(&info.name).await?;
        }
    }
    if gc {
        drop_stages(store, now, ttl).await?;
    }
    Ok(())
}

/// Drops stale uploads with their records, then stages that have been given up.
pub(crate) async fn drop_stages(store: &Store, now: WallTime, ttl: Duration) -> Result<(), Error> {
    let before = Before {
        others: now.minus(ttl),
        scratch: now.minus(ttl.min(SCRATCH)),
    };
    loop {
        let stale = store
            .0
            .raw_metadata
            .stale_uploads(before.others, PAGE)
            .await?;
        for upload in &stale {
            let delete = vec![Op::DeleteUpload(upload.id)];
            store.0.metadata.commit(delete).await?;
            let name = StageName::Upload(upload.id);
            store.0.raw_blobs.discard(&name).await?;
        }
        if stale.len() < PAGE {
            break;
        }
    }
    let stages = store.0.raw_blobs.stages().await?;
    let mut uploads = BTreeSet::new();
    for info in &stages {
        if let StageName::Upload(id) = info.name
            && store.0.raw_metadata.upload(id).await?.is_some()
        {
            uploads.insert(id);
        }
    }
    for name in given_up(stages, &uploads, before, PARTIAL) {
        let claim = match &name {
            StageName::Fill(digest) => store.0.holds.claim(digest).map(Some),
            StageName::Upload(_) | StageName::Scratch(_) => Some(None),
        };
        if claim.is_some() {
            store.0.raw_blobs.discard(&name).await?;
        }
    }
    Ok(())
}

/// When a stage was written last that has been given up.
#[derive(Clone, Copy)]
struct Before {
    scratch: WallTime,
    others: WallTime,
}

/// Which stages go: whatever was last written before `before` and is no upload that is still known, and the oldest partial fills
/// beyond `partial` bytes.
fn given_up(
    mut stages: Vec<StageInfo>,
    uploads: &BTreeSet<Uuid>,
    before: Before,
    partial: u64,
) -> Vec<StageName> {
    stages.sort_by_key(|info| Reverse(info.modified_ms));
    let mut kept: u64 = 0;
    let goes = |info: &StageInfo| {
        let old = info.modified_ms < before.others.0;
        match &info.name {
            StageName::Upload(id) => old && !uploads.contains(id),
            StageName::Scratch(_) => info.modified_ms < before.scratch.0,
            StageName::Fill(_) => {
                kept = kept.saturating_add(info.length);
                old || kept > partial
            }
        }
    };
    let mut goes = goes;
    let gone = stages.into_iter().filter(|info| goes(info));
    gone.map(|info| info.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::digest::Digest;

    #[test]
    fn old_and_surplus_stages_go_and_known_uploads_stay() {
        let info = |name, length, modified_ms| StageInfo {
            name,
            length,
            modified_ms,
        };
        let fill = |of: &[u8]| StageName::Fill(Digest::sha256(of));
        let (known, unknown) = (Uuid::now_v7(), Uuid::now_v7());
        let scratch = StageName::Scratch(Uuid::now_v7());
        let written_now = StageName::Scratch(Uuid::now_v7());
        let stages = vec![
            info(fill(b"newest"), 60, 90),
            info(fill(b"newer"), 30, 80),
            info(fill(b"surplus"), 30, 70),
            info(fill(b"old"), 1, 10),
            info(StageName::Upload(known), 1, 10),
            info(StageName::Upload(unknown), 1, 10),
            info(StageName::Upload(Uuid::now_v7()), 1, 60),
            info(scratch.clone(), 1, 60),
            info(written_now, 1, 75),
        ];
        let uploads = BTreeSet::from([known]);
        let before = Before {
            scratch: WallTime(70),
            others: WallTime(50),
        };
        let mut gone = given_up(stages, &uploads, before, 100);
        let mut expected = vec![
            fill(b"surplus"),
            fill(b"old"),
            StageName::Upload(unknown),
            scratch,
        ];
        let by_text = |name: &StageName| format!("{name:?}");
        gone.sort_by_key(by_text);
        expected.sort_by_key(by_text);
        assert_eq!(gone, expected);
    }
}
