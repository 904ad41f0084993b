//! Hashes everything that is stored again and again, so that rot is found before somebody pulls it.
//!
//! The work is spread evenly: each turn may read its share of all bytes, the least recently verified first, and before those what
//! was served lately and has not been verified for a while. Damage goes to `repair`. A disk that cannot be read at all ends the
//! turn; a single file that cannot, on a disk that otherwise works, counts as damaged.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::digest::{Digest, Hasher};

use super::{
    Error, Store,
    blob::{Content, ReadAt},
    metadata::{BlobRecord, Op},
};

/// How many records are looked at in one query.
const PAGE: usize = 64;
/// How many contents served lately wait to be verified early.
const LATELY: usize = 256;
const CHUNK: usize = 1 << 20;

/// The scrubber's memory between turns.
#[derive(Debug)]
pub(crate) struct Scrub {
    /// Within which time everything is hashed once.
    period: Duration,
    last: Option<Instant>,
    /// Bytes that may be read, fractions included.
    credit: f64,
    token: CancellationToken,
}

/// Contents served lately.
#[derive(Debug, Default)]
pub(crate) struct Lately(Mutex<VecDeque<Digest>>);

enum Verdict {
    Whole,
    Damaged(String),
    Lost,
    Unreadable(Error),
    Cancelled,
}

impl Lately {
    pub(crate) fn note(&self, digest: &Digest) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < LATELY {
            waiting.push_back(digest.clone());
        }
    }

    fn take(&self) -> VecDeque<Digest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scrub {
    pub(crate) fn new(period: Duration, token: CancellationToken) -> Self {
        Self {
            period,
            last: None,
            credit: 0.0,
            token,
        }
    }

    /// One turn.
    pub(crate) async fn turn(&mut self, store: &Store) -> Result<(), Error> {
        let now = store.0.clock.now();
        let since = now - self.last.replace(now).unwrap_or(now);
        let bytes = store.0.raw_metadata.totals().await?.bytes;
        self.credit = earned(self.credit, bytes, since, self.period);
        for digest in store.0.lately.take() {
            if let Some(blob) = store.0.raw_metadata.blob(&digest).await?
                && self.is_due(store, &blob, 4)
            {
                self.check(store, &blob).await?;
            }
        }
        while self.credit > 0.0 && !self.token.is_cancelled() {
            let least = store.0.raw_metadata.least_verified(PAGE).await?;
            let mut checked = 0;
            for blob in least {
                if self.credit > 0.0 && self.is_due(store, &blob, 4) {
                    self.check(store, &blob).await?;
                    checked += 1;
                }
            }
            if checked == 0 {
                // Everything was verified lately: no hurry.
                self.credit = 0.0;
            }
        }
        Ok(())
    }

    /// Whether it was last verified longer ago than this part of the period, or in the future.
    fn is_due(&self, store: &Store, blob: &BlobRecord, part: u32) -> bool {
        let age = blob.verified_at.age(store.now());
        age.is_none_or(|age| age > self.period / part)
    }

    async fn check(&mut self, store: &Store, blob: &BlobRecord) -> Result<(), Error> {
        // An empty content costs something too, or a turn over many of them would never end.
        self.credit -= blob.size.max(1) as f64;
        match hash(store, blob, &self.token).await {
            Verdict::Whole => {
                let verified = Op::Verified(blob.digest.clone(), store.now());
                store.0.metadata.commit(vec![verified]).await
            }
            Verdict::Damaged(what) => store.0.repair.rotten(&blob.digest, &what).await,
            Verdict::Lost => store.0.repair.lost(&blob.digest).await,
            Verdict::Cancelled => Ok(()),
            Verdict::Unreadable(error) => {
                store.report("scrub", &error);
                // Does the disk work otherwise? If not, this says nothing about the file.
                store.probe().await?;
                let what = format!("it cannot be read: {error}");
                store.0.repair.rotten(&blob.digest, &what).await
            }
        }
    }
}

/// The credit after `since` more, never more than a whole round. The period is made a tenth shorter, so that rounds end in time.
fn earned(credit: f64, bytes: u64, since: Duration, period: Duration) -> f64 {
    let round = bytes as f64;
    let share = since.as_secs_f64() / (period.as_secs_f64() * 0.9).max(1.0);
    (credit + round * share).min(round.max(1.0))
}

async fn hash(store: &Store, blob: &BlobRecord, token: &CancellationToken) -> Verdict {
    let (file, size) = match store.0.raw_blobs.open(&blob.digest).await {
        Ok(Some(Content::File(file, size))) => (file, size),
        Ok(Some(Content::Memory(bytes))) => return sized(bytes.len() as u64, blob),
        Ok(None) => return Verdict::Lost,
        Err(Error::Corrupt(what)) => return Verdict::Damaged(what),
        Err(error) => return Verdict::Unreadable(error),
    };
    if size != blob.size {
        return sized(size, blob);
    }
    let permit = store.0.readers.acquire().await;
    let (digest, token) = (blob.digest.clone(), token.clone());
    let run = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        hash_file(file.as_ref(), &digest, &token)
    });
    run.await.unwrap_or(Verdict::Cancelled)
}

fn sized(size: u64, blob: &BlobRecord) -> Verdict {
    if size == blob.size {
        return Verdict::Whole;
    }
    let text = format!("it has {size} bytes instead of {}", blob.size);
    Verdict::Damaged(text)
}

fn hash_file(file: &dyn ReadAt, digest: &Digest, token: &CancellationToken) -> Verdict {
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read_at(&mut buffer, hasher.length()) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) => return Verdict::Unreadable(error.into()),
        }
        if token.is_cancelled() {
            return Verdict::Cancelled;
        }
    }
    match hasher.finish() {
        found if found == *digest => Verdict::Whole,
        found => Verdict::Damaged(format!("its bytes hash to {found}")),
    }
}

#[cfg(test)]
mod tests;
