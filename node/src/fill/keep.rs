//! Makes bytes durable that are verified and in memory: small blobs, and manifests.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use wire::digest::Digest;

use crate::store::{Error, Store, blob::StageName};

/// Stores `bytes` under `digest`, which the caller has verified; nothing to do when they are there. The metadata is the
/// caller's, afterwards.
///
/// # Errors
/// Why they are not durable.
pub async fn keep(store: &Store, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
    if store.blobs().size(digest).await? == Some(bytes.len() as u64) {
        return Ok(());
    }
    let name = StageName::Scratch(Uuid::from_u128(rand::random()));
    let written = write(store, &name, digest, bytes).await;
    if written.is_err() {
        // A second error would only hide the first.
        let _ = store.blobs().discard(&name).await;
    }
    written
}

async fn write(
    store: &Store,
    name: &StageName,
    digest: &Digest,
    bytes: Bytes,
) -> Result<(), Error> {
    let stage = store.blobs().stage(name.clone()).await?;
    let (writing, size) = (Arc::clone(&stage), bytes.len() as u64);
    let written = tokio::task::spawn_blocking(move || writing.write_at(&bytes, 0)).await;
    written.map_err(|_| Error::Closed)??;
    store.blobs().commit(stage, digest, size).await
}
