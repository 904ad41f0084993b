//! Files that fail, or stop for good, at the n-th call: to sweep n upward over a whole operation and see what a crash or a full disk
//! leaves behind at each step.
//!
//! Calls on files and on their handles count alike, reads included. `Stop` is the crash: the n-th call (half done, if it writes) and
//! all later ones fail, so what is on disk is what a killed process leaves; it says nothing about power loss, where unsynced data
//! goes too.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, FileHandle, Files, Space};

/// What happens at the n-th call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That call alone fails with an error of this kind and has no effect.
    Error(io::ErrorKind),
    /// That call and every later one fails; a write does its first half.
    Stop,
}

/// A decorator over other files. Clones share the count.
#[derive(Debug, Clone)]
pub struct Failing {
    inner: Arc<dyn Files>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    fault: Fault,
    at: u64,
    calls: AtomicU64,
}

#[derive(Debug)]
struct Handle {
    inner: Box<dyn FileHandle>,
    plan: Arc<Plan>,
}

impl Failing {
    /// Lets `fault` happen at call number `at`, counted from 1; with 0 it never does.
    pub fn new(inner: Arc<dyn Files>, fault: Fault, at: u64) -> Self {
        let calls = AtomicU64::new(0);
        Self {
            inner,
            plan: Arc::new(Plan { fault, at, calls }),
        }
    }

    /// How many calls there were. A sweep ends once this stays below `at`: the whole operation ran without meeting the fault.
    pub fn calls(&self) -> u64 {
        self.plan.calls.load(Ordering::SeqCst)
    }

    fn handle(&self, inner: io::Result<Box<dyn FileHandle>>) -> io::Result<Box<dyn FileHandle>> {
        let plan = Arc::clone(&self.plan);
        Ok(Box::new(Handle {
            inner: inner?,
            plan,
        }))
    }
}

impl Plan {
    fn call(&self) -> io::Result<()> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::Error(kind) if number == self.at => Err(kind.into()),
            Fault::Stop if self.at != 0 && number >= self.at => Err(stopped()),
            Fault::Error(_) | Fault::Stop => Ok(()),
        }
    }

    fn is_the_crash(&self) -> bool {
        self.fault == Fault::Stop && self.calls.load(Ordering::SeqCst) == self.at
    }
}

fn stopped() -> io::Error {
    io::Error::other("the test stopped the disk here")
}

impl Files for Failing {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        self.plan.call()?;
        self.handle(self.inner.create_new(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        self.plan.call()?;
        self.handle(self.inner.open(path))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        self.plan.call()?;
        self.handle(self.inner.open_rw(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.call()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.call()?;
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.plan.call()?;
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.call()?;
        self.inner.sync_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.plan.call()?;
        self.inner.read_dir(path)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        self.plan.call()?;
        self.inner.len(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.plan.call()?;
        self.inner.space(path)
    }
}

impl FileHandle for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plan.call()?;
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.plan.call() {
            if self.plan.is_the_crash() {
                self.inner.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            }
            return Err(error);
        }
        self.inner.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.plan.call()?;
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.plan.call()?;
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.plan.call()?;
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Real;
    use super::*;
    use std::path::PathBuf;

    /// Three calls: create, write, sync. Returns the path too.
    fn three_calls(files: &Failing, dir: &Path) -> (io::Result<()>, PathBuf) {
        let path = dir.join("file");
        let run = || {
            let file = files.create_new(&path)?;
            file.write_all_at(b"abcd", 0)?;
            file.sync()
        };
        (run(), path)
    }

    #[test]
    fn exactly_the_nth_call_fails_with_the_given_kind() {
        for at in 0..=4 {
            let dir = tempfile::tempdir().unwrap();
            let fault = Fault::Error(io::ErrorKind::StorageFull);
            let files = Failing::new(Arc::new(Real), fault, at);
            let (result, path) = three_calls(&files, dir.path());
            if (1..=3).contains(&at) {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
                assert_eq!(files.calls(), at);
                assert!(files.len(&path).is_ok(), "only one call fails");
            } else {
                result.unwrap();
                assert_eq!(files.calls(), 3);
            }
        }
    }

    #[test]
    fn after_a_stop_nothing_works_and_a_write_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let files = Failing::new(Arc::new(Real), Fault::Stop, 2);
        let (result, path) = three_calls(&files, dir.path());
        assert!(result.is_err());
        assert!(files.len(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"ab");
    }
}
