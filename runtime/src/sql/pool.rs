//! Connections that read, and the way to close them all at once.
//!
//! Connections of one process share SQLite's view of the log's index: while any stands that found it read-only, it stays so for all. So
//! who wants to write again, once the disk can be written again, first needs everybody out; see `again`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::{Error, open};

/// How often, a millisecond apart, it is looked whether all queries have ended.
const LOOKS: usize = 100;

/// The readers of one database.
pub(super) struct Pool {
    path: PathBuf,
    most: usize,
    /// Held by every query.
    gate: RwLock<()>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// A pool that keeps `most` connections, `first` among them.
    pub(super) fn new(path: PathBuf, most: usize, first: Connection) -> Self {
        Self {
            path,
            most,
            gate: RwLock::new(()),
            idle: Mutex::new(vec![first]),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a query. A panicking one takes its connection with it.
    pub(super) fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let _inside = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open::reader(&self.path)?,
        };
        let answer = query(&connection).map_err(Error::from);
        let mut idle = self.idle();
        if idle.len() < self.most && connection.is_autocommit() {
            idle.push(connection);
        }
        answer
    }

    /// Closes every connection; queries wait for as long as what this gives is held. `None` when queries do not end.
    pub(super) fn close(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        for _ in 0..LOOKS {
            match self.gate.try_write() {
                Ok(alone) => {
                    self.idle().clear();
                    return Some(alone);
                }
                Err(TryLockError::Poisoned(alone)) => {
                    self.idle().clear();
                    return Some(alone.into_inner());
                }
                // Not `write`, which would let a query inside a query wait for ever.
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
