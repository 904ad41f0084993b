//! Files of a disk that can fall ill while it is in use, and recover: full, read-only, not flushing, not reading, or now and then.
//!
//! `failing` breaks one call of a sweep; this breaks kinds of calls for a while, which is what a running node meets. An error has no
//! effect, as the one of `failing` has none.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Entry, FileHandle, Files, Space};

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Illness {
    /// No room for files or bytes.
    Full,
    /// Nothing can be changed.
    ReadOnly,
    /// Nothing can be flushed.
    Flushes,
    /// No file can be opened or read.
    Reads,
    /// Every so many-th call of any kind fails.
    Every(u32),
}

/// A decorator over other files. Clones are one disk.
#[derive(Debug, Clone)]
pub struct Ailing {
    inner: Arc<dyn Files>,
    state: State,
}

type State = Arc<Mutex<(Option<Illness>, u32)>>;

#[derive(Debug)]
struct Handle {
    inner: Box<dyn FileHandle>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Look,
    Change,
    Grow,
    Flush,
}

impl Ailing {
    /// A disk in good health.
    pub fn new(inner: Arc<dyn Files>) -> Self {
        Self {
            inner,
            state: State::default(),
        }
    }

    /// From now on this is wrong with it; `None` heals.
    pub fn set(&self, illness: Option<Illness>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = illness;
    }

    fn handle(&self, inner: Box<dyn FileHandle>) -> Box<dyn FileHandle> {
        Box::new(Handle {
            inner,
            state: Arc::clone(&self.state),
        })
    }
}

fn call(state: &State, call: Call) -> io::Result<()> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(illness) = state.0 else {
        return Ok(());
    };
    state.1 = state.1.wrapping_add(1);
    let changes = matches!(call, Call::Change | Call::Grow);
    let error = match illness {
        Illness::Full => (call == Call::Grow).then_some(io::ErrorKind::StorageFull),
        Illness::ReadOnly => changes.then_some(io::ErrorKind::ReadOnlyFilesystem),
        Illness::Flushes => (call == Call::Flush).then_some(io::ErrorKind::Other),
        Illness::Reads => (call == Call::Read).then_some(io::ErrorKind::Other),
        Illness::Every(n) => state.1.is_multiple_of(n).then_some(io::ErrorKind::Other),
    };
    error.map_or(Ok(()), |kind| {
        Err(io::Error::new(kind, "the disk of the test is ill"))
    })
}

impl Files for Ailing {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        call(&self.state, Call::Grow)?;
        Ok(self.handle(self.inner.create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        call(&self.state, Call::Read)?;
        Ok(self.handle(self.inner.open(path)?))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        call(&self.state, Call::Change)?;
        Ok(self.handle(self.inner.open_rw(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        call(&self.state, Call::Change)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        call(&self.state, Call::Change)?;
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        call(&self.state, Call::Grow)?;
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        call(&self.state, Call::Flush)?;
        self.inner.sync_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        call(&self.state, Call::Look)?;
        self.inner.read_dir(path)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        call(&self.state, Call::Look)?;
        self.inner.len(path)
    }

    /// Half of a TiB free, whatever the machine has: a test must not fare by how full that is.
    fn space(&self, _path: &Path) -> io::Result<Space> {
        call(&self.state, Call::Look)?;
        Ok(Space {
            total: 1 << 40,
            free: 1 << 39,
            inodes_total: 0,
            inodes_free: 0,
        })
    }
}

impl FileHandle for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        call(&self.state, Call::Read)?;
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        call(&self.state, Call::Grow)?;
        self.inner.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        call(&self.state, Call::Flush)?;
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        call(&self.state, Call::Change)?;
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        call(&self.state, Call::Look)?;
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Real;

    #[test]
    fn an_illness_hits_its_calls_alone_and_passes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Ailing::new(Arc::new(Real));
        let file = disk.create_new(&dir.path().join("a")).unwrap();
        for (illness, write, sync, read) in [
            (Some(Illness::Full), false, true, true),
            (Some(Illness::ReadOnly), false, true, true),
            (Some(Illness::Flushes), true, false, true),
            (Some(Illness::Reads), true, true, false),
            (Some(Illness::Every(1)), false, false, false),
            (None, true, true, true),
        ] {
            disk.set(illness);
            assert_eq!(file.write_all_at(b"x", 0).is_ok(), write, "{illness:?}");
            assert_eq!(file.sync().is_ok(), sync, "{illness:?}");
            assert_eq!(file.read_at(&mut [0], 0).is_ok(), read, "{illness:?}");
        }
    }
}
