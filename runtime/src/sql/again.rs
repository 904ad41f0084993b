//! Writing again after the database was found read-only: SQLite never looks twice at what it was once refused, so it is opened anew.
//!
//! Only the file that was there before is taken, with all its migrations: one that is missing or another one is not what this process
//! has read, and is left to a restart.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rusqlite::Connection;

use super::{Error, open, pool::Pool};

/// How a writer is opened anew.
pub(super) struct Again {
    /// Not held: readers close before the writer, which then folds the log into the database.
    pool: Weak<Pool>,
    path: PathBuf,
    migrations: &'static [&'static str],
    file: Option<(u64, u64)>,
}

impl Again {
    pub(super) fn new(pool: &Arc<Pool>, migrations: &'static [&'static str]) -> Self {
        Self {
            pool: Arc::downgrade(pool),
            path: pool.path().to_owned(),
            file: identity(pool.path()),
            migrations,
        }
    }

    /// A new writer in the place of `old`, where the file can be written; else the old one. An error where neither is left.
    pub(super) fn open(&self, old: Result<Connection, Error>) -> Result<Connection, Error> {
        let (path, pool) = (&self.path, self.pool.upgrade());
        let same = self.file.is_some() && identity(path) == self.file;
        if !same || File::options().write(true).open(path).is_err() {
            return old;
        }
        let Some(_alone) = pool.as_deref().and_then(Pool::close) else {
            return old;
        };
        drop(old);
        let opened = open::again(path, self.migrations);
        if opened.is_ok() {
            tracing::info!(path = %path.display(), "the database can be written again");
        }
        opened
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
