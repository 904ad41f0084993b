//! What a start finds: the directory made or locked, its format known, the metadata opened or, when damaged, set aside.
//!
//! Nothing here walks the store: serving starts at once, and what takes long (adoption, scrubbing, sweeping) runs beside it. The
//! lock is the kernel's, on an open file, so a process that was killed leaves none behind.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use runtime::file::Files;
use uuid::Uuid;

use super::{
    Error,
    blob::local::Local,
    metadata::{OUTBOX, sqlite::Sqlite},
};

/// The version of the directory's layout. A start refuses a newer one before touching anything.
const FORMAT: u32 = 1;
pub(crate) const METADATA: &str = "metadata.db";
pub(crate) const FORMAT_FILE: &str = "format";

/// The right to a store's directory; released by dropping it, or by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

/// An opened directory.
pub(crate) struct Opened {
    pub blobs: Local,
    pub metadata: Sqlite,
    pub lock: DirectoryLock,
    /// What was damaged, for people.
    pub damage: Option<String>,
}

/// Opens the store in `path`, making it when there is none. Blocks.
pub(crate) fn open(path: &Path, files: &Arc<dyn Files>) -> Result<Opened, Error> {
    files.create_dir_all(path)?;
    let lock = lock(path)?;
    let known = check_format(path, files.as_ref())?;
    let (metadata, damage) = open_metadata(path, known)?;
    if !known {
        write_format(path, files.as_ref())?;
    }
    Ok(Opened {
        blobs: Local::new(path, Arc::clone(files)),
        metadata,
        lock,
        damage,
    })
}

/// Takes a directory for this process. Blocks for a moment.
pub(crate) fn lock(path: &Path) -> Result<DirectoryLock, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path.join("lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.take(20).read_to_string(&mut holder)?;
            let path = path.display();
            return Err(Error::failed(format!(
                "the directory {path} is used by another process ({}); every node needs one of its own",
                holder.trim()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    // For people alone: what counts is the lock.
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "pid {}", std::process::id())?;
    Ok(DirectoryLock { _file: file })
}

/// Whether the directory was a store before; an error when a newer release made it.
fn check_format(path: &Path, files: &dyn Files) -> Result<bool, Error> {
    let path = path.join(FORMAT_FILE);
    if files.len(&path)?.is_none() {
        return Ok(false);
    }
    let text = fs::read_to_string(&path)?;
    match text.trim().parse::<u32>() {
        Ok(version) if version <= FORMAT => Ok(true),
        Ok(version) => Err(Error::failed(format!(
            "the directory has format {version}, this release knows {FORMAT}: start the newer release"
        ))),
        // Cut short by a crash before it was ever complete.
        Err(_) if text.trim().is_empty() => Ok(false),
        Err(_) => Err(Error::Corrupt(format!("{}: {text:?}", path.display()))),
    }
}

fn write_format(path: &Path, files: &dyn Files) -> Result<(), Error> {
    let temporary = path.join(format!("{FORMAT_FILE}-{}", Uuid::now_v7()));
    let file = files.create_new(&temporary)?;
    file.write_all_at(format!("{FORMAT}\n").as_bytes(), 0)?;
    file.sync()?;
    files.rename(&temporary, &path.join(FORMAT_FILE))?;
    files.sync_dir(path)?;
    Ok(())
}

/// Opens the metadata. Damaged ones are set aside and what can be read of them is taken over: a cache must come up, and contents
/// that are known no more are linked again by the next pulls.
fn open_metadata(path: &Path, known: bool) -> Result<(Sqlite, Option<String>), Error> {
    let database = path.join(METADATA);
    let missing = known && !database.try_exists()?;
    let opened = match Sqlite::is_cut_short(&database)? {
        Some(what) => Err(Error::Corrupt(what)),
        None => Sqlite::open(&database, OUTBOX),
    };
    match opened {
        Ok(metadata) => {
            let damage = missing.then(|| "the metadata were missing and begin empty".to_owned());
            report(damage.as_deref());
            Ok((metadata, damage))
        }
        Err(Error::Corrupt(what)) => {
            let aside = set_aside(path)?;
            let metadata = Sqlite::open(&database, OUTBOX)?;
            let rows = metadata.take_over(&path.join(&aside))?;
            let damage = format!("{what}; they were set aside as {aside}, {rows} rows were saved");
            report(Some(&damage));
            Ok((metadata, Some(damage)))
        }
        Err(error) => Err(error),
    }
}

fn report(damage: Option<&str>) {
    if let Some(damage) = damage {
        tracing::error!(damage, "the metadata are damaged; contents are kept");
    }
}

/// Gives a damaged database and its log another name, which is returned.
fn set_aside(path: &Path) -> Result<String, Error> {
    let aside = format!("{METADATA}.damaged-{}", Uuid::now_v7());
    for end in ["-wal", "-shm", ""] {
        let from = path.join(format!("{METADATA}{end}"));
        if from.try_exists()? {
            fs::rename(&from, path.join(format!("{aside}{end}")))?;
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests;
