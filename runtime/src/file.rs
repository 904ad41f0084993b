//! The seam to the disk: few calls, blocking, each with one meaning, so that a test can break any of them.
//!
//! Who stores content calls these from a bounded blocking pool in the order write, sync, rename, sync the directory; that order is
//! theirs, this is only the alphabet. A failed `sync` is final for its file: drop it and start again, never sync twice
//! (`reference/faults.md` 10.1-10.2). `real` is the disk; `failing` wraps it and fails or stops at the n-th call, `ailing` fails for a
//! while, `volatile` forgets what was not flushed when its power fails.

use std::fmt::Debug;
use std::io;
use std::path::Path;

#[cfg(any(test, feature = "testing"))]
pub mod ailing;
#[cfg(any(test, feature = "testing"))]
pub mod failing;
pub mod real;
#[cfg(any(test, feature = "testing"))]
pub mod volatile;

#[cfg(any(test, feature = "testing"))]
pub use ailing::{Ailing, Illness};
#[cfg(any(test, feature = "testing"))]
pub use failing::{Failing, Fault};
pub use real::Real;
#[cfg(any(test, feature = "testing"))]
pub use volatile::Volatile;

/// Files and directories. Every call blocks; paths are the caller's and must not come from a stranger.
pub trait Files: Debug + Send + Sync {
    /// Creates a file for reading and writing; an existing one is an error of kind `AlreadyExists`.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FileHandle>>;

    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FileHandle>>;

    /// Opens an existing file for reading and writing.
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn FileHandle>>;

    /// Gives a file another name on the same file system, replacing what had it. Durable after `sync_dir` of both parents.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away; who has it open keeps reading.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and its missing ancestors, durably: the parent of each new one is synced.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// The size of a file in bytes; `None` when there is none.
    fn len(&self, path: &Path) -> io::Result<Option<u64>>;

    /// How much room the file system of `path` has.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file; closed by dropping it, which promises nothing about what was written.
pub trait FileHandle: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end of the file, 0 behind it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and size durable. After an error nothing about this file may be trusted.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The size in bytes now.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name within the directory. Names that are not UTF-8 are not ours and are left out of listings.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its size in bytes.
    pub len: u64,
    /// When its content last changed: milliseconds since 1970, by the file system's clock.
    pub modified_ms: i64,
}

/// The room of a file system. Inode counts are 0 where the file system has no fixed number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this process may still use.
    pub free: u64,
    /// Inodes in all.
    pub inodes_total: u64,
    /// Inodes that this process may still use.
    pub inodes_free: u64,
}
