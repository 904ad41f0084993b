//! Files of a machine whose power can fail: what was not flushed is undone, as far as chance wants it.
//!
//! Every change is carried out at once and remembered until it is flushed: bytes until `sync` of their file, names until `sync_dir` of
//! one of the directories they are in (a rename is one change, as in every journal). [`Volatile::power_off`] fails all later calls,
//! keeps a prefix of what is pending and undoes the rest, so that a later change never survives an earlier one of the same name.
//! Calls run one at a time, which makes the moment of the cut exact. What does not go through here (SQLite) is not undone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Entry, FileHandle, Files, Space};

/// A decorator over other files. Clones are one machine.
#[derive(Debug, Clone)]
pub struct Volatile(Arc<Machine>);

#[derive(Debug)]
struct Machine {
    inner: Arc<dyn Files>,
    /// Where removed and replaced files wait until that is durable; on the same file system.
    grave: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_off: bool,
    next: u64,
    /// Which file a name leads to, of those that have been opened for writing.
    files: HashMap<PathBuf, u64>,
    /// Bytes that were not flushed, by file.
    bytes: HashMap<u64, Unflushed>,
    /// Names that were not flushed, in order.
    names: Vec<Change>,
}

#[derive(Debug)]
struct Unflushed {
    handle: Arc<dyn FileHandle>,
    undo: Vec<Before>,
}

/// What a write replaced, and how long the file was.
#[derive(Debug)]
struct Before {
    at: u64,
    bytes: Vec<u8>,
    len: u64,
}

#[derive(Debug)]
enum Change {
    Made(PathBuf),
    /// From, to, and where lies what was there.
    Moved(PathBuf, PathBuf, Option<PathBuf>),
    Removed(PathBuf, PathBuf),
}

#[derive(Debug)]
struct Handle {
    inner: Arc<dyn FileHandle>,
    machine: Arc<Machine>,
    /// `None` for one that only reads.
    id: Option<u64>,
}

impl Volatile {
    /// A machine that is on. `grave` is a directory of its own on the same file system.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(inner: Arc<dyn Files>, grave: PathBuf) -> io::Result<Self> {
        inner.create_dir_all(&grave)?;
        Ok(Self(Arc::new(Machine {
            inner,
            grave,
            state: Mutex::default(),
        })))
    }

    /// The power fails. Of every `n` pending changes the first `keep(n)` (0 to n) survive; names and each file's bytes are asked
    /// for apart. Nothing works afterwards; start again with a new `Volatile`.
    ///
    /// # Errors
    /// When something could not be undone; then what is there means nothing.
    pub fn power_off(&self, mut keep: impl FnMut(usize) -> usize) -> io::Result<()> {
        let mut state = self.0.lock();
        state.is_off = true;
        let mut files: Vec<(u64, Unflushed)> = state.bytes.drain().collect();
        files.sort_by_key(|(id, _)| *id);
        for (_, file) in files {
            let kept = keep(file.undo.len());
            for before in file.undo.into_iter().skip(kept).rev() {
                file.handle.write_all_at(&before.bytes, before.at)?;
                file.handle.set_len(before.len)?;
            }
        }
        let mut names = std::mem::take(&mut state.names);
        let lost = names.split_off(keep(names.len()).min(names.len()));
        for change in lost.into_iter().rev() {
            self.0.undo(change)?;
        }
        names.into_iter().try_for_each(|kept| self.0.bury(kept))
    }
}

impl Change {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, other) = match self {
            Self::Made(path) | Self::Removed(path, _) => (path, None),
            Self::Moved(from, to, _) => (from, Some(to)),
        };
        std::iter::once(one).chain(other)
    }
}

impl State {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes out what a flush of `dir` makes durable: its changes, and the earlier ones that these stand on.
    fn durable(&mut self, dir: &Path) -> Vec<Change> {
        let (mut durable, mut pending, mut involved) = (Vec::new(), Vec::new(), HashSet::new());
        for change in std::mem::take(&mut self.names).into_iter().rev() {
            let here = change.paths().any(|path| path.parent() == Some(dir));
            if here || change.paths().any(|path| involved.contains(path)) {
                involved.extend(change.paths().cloned());
                durable.push(change);
            } else {
                pending.push(change);
            }
        }
        pending.reverse();
        self.names = pending;
        durable
    }
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a machine that is on.
    fn on(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.is_off {
            return Err(io::Error::other("the power is off"));
        }
        Ok(state)
    }

    fn undo(&self, change: Change) -> io::Result<()> {
        match change {
            Change::Made(path) => self.inner.remove(&path),
            Change::Moved(from, to, over) => {
                self.inner.rename(&to, &from)?;
                over.map_or(Ok(()), |grave| self.inner.rename(&grave, &to))
            }
            Change::Removed(path, grave) => self.inner.rename(&grave, &path),
        }
    }

    /// What a durable change took away is gone for good.
    fn bury(&self, change: Change) -> io::Result<()> {
        match change {
            Change::Removed(_, grave) | Change::Moved(_, _, Some(grave)) => {
                self.inner.remove(&grave)
            }
            Change::Made(_) | Change::Moved(..) => Ok(()),
        }
    }

    fn writable(
        self: &Arc<Self>,
        state: &mut State,
        path: &Path,
        file: Box<dyn FileHandle>,
    ) -> Box<dyn FileHandle> {
        let known = state.files.get(path).copied();
        let id = known.unwrap_or_else(|| state.fresh());
        state.files.insert(path.to_owned(), id);
        Box::new(Handle {
            inner: Arc::from(file),
            machine: Arc::clone(self),
            id: Some(id),
        })
    }
}

impl Files for Volatile {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        let mut state = self.0.on()?;
        let file = self.0.inner.create_new(path)?;
        state.names.push(Change::Made(path.to_owned()));
        state.files.remove(path);
        Ok(self.0.writable(&mut state, path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        let _state = self.0.on()?;
        Ok(Box::new(Handle {
            inner: Arc::from(self.0.inner.open(path)?),
            machine: Arc::clone(&self.0),
            id: None,
        }))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        let mut state = self.0.on()?;
        let file = self.0.inner.open_rw(path)?;
        Ok(self.0.writable(&mut state, path, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.on()?;
        let mut over = None;
        if self.0.inner.len(to)?.is_some() {
            let grave = self.0.grave.join(state.fresh().to_string());
            self.0.inner.rename(to, &grave)?;
            over = Some(grave);
        }
        if let Err(error) = self.0.inner.rename(from, to) {
            if let Some(grave) = over {
                self.0.inner.rename(&grave, to)?;
            }
            return Err(error);
        }
        state.files.remove(to);
        if let Some(id) = state.files.remove(from) {
            state.files.insert(to.to_owned(), id);
        }
        let moved = Change::Moved(from.to_owned(), to.to_owned(), over);
        state.names.push(moved);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.on()?;
        let grave = self.0.grave.join(state.fresh().to_string());
        self.0.inner.rename(path, &grave)?;
        state.files.remove(path);
        state.names.push(Change::Removed(path.to_owned(), grave));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let _state = self.0.on()?;
        self.0.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.on()?;
        self.0.inner.sync_dir(path)?;
        let durable = state.durable(path);
        durable.into_iter().try_for_each(|it| self.0.bury(it))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let _state = self.0.on()?;
        self.0.inner.read_dir(path)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        let _state = self.0.on()?;
        self.0.inner.len(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let _state = self.0.on()?;
        self.0.inner.space(path)
    }
}

impl Handle {
    /// Remembers what a change of `bytes` at `at` is about to replace.
    fn remember(&self, at: u64, bytes: usize) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.machine.on()?;
        let len = self.inner.len()?;
        let mut before = vec![0; bytes.min(usize::try_from(len.saturating_sub(at)).unwrap_or(0))];
        let read = self.inner.read_at(&mut before, at)?;
        before.truncate(read);
        if let Some(id) = self.id {
            let file = state.bytes.entry(id).or_insert_with(|| Unflushed {
                handle: Arc::clone(&self.inner),
                undo: Vec::new(),
            });
            file.undo.push(Before {
                at,
                bytes: before,
                len,
            });
        }
        Ok(state)
    }
}

impl FileHandle for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _state = self.machine.on()?;
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _state = self.remember(offset, bytes.len())?;
        self.inner.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.machine.on()?;
        self.inner.sync()?;
        if let Some(id) = self.id {
            state.bytes.remove(&id);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _state = self.remember(len, usize::MAX)?;
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        let _state = self.machine.on()?;
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Real;

    fn machine(dir: &Path) -> Volatile {
        Volatile::new(Arc::new(Real), dir.join("grave")).unwrap()
    }

    fn content(path: &Path) -> Option<Vec<u8>> {
        let len = usize::try_from(Real.len(path).unwrap()?).unwrap();
        let mut bytes = vec![0; len];
        Real.open(path).unwrap().read_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    #[test]
    fn what_was_flushed_by_the_book_survives_and_what_was_not_does_not() {
        for flushed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("spool"), dir.path().join("blob"));
            let files = machine(dir.path());
            let file = files.create_new(&from).unwrap();
            file.write_all_at(b"hello", 0).unwrap();
            if flushed {
                file.sync().unwrap();
            }
            files.rename(&from, &to).unwrap();
            if flushed {
                files.sync_dir(dir.path()).unwrap();
            }
            files.power_off(|_| 0).unwrap();
            assert_eq!(content(&to), flushed.then(|| b"hello".to_vec()));
            assert_eq!(content(&from), None);
            assert!(
                files.open(&to).is_err() && file.sync().is_err(),
                "it is off"
            );
        }
    }

    #[test]
    fn a_name_that_was_flushed_without_its_bytes_leads_to_an_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let files = machine(dir.path());
        let file = files.create_new(&path).unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        files.sync_dir(dir.path()).unwrap();
        files.power_off(|_| 0).unwrap();
        assert_eq!(content(&path), Some(Vec::new()));
    }

    #[test]
    fn what_was_replaced_overwritten_cut_or_removed_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let files = machine(dir.path());
        for name in ["a", "b", "c"] {
            let file = files.create_new(&path(name)).unwrap();
            file.write_all_at(format!("{name}-flushed").as_bytes(), 0)
                .unwrap();
            file.sync().unwrap();
        }
        files.sync_dir(dir.path()).unwrap();
        files.rename(&path("a"), &path("b")).unwrap();
        files.remove(&path("c")).unwrap();
        let file = files.open_rw(&path("b")).unwrap();
        file.write_all_at(b"X", 0).unwrap();
        file.set_len(3).unwrap();
        file.write_all_at(b"longer than it was", 1).unwrap();
        files.power_off(|_| 0).unwrap();
        for name in ["a", "b", "c"] {
            let expected = format!("{name}-flushed").into_bytes();
            assert_eq!(content(&path(name)), Some(expected), "{name}");
        }
    }

    #[test]
    fn chance_keeps_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let files = machine(dir.path());
        let file = files.create_new(&path).unwrap();
        for number in 0..4 {
            file.write_all_at(b"x", number).unwrap();
        }
        files.power_off(|pending| pending / 2 + 1).unwrap();
        assert_eq!(content(&path), Some(b"xxx".to_vec()));
    }
}
