//! Contents without a record: left by a crash between the rename and the transaction, or by metadata that were lost.
//!
//! They are adopted: given a record, as verified never, so that the scrubber reads them first. From then on they are like any
//! content that nothing links: a pull links them again without a transfer, or the collector takes them after the grace period. When
//! there are many the metadata must have been lost or restored, and then nothing is collected for a week. The scan runs beside the
//! serving, page by page, a while after the start and once a day; it deletes nothing.

use std::time::Duration;

use tokio::time::Instant;
use wire::{digest::Digest, time::WallTime};

use super::{
    Error, Store, collect,
    metadata::{BlobRecord, Op},
};

const PAGE: usize = 512;
/// A crash leaves a few contents without a record, never this many.
const MANY: u64 = 100;
const FIRST: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_hours(24);

/// When the next scan is due.
#[derive(Debug, Default)]
pub(crate) struct Adopt {
    due: Option<Instant>,
}

impl Adopt {
    /// Scans when it is time.
    pub(crate) async fn turn(&mut self, store: &Store) -> Result<(), Error> {
        let now = store.0.clock.now();
        let due = *self.due.get_or_insert(now + FIRST);
        if now < due {
            return Ok(());
        }
        self.due = Some(now + EVERY);
        scan(store).await.map(|_| ())
    }
}

/// Adopts what has no record; how many those were.
pub(crate) async fn scan(store: &Store) -> Result<u64, Error> {
    let mut adopted = 0;
    let mut after: Option<Digest> = None;
    loop {
        let page = store.0.raw_blobs.list(after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (digest, _) in &page {
            if adopt(store, digest).await? {
                adopted += 1;
                if adopted == MANY {
                    tracing::warn!("many contents have no record: nothing is collected for a week");
                    collect::keep(store).await?;
                }
            }
        }
        tokio::task::yield_now().await;
    }
    if adopted > 0 {
        tracing::info!(contents = adopted, "adopted contents without a record");
    }
    Ok(adopted)
}

async fn adopt(store: &Store, digest: &Digest) -> Result<bool, Error> {
    if store.0.raw_metadata.blob(digest).await?.is_some() {
        return Ok(false);
    }
    let _hold = store.hold(digest);
    // Looked at again: it may just have been deleted, record first and file second.
    let Some(size) = store.0.blobs.size(digest).await? else {
        return Ok(false);
    };
    let record = BlobRecord {
        digest: digest.clone(),
        size,
        stored_at: store.now(),
        verified_at: WallTime(0),
    };
    store.0.metadata.commit(vec![Op::PutBlob(record)]).await?;
    Ok(true)
}
