//! What can go wrong with a database, sorted by what can be done about it.
//!
//! Not a constraint of a table, not a missing row: `rusqlite`'s own `optional()` makes *not there* an answer before it gets here.

use std::sync::Arc;

use rusqlite::ErrorCode;

/// A failure of the database. Cheap to clone, because one failed commit is told to everybody in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk, or the database's own limit, is full. Free space and try again.
    #[error("the database has no room left")]
    Full(#[source] Arc<rusqlite::Error>),
    /// The file or its directory cannot be written.
    #[error("the database cannot be written")]
    ReadOnly(#[source] Arc<rusqlite::Error>),
    /// The file is damaged or is no database. Nothing it says may be trusted.
    #[error("the database is damaged")]
    Corrupt(#[source] Arc<rusqlite::Error>),
    /// Another process holds it longer than we wait (5 s).
    #[error("the database is held by another process")]
    Busy(#[source] Arc<rusqlite::Error>),
    /// The disk failed to read, write or flush.
    #[error("the database's disk failed")]
    Io(#[source] Arc<rusqlite::Error>),
    /// A statement broke a rule of its table.
    #[error("a rule of the database's schema was broken")]
    Constraint(#[source] Arc<rusqlite::Error>),
    /// Anything else, mostly mistakes of ours in SQL.
    #[error("the database refused a statement")]
    Other(#[source] Arc<rusqlite::Error>),
    /// A newer release wrote this database.
    #[error(
        "the database has version {found}, this release knows {known}: start the newer release, or restore a backup"
    )]
    Newer {
        /// The version found.
        found: i64,
        /// The newest version this release knows.
        known: i64,
    },
    /// Another write of the same transaction met a full or failing disk, and SQLite undid them all. Trying again is right.
    #[error("the database undid this write together with one that failed")]
    RolledBack,
    /// The closure panicked and was rolled back.
    #[error("work on the database panicked")]
    Panicked,
    /// The writer thread is gone or could not be started.
    #[error("the database is closed")]
    Closed,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let (code, extended) = match error.sqlite_error() {
            Some(error) => (error.code, error.extended_code),
            None => return Self::Other(Arc::new(error)),
        };
        let kind = if extended == rusqlite::ffi::SQLITE_IOERR_SHMSIZE {
            // How a full disk shows when the log's index must grow.
            Self::Full
        } else {
            kind(code)
        };
        kind(Arc::new(error))
    }
}

fn kind(code: ErrorCode) -> fn(Arc<rusqlite::Error>) -> Error {
    use ErrorCode as Code;
    if code == Code::DiskFull {
        Error::Full
    } else if matches!(
        code,
        Code::ReadOnly | Code::PermissionDenied | Code::CannotOpen
    ) {
        Error::ReadOnly
    } else if matches!(code, Code::DatabaseCorrupt | Code::NotADatabase) {
        Error::Corrupt
    } else if matches!(
        code,
        Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed
    ) {
        Error::Busy
    } else if code == Code::SystemIoFailure {
        Error::Io
    } else if code == Code::ConstraintViolation {
        Error::Constraint
    } else {
        Error::Other
    }
}
