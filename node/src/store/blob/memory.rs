//! Contents in memory: the twin of `local` for tests of everything that stands on a store.
//!
//! Behaves as files do where it matters: a stage may be read while it grows, an open content outlives its deletion, a
//! commit is all or nothing. Room is whatever the test says there is; time is the test's clock.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use runtime::Clock;
use wire::digest::Digest;

use super::{Blobs, Content, ReadAt, SMALL, Space, Stage, StageInfo, StageName};
use crate::store::Error;

/// Contents in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

#[derive(Debug)]
struct Inner {
    contents: BTreeMap<String, (Digest, Bytes)>,
    quarantined: BTreeMap<String, Bytes>,
    stages: HashMap<StageName, Arc<MemoryStage>>,
    total: u64,
}

#[derive(Debug)]
struct MemoryStage {
    name: StageName,
    clock: Clock,
    grown: Mutex<Grown>,
}

/// A large content, read like a file.
struct Whole(Bytes);

#[derive(Debug, Default)]
struct Grown {
    bytes: Vec<u8>,
    modified_ms: i64,
}

impl Memory {
    /// An empty store with as much room as anybody needs.
    pub fn new(clock: Clock) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                contents: BTreeMap::new(),
                quarantined: BTreeMap::new(),
                stages: HashMap::new(),
                total: 1 << 50,
            })),
            clock,
        }
    }

    /// Says how much room there is in all, in bytes.
    pub fn set_total(&self, total: u64) {
        self.lock().total = total;
    }

    /// Puts `bytes` under `digest` whatever they hash to: how a test makes rot.
    pub fn corrupt(&self, digest: &Digest, bytes: impl Into<Bytes>) {
        let key = digest.as_str().to_owned();
        self.lock()
            .contents
            .insert(key, (digest.clone(), bytes.into()));
    }

    /// What was quarantined under this digest.
    pub fn quarantined(&self, digest: &Digest) -> Option<Bytes> {
        self.lock().quarantined.get(digest.as_str()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for Memory {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let inner = self.lock();
        Ok(inner
            .contents
            .get(digest.as_str())
            .map(|(_, bytes)| bytes.len() as u64))
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let stored = self.lock().contents.get(digest.as_str()).cloned();
        let Some((_, bytes)) = stored else {
            return Ok(None);
        };
        let size = bytes.len() as u64;
        if size > SMALL {
            return Ok(Some(Content::File(Arc::new(Whole(bytes)), size)));
        }
        super::check_small(digest, &bytes)?;
        Ok(Some(Content::Memory(bytes)))
    }

    async fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, Error> {
        let clock = self.clock.clone();
        let mut inner = self.lock();
        let stage = inner.stages.entry(name.clone()).or_insert_with(|| {
            let modified_ms = clock.wall_ms();
            Arc::new(MemoryStage {
                name,
                clock,
                grown: Mutex::new(Grown {
                    bytes: Vec::new(),
                    modified_ms,
                }),
            })
        });
        Ok(Arc::clone(stage) as Arc<dyn Stage>)
    }

    async fn commit(&self, stage: Arc<dyn Stage>, digest: &Digest, size: u64) -> Result<(), Error> {
        let mut inner = self.lock();
        let Some(staged) = inner.stages.remove(stage.name()) else {
            return Err(super::no_stage(stage.name()));
        };
        let bytes = staged.grown().bytes.clone();
        let wanted = usize::try_from(size).unwrap_or(usize::MAX);
        if bytes.len() < wanted {
            return Err(super::too_short(bytes.len() as u64, size));
        }
        let content = Bytes::from(bytes).slice(..wanted);
        let key = digest.as_str().to_owned();
        inner
            .contents
            .entry(key)
            .or_insert_with(|| (digest.clone(), content));
        Ok(())
    }

    async fn discard(&self, name: &StageName) -> Result<(), Error> {
        self.lock().stages.remove(name);
        Ok(())
    }

    async fn stages(&self) -> Result<Vec<StageInfo>, Error> {
        let inner = self.lock();
        let stages = inner.stages.values().map(|stage| stage.info());
        Ok(stages.collect())
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.lock().contents.remove(digest.as_str()).is_some())
    }

    async fn quarantine(&self, digest: &Digest) -> Result<bool, Error> {
        let mut inner = self.lock();
        let Some((_, bytes)) = inner.contents.remove(digest.as_str()) else {
            return Ok(false);
        };
        inner.quarantined.insert(digest.as_str().to_owned(), bytes);
        Ok(true)
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        let inner = self.lock();
        let listed = inner
            .contents
            .values()
            .filter(|(digest, _)| after.is_none_or(|after| digest.as_str() > after.as_str()))
            .take(limit)
            .map(|(digest, bytes)| (digest.clone(), bytes.len() as u64));
        Ok(listed.collect())
    }

    async fn space(&self) -> Result<Space, Error> {
        let inner = self.lock();
        let stored: u64 = inner.contents.values().map(|(_, b)| b.len() as u64).sum();
        Ok(Space {
            total: inner.total,
            free: inner.total.saturating_sub(stored),
            free_inodes: u64::MAX,
        })
    }
}

impl MemoryStage {
    fn grown(&self) -> MutexGuard<'_, Grown> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self) -> StageInfo {
        let grown = self.grown();
        StageInfo {
            name: self.name.clone(),
            length: grown.bytes.len() as u64,
            modified_ms: grown.modified_ms,
        }
    }
}

impl ReadAt for MemoryStage {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy(&self.grown().bytes, buffer, offset))
    }
}

impl ReadAt for Whole {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy(&self.0, buffer, offset))
    }
}

impl Stage for MemoryStage {
    fn name(&self) -> &StageName {
        &self.name
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut grown = self.grown();
        let start = position(offset);
        let end = start.saturating_add(bytes.len());
        if grown.bytes.len() < end {
            grown.bytes.resize(end, 0);
        }
        grown.bytes[start..end].copy_from_slice(bytes);
        grown.modified_ms = self.clock.wall_ms();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.grown().bytes.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.grown().bytes.truncate(position(length));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn copy(from: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let rest = &from[position(offset).min(from.len())..];
    let count = rest.len().min(buffer.len());
    buffer[..count].copy_from_slice(&rest[..count]);
    count
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blob::conformance;

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        conformance::run(&|| async { Arc::new(Memory::new(Clock::manual(0))) as Arc<dyn Blobs> })
            .await;
    }
}
