//! Contents as files under the node's directory: the embedded default.
//!
//! ```text
//! blobs/sha256/9f/9f86d0…    stage/{fill,upload,scratch}/…    quarantine/sha256-9f86d0…
//! ```
//! Every call to the disk goes through `runtime::file::Files`, in a bounded blocking pool. A commit is: length checked, file flushed,
//! renamed, directory flushed; a directory used for the first time since the start is flushed into its parents too, because the
//! process that made it may have died before it did. Whatever fails on the way ends the stage for good.

use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use runtime::{
    Limit,
    file::{FileHandle, Files},
};
use wire::digest::{Algorithm, Digest};

use super::{Blobs, Content, ReadAt, SMALL, Space, Stage, StageInfo, StageName};
use crate::store::Error;

mod layout;
mod list;

use layout::Layout;

/// How many calls to the disk run at once.
const POOL: usize = 32;
/// Commits of one digest happen one after the other.
const STRIPES: usize = 64;
/// The most files kept in quarantine; beyond, the oldest go.
const QUARANTINED: usize = 64;

/// Contents as files. Clones share them.
#[derive(Debug, Clone)]
pub struct Local {
    inner: Arc<Inner>,
    pool: Limit,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    files: Arc<dyn Files>,
    /// Directories that are there for sure, power loss or not.
    durable: Mutex<HashSet<PathBuf>>,
    stripes: [Mutex<()>; STRIPES],
}

#[derive(Debug)]
struct LocalStage {
    name: StageName,
    file: Box<dyn FileHandle>,
}

struct Reader(Box<dyn FileHandle>);

impl Local {
    /// The store under `root`, which must exist. Touches nothing.
    pub fn new(root: impl Into<PathBuf>, files: Arc<dyn Files>) -> Self {
        Self {
            inner: Arc::new(Inner {
                layout: Layout::new(root.into()),
                files,
                durable: Mutex::new(HashSet::new()),
                stripes: std::array::from_fn(|_| Mutex::new(())),
            }),
            pool: Limit::new("store_files", POOL),
        }
    }

    /// Runs to its end once begun, whoever waits for it.
    async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    {
        let permit = self.pool.acquire().await;
        let inner = Arc::clone(&self.inner);
        let run = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&inner)
        });
        run.await.unwrap_or(Err(Error::Closed))
    }
}

/// A page of the contents under `root`, as [`Blobs::list`] gives it, without a store around it. Blocks.
pub(crate) fn page(
    root: &Path,
    files: &dyn Files,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<(Digest, u64)>, Error> {
    let layout = Layout::new(root.to_owned());
    list::blobs(files, &layout, after, limit)
}

/// A content under `root`, opened and not hashed; `None` when it is not there. Blocks.
pub(crate) fn reader(
    root: &Path,
    files: &dyn Files,
    digest: &Digest,
) -> Result<Option<impl ReadAt + use<>>, Error> {
    let path = Layout::new(root.to_owned()).blob(digest);
    Ok(found(files.open(&path))?.map(Reader))
}

#[async_trait]
impl Blobs for Local {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let digest = digest.clone();
        self.run(move |inner| Ok(inner.files.len(&inner.layout.blob(&digest))?))
            .await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let digest = digest.clone();
        self.run(move |inner| inner.open(&digest)).await
    }

    async fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, Error> {
        self.run(move |inner| inner.stage(name)).await
    }

    async fn commit(&self, stage: Arc<dyn Stage>, digest: &Digest, size: u64) -> Result<(), Error> {
        let digest = digest.clone();
        self.run(move |inner| {
            let committed = inner.commit(stage.as_ref(), &digest, size);
            if committed.is_err() {
                // What is left of it is swept at the next start if this fails as well.
                let _ = inner.files.remove(&inner.layout.stage(stage.name()));
            }
            committed
        })
        .await
    }

    async fn discard(&self, name: &StageName) -> Result<(), Error> {
        let name = name.clone();
        self.run(move |inner| {
            let path = inner.layout.stage(&name);
            was_there(inner.files.remove(&path)).map(|_| ())
        })
        .await
    }

    async fn stages(&self) -> Result<Vec<StageInfo>, Error> {
        self.run(|inner| list::stages(inner.files.as_ref(), &inner.layout))
            .await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let digest = digest.clone();
        self.run(move |inner| {
            let _alone = inner.alone(&digest);
            was_there(inner.files.remove(&inner.layout.blob(&digest)))
        })
        .await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<bool, Error> {
        let digest = digest.clone();
        self.run(move |inner| inner.quarantine(&digest)).await
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        let after = after.cloned();
        self.run(move |inner| {
            list::blobs(inner.files.as_ref(), &inner.layout, after.as_ref(), limit)
        })
        .await
    }

    async fn space(&self) -> Result<Space, Error> {
        self.run(|inner| {
            let space = inner.files.space(inner.layout.root())?;
            let counted = space.inodes_total > 0;
            Ok(Space {
                total: space.total,
                free: space.free,
                free_inodes: if counted { space.inodes_free } else { u64::MAX },
            })
        })
        .await
    }
}

impl Inner {
    fn open(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let Some(file) = found(self.files.open(&self.layout.blob(digest)))? else {
            return Ok(None);
        };
        let size = file.len()?;
        let reader = Reader(file);
        if size <= SMALL {
            let bytes = super::read_verified(&reader, size, digest)?;
            return Ok(Some(Content::Memory(bytes)));
        }
        Ok(Some(Content::File(Arc::new(reader), size)))
    }

    fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, Error> {
        let path = self.layout.stage(&name);
        let file = match found(self.files.open_rw(&path))? {
            Some(file) => file,
            None => {
                self.make_durable(parent(&path))?;
                match self.files.create_new(&path) {
                    // Somebody else was faster.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        self.files.open_rw(&path)?
                    }
                    created => created?,
                }
            }
        };
        Ok(Arc::new(LocalStage { name, file }))
    }

    fn commit(&self, stage: &dyn Stage, digest: &Digest, size: u64) -> Result<(), Error> {
        let length = stage.length()?;
        if length < size {
            return Err(super::too_short(length, size));
        }
        if length > size {
            stage.truncate(size)?;
        }
        stage.sync()?;
        let (from, to) = (self.layout.stage(stage.name()), self.layout.blob(digest));
        let dir = parent(&to);
        self.make_durable(dir)?;
        let _alone = self.alone(digest);
        if self.files.len(&to)? == Some(size) {
            self.files.remove(&from)?;
        } else {
            self.files.rename(&from, &to)?;
        }
        // Also for what was there already: who put it there may have died before this.
        self.files.sync_dir(dir)?;
        Ok(())
    }

    fn quarantine(&self, digest: &Digest) -> Result<bool, Error> {
        let to = self.layout.quarantined(digest);
        let dir = parent(&to);
        self.make_durable(dir)?;
        let _alone = self.alone(digest);
        let moved = was_there(self.files.rename(&self.layout.blob(digest), &to))?;
        if moved {
            self.bound_quarantine(dir)?;
        }
        Ok(moved)
    }

    fn bound_quarantine(&self, dir: &Path) -> Result<(), Error> {
        let mut entries = self.files.read_dir(dir)?;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.modified_ms));
        for entry in entries.iter().skip(QUARANTINED) {
            was_there(self.files.remove(&dir.join(&entry.name)))?;
        }
        Ok(())
    }

    /// A directory that is there, and that a power loss leaves there.
    fn make_durable(&self, dir: &Path) -> Result<(), Error> {
        if self.durable().contains(dir) {
            return Ok(());
        }
        self.files.create_dir_all(dir)?;
        for above in dir.ancestors().skip(1) {
            self.files.sync_dir(above)?;
            if above == self.layout.root() {
                break;
            }
        }
        self.durable().insert(dir.to_owned());
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let stripe = digest
            .hex()
            .bytes()
            .fold(0, |sum, b| (sum * 31 + usize::from(b)) % STRIPES);
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for Reader {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

impl ReadAt for LocalStage {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

impl Stage for LocalStage {
    fn name(&self) -> &StageName {
        &self.name
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .expect("every path of the layout has a directory")
}

fn found<T>(result: io::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn was_there(result: io::Result<()>) -> Result<bool, Error> {
    Ok(found(result)?.is_some())
}

/// The algorithms in the order of their names.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

#[cfg(test)]
mod tests;
