//! The last good keys of an issuer on disk, for a start while it is away.
//!
//! One file for each issuer, believed only for the very place that its keys came from: an issuer that was declared anew under the same
//! name begins without. Written beside, synced, renamed; what is damaged counts as nothing there. Public keys, so no secret; who can
//! write here could replace the node's own keys as well.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use runtime::file::Files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::name::IssuerName;

use super::{KeySet, MAX_BYTES, discovery::Place};

/// The longest file read: a key set and a little around it.
const MAX_FILE: u64 = 2 * MAX_BYTES as u64;

/// Where one issuer's keys are kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    files: Arc<dyn Files>,
    path: PathBuf,
    /// What they are the keys of.
    of: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    of: String,
    jwks: Value,
}

impl Kept {
    pub(super) fn new(
        files: Arc<dyn Files>,
        directory: &Path,
        name: &IssuerName,
        place: &Place,
    ) -> Self {
        Self {
            files,
            path: directory.join(format!("{name}.json")),
            of: format!("{} {:?}", place.url, place.keys),
        }
    }

    /// The keys of the place, if any were kept that are whole. Blocks.
    pub(super) fn load(&self) -> Option<KeySet> {
        let file: File = serde_json::from_slice(&self.read().ok()??).ok()?;
        if file.version != 1 || file.of != self.of {
            return None;
        }
        KeySet::parse(file.jwks.to_string().as_bytes()).ok()
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.files.len(&self.path)?.filter(|len| *len <= MAX_FILE) else {
            return Ok(None);
        };
        let handle = self.files.open(&self.path)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let read = handle.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Keeps these keys in the place of those before. Blocks.
    pub(super) fn store(&self, keys: &KeySet) -> io::Result<()> {
        let file = File {
            version: 1,
            of: self.of.clone(),
            jwks: keys.as_document().clone(),
        };
        let bytes = serde_json::to_vec(&file).map_err(io::Error::other)?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        self.files.create_dir_all(directory)?;
        let beside = self.path.with_extension("json.new");
        // Left by a crash before the rename.
        if self.files.len(&beside)?.is_some() {
            self.files.remove(&beside)?;
        }
        let handle = self.files.create_new(&beside)?;
        handle.write_all_at(&bytes, 0)?;
        handle.sync()?;
        self.files.rename(&beside, &self.path)?;
        self.files.sync_dir(directory)
    }
}

/// Takes away what was kept of issuers that are none of `names` (any more). Blocks.
pub(super) fn sweep(
    files: &dyn Files,
    directory: &Path,
    names: &BTreeSet<IssuerName>,
) -> io::Result<()> {
    let is_theirs = |file: &str| {
        let name = file.strip_suffix(".new").unwrap_or(file);
        let name = name
            .strip_suffix(".json")
            .and_then(|name| name.parse().ok());
        name.is_some_and(|name| names.contains(&name))
    };
    let entries = match files.read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        if !entry.is_dir && !is_theirs(&entry.name) {
            files.remove(&directory.join(entry.name))?;
        }
    }
    Ok(())
}
