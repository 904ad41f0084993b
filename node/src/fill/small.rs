//! Small blobs: fetched into memory, verified, given out, and only then stored.
//!
//! Nothing of them leaves before the digest is confirmed, so wrong bytes are a clean error; and a store that takes nothing
//! does not matter to whoever waits.

use bytes::{Bytes, BytesMut};
use wire::digest::Digest;

use super::{
    Error, Fill,
    fetch::Fetch,
    keep,
    run::{self, Done},
    table::Flight,
};
use crate::store::{self, Reservation, blob::Content};

/// Runs the fill of a small blob whose transfer is open.
pub(super) async fn fill(
    fill: &Fill,
    flight: &Flight,
    fetch: Fetch,
    reserved: Result<Reservation, store::Error>,
) -> Result<Done, Error> {
    let size = fetch.size();
    let bytes = match fetch_all(fill, fetch).await {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.is_mismatch() {
                fill.shared.mismatch(&fill.origin, &error);
            }
            return Err(error);
        }
    };
    fill.spool.attach(Content::Memory(bytes.clone()), size);
    fill.spool.verified();
    fill.shared.distrusted.clear(&fill.origin.digest);
    let kept = keep(fill, bytes, reserved).await;
    Ok(run::finish(fill, flight, size, kept).await)
}

async fn fetch_all(fill: &Fill, mut fetch: Fetch) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(fetch.size()).unwrap_or_default());
    while let Some(piece) = fetch.next().await? {
        bytes.extend_from_slice(&piece);
    }
    let expected = &fill.origin.digest;
    let computed = Digest::of(expected.algorithm(), &bytes);
    if computed != *expected {
        return Err(Error::Mismatch {
            expected: expected.clone(),
            computed,
        });
    }
    Ok(bytes.freeze())
}

async fn keep(
    fill: &Fill,
    bytes: Bytes,
    reserved: Result<Reservation, store::Error>,
) -> Result<(), store::Error> {
    let store = &fill.shared.store;
    let _reserved = reserved?;
    keep::keep(store, &fill.origin.digest, bytes).await
}
