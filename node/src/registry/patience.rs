//! How long a pull waits for this node's own store before it goes on without it.
//!
//! A disk that fails, or hangs and says nothing, must not fail a pull that the upstream can serve: what cannot be read in time
//! counts as not stored, what cannot be written in time is served all the same, and the store is marked. Verbs that need the
//! store (pushes, deletes, repositories that no rule covers) wait as long as it takes. Source: `reference/faults.md` section 1
//! and T65.

use std::{future::Future, time::Duration};

use super::Registry;
use crate::store::Error;

/// How long a read may take.
const READ: Duration = Duration::from_secs(5);
/// How long a transaction may take, with its flushes.
const WRITE: Duration = Duration::from_secs(15);

impl Registry {
    /// What was read, or as much as nothing when the store cannot be read now.
    pub(super) async fn or_stream<T: Default>(
        &self,
        read: impl Future<Output = Result<T, Error>>,
    ) -> T {
        self.within(READ, read).await.unwrap_or_else(|error| {
            self.inner.store.report("read", &error);
            T::default()
        })
    }

    /// A write that a pull can do without.
    pub(super) async fn in_time<T>(
        &self,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.within(WRITE, write).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let ended = self.inner.clock.timeout(patience, work).await;
        ended.unwrap_or_else(|_| {
            let secs = patience.as_secs();
            Err(Error::failed(format!(
                "the store did not answer within {secs} s"
            )))
        })
    }
}
