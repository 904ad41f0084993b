//! The agent's directory, `DATA_DIR/agent`: who may use it, and files that are whole or not there.
//!
//! Every file is written beside, synced, renamed, and its directory synced, so that a crash at any instant leaves the old one or the
//! new one. The lock is the same as a store's: two processes with one certificate would look like a copied directory to the control
//! plane. All calls block for a moment; callers on the runtime use [`Home::on`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use runtime::{Secret, Tasks, file::Files};

use crate::store::{self, recover};

/// The largest file read: a slice of ten thousand rules with room to spare.
const MOST: u64 = 128 << 20;

/// The directory, held by this process.
#[derive(Debug)]
pub(crate) struct Home {
    directory: PathBuf,
    files: Arc<dyn Files>,
    _lock: recover::DirectoryLock,
}

impl Home {
    /// Makes it where there is none, and takes it.
    pub(crate) fn open(data_dir: &Path, files: Arc<dyn Files>) -> Result<Self, store::Error> {
        let directory = data_dir.join("agent");
        files.create_dir_all(&directory)?;
        let lock = recover::lock(&directory)?;
        Ok(Self {
            directory,
            files,
            _lock: lock,
        })
    }

    /// What is in `name`; `None` when there is no such file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Secret<Vec<u8>>>> {
        let path = self.directory.join(name);
        let Some(length) = self.files.len(&path)? else {
            return Ok(None);
        };
        if length > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let handle = self.files.open(&path)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let read = handle.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(Secret::new(bytes)))
    }

    /// Writes `name` anew, durably.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = format!("{name}.new");
        self.write_beside(&beside, bytes)?;
        self.rename(&beside, name)
    }

    /// Writes and syncs a file that counts only once it is renamed.
    pub(crate) fn write_beside(&self, beside: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.directory.join(beside);
        // Left by a crash before its rename.
        if self.files.len(&beside)?.is_some() {
            self.files.remove(&beside)?;
        }
        let handle = self.files.create_new(&beside)?;
        handle.write_all_at(bytes, 0)?;
        handle.sync()
    }

    /// Gives a file its name, durably, replacing what had it.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.directory.join(from), self.directory.join(to));
        self.files.rename(&from, &to)?;
        self.files.sync_dir(&self.directory)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> io::Result<bool> {
        Ok(self.files.len(&self.directory.join(name))?.is_some())
    }

    /// Takes a file away, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        if self.has(name)? {
            self.files.remove(&self.directory.join(name))?;
            self.files.sync_dir(&self.directory)?;
        }
        Ok(())
    }

    /// Runs `work` where blocking is allowed.
    pub(crate) async fn on<R: Send + 'static>(
        self: &Arc<Self>,
        tasks: &Tasks,
        work: impl FnOnce(&Self) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let home = Arc::clone(self);
        let done = tasks.spawn_blocking("agent-file", move || work(&home));
        done.await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
