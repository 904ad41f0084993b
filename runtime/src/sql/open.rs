//! Opening: pragmas and migrations.
//!
//! Every pragma is set, also those that are the bundled build's defaults. The version is read first, so that a database of a newer
//! release is refused before anything of it changes. Caches are small: the working set lives in the kernel's page cache anyway, and
//! an idle node must stay under 40 MiB.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Error;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the log before a commit folds them into the database (4 MiB).
const CHECKPOINT_PAGES: i64 = 1_000;
/// The log shrinks back to this after a burst.
const LOG_BYTES: i64 = 16 << 20;
/// Negative: KiB instead of pages.
const WRITER_CACHE: i64 = -2_048;
const READER_CACHE: i64 = -1_024;
const CACHED_STATEMENTS: usize = 64;

/// The one connection that writes, on a database that has been brought up to date.
pub(super) fn writer(path: &Path, migrations: &[&str]) -> Result<Connection, Error> {
    let mut connection =
        Connection::open_with_flags(path, flags(true) | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let version = known_version(&connection, migrations)?;
    writing(&connection)?;
    migrate(&mut connection, version, migrations)?;
    sync_parent(path)?;
    Ok(connection)
}

/// The one connection that writes, opened again: the database is there and up to date, or another one.
pub(super) fn again(path: &Path, migrations: &[&str]) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, flags(true))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if known_version(&connection, migrations)? != migrations.len() {
        return Err(Error::Closed);
    }
    writing(&connection)?;
    Ok(connection)
}

fn writing(connection: &Connection) -> Result<(), Error> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    common(connection, WRITER_CACHE)
}

/// A connection that can only read.
pub(super) fn reader(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, flags(false))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    common(&connection, READER_CACHE)?;
    Ok(connection)
}

fn flags(write: bool) -> OpenFlags {
    let access = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    // Without SQLite's own mutex: a `Connection` is never shared between threads.
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn common(connection: &Connection, cache: i64) -> Result<(), Error> {
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", cache)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(())
}

/// How many migrations the database has seen; an error when that is more than there are.
fn known_version(connection: &Connection, migrations: &[&str]) -> Result<usize, Error> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match usize::try_from(found) {
        Ok(version) if version <= migrations.len() => Ok(version),
        _ => Err(Error::Newer {
            found,
            known: i64::try_from(migrations.len()).unwrap_or(i64::MAX),
        }),
    }
}

/// Each migration and its version number are one transaction.
fn migrate(connection: &mut Connection, version: usize, migrations: &[&str]) -> Result<(), Error> {
    for (version, migration) in (1_i64..).zip(migrations).skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// SQLite makes its log's name durable, not the database's own.
fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
    synced.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()).into())
}
