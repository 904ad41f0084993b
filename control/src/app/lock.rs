//! One process for one data directory: two that write one database, and both answer for it, would each undo what the other did.
//!
//! The lock is the kernel's, so that it goes with the process however that ends; what the file says is for people alone. Control planes
//! that share a PostgreSQL have a data directory each.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
};

use super::Error;

/// The lock's file, below the control plane's folder.
const LOCK: &str = "lock";

/// Holds a directory until dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// Takes `directory`.
///
/// # Errors
/// When another process has it, or the lock cannot be made.
pub(super) fn take(directory: &Path) -> Result<Lock, Error> {
    let path = directory.join(LOCK);
    let failed = |source| Error::Directory {
        path: path.display().to_string(),
        source,
    };
    let mut options = OpenOptions::new();
    let opened = options.create(true).truncate(false).read(true).write(true);
    let mut file = opened.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Whose it is helps people; not to know it is no obstacle.
            let _ = (&file).take(64).read_to_string(&mut holder);
            return Err(Error::InUse {
                path: directory.display().to_string(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path()).unwrap();
        let refused = take(dir.path()).unwrap_err().to_string();
        let own = std::process::id().to_string();
        assert!(
            refused.contains("another process") && refused.contains(&own),
            "{refused}"
        );
        drop(held);
        take(dir.path()).unwrap();
    }
}
