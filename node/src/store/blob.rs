//! Contents by digest: the seam to files (and, later, to object stores).
//!
//! Bytes arrive in a *stage*, which can be read while it grows, and become visible under their digest by `commit`, all of
//! it or nothing. Reading is blocking and positioned, so that one growing file serves many readers; callers run it in the
//! bounded blocking pool.

use std::{fmt, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;
use wire::digest::Digest;

use super::Error;

pub(crate) mod buffer;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod local;
#[cfg(any(test, feature = "testing"))]
pub mod memory;

/// Contents up to this size are read, and verified, when they are opened.
pub const SMALL: u64 = 64 * 1024;

/// Positioned, blocking reads.
pub trait ReadAt: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// Stored bytes, held open: deletion does not disturb who reads.
#[derive(Clone)]
pub enum Content {
    /// Small, verified when it entered memory.
    Memory(Bytes),
    /// An open file of this size.
    File(Arc<dyn ReadAt>, u64),
}

impl Content {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.size())
    }
}

/// What a stage is for; also the name under which a restart finds it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StageName {
    /// The unfinished fill of this digest, kept to be resumed.
    Fill(Digest),
    /// A client's upload.
    Upload(Uuid),
    /// Anything short-lived; swept at start.
    Scratch(Uuid),
}

/// A growing, unverified file. Writes come from one task; reads from any.
pub trait Stage: ReadAt {
    /// Its name.
    fn name(&self) -> &StageName;
    /// Writes all of `bytes` at `offset` (blocking).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Bytes written so far, as the file system sees it (blocking).
    fn length(&self) -> io::Result<u64>;
    /// Cuts it to `length` bytes (blocking).
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes what was written durable (blocking). After an error the stage must be discarded, never synced again.
    fn sync(&self) -> io::Result<()>;
}

/// A stage found on disk.
#[derive(Debug, Clone)]
pub struct StageInfo {
    /// Its name.
    pub name: StageName,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// Room, in bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes free for us.
    pub free: u64,
    /// Inodes free; `u64::MAX` where there is no such limit.
    pub free_inodes: u64,
}

/// Contents by digest. Every implementation passes `blob::conformance`.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// The size of a stored content; `None` when it is not there.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error>;

    /// Opens a stored content; `None` when it is not there. Contents up to [`SMALL`] come as `Content::Memory`, and are
    /// `Error::Corrupt` when they do not hash to their digest; larger ones are not hashed here.
    async fn open(&self, digest: &Digest) -> Result<Option<Content>, Error>;

    /// Opens the stage of that name, empty when there was none, with what it holds when there was.
    async fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, Error>;

    /// Makes a stage's first `size` bytes visible as `digest`, which the caller has verified: flush, rename, flush the
    /// directory. When the digest is there already, the stage is dropped. A failed flush drops the stage for good.
    async fn commit(&self, stage: Arc<dyn Stage>, digest: &Digest, size: u64) -> Result<(), Error>;

    /// Removes a stage; no error when it is not there.
    async fn discard(&self, name: &StageName) -> Result<(), Error>;

    /// The stages that exist, in any order.
    async fn stages(&self) -> Result<Vec<StageInfo>, Error>;

    /// Removes a stored content; whether it was there. Open readers are not disturbed.
    async fn delete(&self, digest: &Digest) -> Result<bool, Error>;

    /// Takes a damaged content out of sight, kept aside for whoever wants to look; whether it was there.
    async fn quarantine(&self, digest: &Digest) -> Result<bool, Error>;

    /// Stored contents with their sizes, in order of digest text, beginning after `after`, at most `limit`.
    async fn list(&self, after: Option<&Digest>, limit: usize)
    -> Result<Vec<(Digest, u64)>, Error>;

    /// The room there is.
    async fn space(&self) -> Result<Space, Error>;
}

/// Whether small content is what its name says.
fn check_small(digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    let sound = Digest::of(digest.algorithm(), bytes) == *digest;
    sound.then_some(()).ok_or_else(|| {
        let length = bytes.len();
        Error::Corrupt(format!(
            "{digest}: its {length} bytes hash to something else"
        ))
    })
}

fn too_short(length: u64, wanted: u64) -> Error {
    Error::Corrupt(format!(
        "a stage of {length} bytes cannot be committed as {wanted}"
    ))
}

#[cfg(any(test, feature = "testing"))]
fn no_stage(name: &StageName) -> Error {
    Error::failed(format!("the stage {name:?} is gone"))
}

/// Reads all of a content and checks it against its digest (blocking).
pub(super) fn read_verified(file: &dyn ReadAt, size: u64, digest: &Digest) -> Result<Bytes, Error> {
    let length = usize::try_from(size).map_err(Error::failed)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    check_small(digest, &bytes)?;
    Ok(Bytes::from(bytes))
}
