//! Spools of fills that did not end: what of them a later fill, also after a restart, need not ask for again.
//!
//! Kept in mind rather than looked for, so that a cold pull asks its upstream before it touches the disk. What is used is
//! hashed again first: the state of a hash is not on disk, and neither is any promise about these bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wire::{digest::Digest, time::WallTime};

use crate::store::{
    Store,
    blob::{Stage, StageInfo, StageName},
};

/// Older ones are dropped at start.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How many are kept; the longest unused go first.
const MAX: usize = 256;

/// The leftovers, by digest, with their lengths in bytes.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    map: Mutex<HashMap<Digest, u64>>,
    found: CancellationToken,
}

impl Leftovers {
    /// Looks for those of an earlier process. To be called once, at start.
    pub(super) async fn find(&self, store: &Store, now: WallTime) {
        let _found = self.found.clone().drop_guard();
        let stages = match store.blobs().stages().await {
            Ok(stages) => stages,
            Err(error) => return store.report("stages", &error),
        };
        let (keep, drop) = sort(stages, now);
        for name in &drop {
            discard(store, name).await;
        }
        let mut map = self.lock();
        for (digest, length) in keep {
            map.entry(digest).or_insert(length);
        }
    }

    /// Waits until those of an earlier process are known. A fill that began before would neither use its leftover nor be told from
    /// it, and lose its file to `find`.
    pub(super) async fn found(&self) {
        self.found.cancelled().await;
    }

    /// The one of this digest, now the caller's.
    pub(super) fn take(&self, digest: &Digest) -> Option<u64> {
        self.lock().remove(digest)
    }

    /// Keeps one for later, unless there are too many: then the caller discards it.
    pub(super) fn keep(&self, digest: &Digest, length: u64) -> bool {
        let mut map = self.lock();
        let room = map.len() < MAX;
        if room {
            map.insert(digest.clone(), length);
        }
        room
    }

    /// Drops all of them: room is worth more. Whether there were any.
    pub(super) async fn drop_all(&self, store: &Store) -> bool {
        let all: Vec<Digest> = self.lock().drain().map(|(digest, _)| digest).collect();
        for digest in &all {
            discard(store, &StageName::Fill(digest.clone())).await;
        }
        !all.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fills' stages worth keeping, and the rest of them.
fn sort(stages: Vec<StageInfo>, now: WallTime) -> (Vec<(Digest, u64)>, Vec<StageName>) {
    let (mut keep, mut drop) = (Vec::new(), Vec::new());
    let mut stages = stages;
    stages.sort_by_key(|stage| std::cmp::Reverse(stage.modified_ms));
    for stage in stages {
        let StageName::Fill(digest) = &stage.name else {
            continue;
        };
        let old = WallTime(stage.modified_ms)
            .age(now)
            .is_some_and(|age| age > MAX_AGE);
        if old || stage.length == 0 || keep.len() >= MAX {
            drop.push(stage.name);
        } else {
            keep.push((digest.clone(), stage.length));
        }
    }
    (keep, drop)
}

/// Removes a stage; that it cannot be removed is the store's trouble, not the fill's.
pub(super) async fn discard(store: &Store, name: &StageName) {
    if let Err(error) = store.blobs().discard(name).await {
        store.report("discard", &error);
    }
}

/// The length of a stage.
pub(super) async fn length(stage: &Arc<dyn Stage>) -> std::io::Result<u64> {
    let stage = Arc::clone(stage);
    let length = tokio::task::spawn_blocking(move || stage.length()).await;
    length.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn fresh_fills_are_kept_and_nobody_elses_stages_are_touched() {
        let now = WallTime(10 * 24 * 60 * 60 * 1000);
        let stage = |name: StageName, length, age_hours: i64| StageInfo {
            name,
            length,
            modified_ms: now.0 - age_hours * 60 * 60 * 1000,
        };
        let fill = |text: &str| StageName::Fill(Digest::sha256(text.as_bytes()));
        let stages = vec![
            stage(fill("fresh"), 7, 1),
            stage(fill("old"), 7, 25),
            stage(fill("empty"), 0, 1),
            stage(fill("tomorrow"), 9, -5),
            stage(StageName::Upload(Uuid::nil()), 7, 99),
            stage(StageName::Scratch(Uuid::nil()), 7, 99),
        ];
        let (keep, drop) = sort(stages, now);
        assert_eq!(
            keep,
            [
                (Digest::sha256(b"tomorrow"), 9),
                (Digest::sha256(b"fresh"), 7)
            ]
        );
        assert_eq!(drop, [fill("empty"), fill("old")]);
    }
}
