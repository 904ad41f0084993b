//! What the directories hold. Files that are not ours are left alone and out.

use std::path::Path;

use runtime::file::{Entry, Files};
use wire::digest::Digest;

use super::{
    ALGORITHMS, found,
    layout::{self, Layout, STAGES},
};
use crate::store::{Error, blob::StageInfo};

/// Stored contents in order of digest text. Reads the directories it needs and no more: one per page when they are full.
pub(super) fn blobs(
    files: &dyn Files,
    layout: &Layout,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<(Digest, u64)>, Error> {
    let mut listed = Vec::new();
    for algorithm in ALGORITHMS {
        if after.is_some_and(|after| after.algorithm() > algorithm) {
            continue;
        }
        let start = after.filter(|after| after.algorithm() == algorithm);
        let dir = layout.blobs(algorithm);
        for prefix in sorted(files, &dir)?.iter().filter(|entry| entry.is_dir) {
            if listed.len() >= limit {
                return Ok(listed);
            }
            if start.is_some_and(|start| prefix.name.as_str() < &start.hex()[..2]) {
                continue;
            }
            let room = limit - listed.len();
            let entries = sorted(files, &dir.join(&prefix.name))?;
            let contents = entries.into_iter().filter_map(|entry| {
                let digest = layout::blob_name(algorithm, &prefix.name, &entry.name)?;
                Some((digest, entry.len))
            });
            let new = contents
                .filter(|(digest, _)| start.is_none_or(|start| digest.as_str() > start.as_str()));
            listed.extend(new.take(room));
        }
    }
    Ok(listed)
}

/// Every stage.
pub(super) fn stages(files: &dyn Files, layout: &Layout) -> Result<Vec<StageInfo>, Error> {
    let mut stages = Vec::new();
    for kind in STAGES {
        for entry in sorted(files, &layout.stages(kind))? {
            if let Some(name) = layout::stage_name(kind, &entry.name) {
                stages.push(StageInfo {
                    name,
                    length: entry.len,
                    modified_ms: entry.modified_ms,
                });
            }
        }
    }
    Ok(stages)
}

fn sorted(files: &dyn Files, dir: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = found(files.read_dir(dir))?.unwrap_or_default();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
