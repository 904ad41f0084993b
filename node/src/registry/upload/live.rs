//! The hash of an upload as it grows, and the one writer there may be.
//!
//! The lock of an upload travels into the blocking write and back: when the request is dropped in the middle, the next one
//! cannot begin before that write has ended, and then finds that the hash and the recorded length disagree and makes the
//! hash again from the stage.

use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;
use runtime::{Limit, limit::Permit};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;
use wire::digest::{Algorithm, Digest, Hasher};

use crate::store::{Error, blob::Stage, metadata::UploadRecord};

/// How many requests may write to uploads at once.
const WRITERS: usize = 256;
/// How many hashes are kept between requests; one that is pushed out is made again.
const KEPT: u64 = 4096;
/// How much is read at once to make a hash again.
const READ: usize = 1 << 20;

/// The uploads that are being written to.
pub(in crate::registry) struct Uploads {
    live: Cache<Uuid, Arc<Mutex<Live>>>,
    /// Uploads whose bytes are durable under a digest and whose end is not written down.
    committed: Cache<Uuid, Digest>,
    writers: Limit,
}

struct Live {
    hasher: Hasher,
}

impl Uploads {
    pub(in crate::registry) fn new() -> Self {
        Self {
            live: Cache::new(KEPT),
            committed: Cache::new(KEPT),
            writers: Limit::new("uploads", WRITERS),
        }
    }

    pub(super) fn permit(&self) -> Option<Permit> {
        self.writers.try_acquire()
    }

    pub(in crate::registry) fn forget(&self, id: Uuid) {
        self.live.invalidate(&id);
        self.committed.invalidate(&id);
    }

    /// The bytes of an upload are durable under this digest, and not in its stage any more.
    pub(super) fn committed(&self, id: Uuid, digest: &Digest) {
        self.committed.insert(id, digest.clone());
    }

    pub(super) fn was_committed(&self, id: Uuid, digest: &Digest) -> bool {
        self.committed.get(&id).as_ref() == Some(digest)
    }

    /// The right to write; `None` while somebody else has it.
    pub(super) fn enter(&self, record: &UploadRecord) -> Option<State> {
        let new = || {
            Arc::new(Mutex::new(Live {
                hasher: Hasher::new(record.algorithm),
            }))
        };
        let live = self.live.get_with(record.id, new);
        live.try_lock_owned().ok().map(State)
    }
}

/// The right to write to one upload.
pub(super) struct State(OwnedMutexGuard<Live>);

/// The one who writes.
pub(super) struct Writer {
    /// Away only while a write is under way.
    state: Option<State>,
    stage: Arc<dyn Stage>,
    length: u64,
}

impl Writer {
    /// Goes on where the record ends.
    pub(super) async fn open(
        mut state: State,
        stage: Arc<dyn Stage>,
        record: &UploadRecord,
    ) -> Result<Self, Error> {
        if state.0.hasher.length() != record.length {
            let (reading, algorithm, length) =
                (Arc::clone(&stage), record.algorithm, record.length);
            state = blocking(move || {
                state.0.hasher = hash(reading.as_ref(), algorithm, length)?;
                Ok(state)
            })
            .await?;
        }
        Ok(Self {
            state: Some(state),
            stage,
            length: record.length,
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn stage(&self) -> Arc<dyn Stage> {
        Arc::clone(&self.stage)
    }

    /// Writes and hashes. After an error nothing of the batch counts.
    pub(super) async fn append(&mut self, batch: Vec<Bytes>) -> Result<(), Error> {
        let mut state = self.state.take().ok_or(Error::Closed)?;
        let (stage, begin) = (Arc::clone(&self.stage), self.length);
        let (state, end) = blocking(move || {
            let mut end = begin;
            for bytes in &batch {
                stage.write_at(bytes, end)?;
                end = end.saturating_add(bytes.len() as u64);
            }
            for bytes in &batch {
                state.0.hasher.update(bytes);
            }
            Ok((state, end))
        })
        .await?;
        self.state = Some(state);
        self.length = end;
        Ok(())
    }

    pub(super) async fn sync(&self) -> Result<(), Error> {
        let stage = Arc::clone(&self.stage);
        blocking(move || Ok(stage.sync()?)).await
    }

    /// What the upload hashes to by this algorithm, announced or not.
    pub(super) async fn digest(&self, algorithm: Algorithm, length: u64) -> Result<Digest, Error> {
        if let Some(State(live)) = &self.state {
            let computed = live.hasher.clone().finish();
            if computed.algorithm() == algorithm && live.hasher.length() == length {
                return Ok(computed);
            }
        }
        let stage = Arc::clone(&self.stage);
        blocking(move || Ok(hash(stage.as_ref(), algorithm, length)?.finish())).await
    }
}

fn hash(stage: &dyn Stage, algorithm: Algorithm, length: u64) -> Result<Hasher, Error> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; READ];
    while hasher.length() < length {
        let left = usize::try_from(length - hasher.length())
            .unwrap_or(READ)
            .min(READ);
        let read = stage.read_at(&mut buffer[..left], hasher.length())?;
        if read == 0 {
            let text = format!("an upload of {length} bytes ends after {}", hasher.length());
            return Err(Error::Corrupt(text));
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hasher)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or(Err(Error::Closed))
}
