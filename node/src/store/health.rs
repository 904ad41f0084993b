//! Whether the store does what it should, and what it said last when it did not.
//!
//! A failing store is shown, never fatal: pulls stream through. It heals by itself, when a probe (a real write, flush and
//! removal in both halves, `probe`) passes again; nobody has to restart anything.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use runtime::Nudge;
use uuid::Uuid;

use super::{
    Error,
    blob::{Blobs, StageName},
    metadata::{Metadata, Op},
};

/// The key of the value that the probe writes.
const PROBE: &str = "store/probe";
const PROBE_BYTES: usize = 4096;

/// What a store can be asked to do and fail at, as `regmesh_store_errors_total` has it.
pub const OPS: [&str; 19] = [
    "check", "commit", "copy", "delete", "discard", "event", "fill", "job", "jobs", "link", "open",
    "push", "read", "record", "recover", "scrub", "space", "stages", "upload",
];

/// The health of one store.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What failed last, until a probe passes.
    failing: Option<String>,
    /// What the start found damaged; stays until the next start.
    damage: Option<String>,
    errors: BTreeMap<&'static str, u64>,
    nudge: Option<Nudge>,
}

impl Health {
    pub(crate) fn report(&self, op: &'static str, error: &Error) {
        debug_assert!(OPS.contains(&op), "{op} is not counted from 0");
        let mut state = self.lock();
        *state.errors.entry(op).or_insert(0) += 1;
        let text = format!("{op}: {error}");
        if state.failing.is_none() {
            tracing::error!(
                op,
                error = error as &dyn std::error::Error,
                "the store is degraded"
            );
        }
        state.failing = Some(text);
        state.nudge.iter().for_each(Nudge::nudge);
    }

    /// Notes what the start found damaged.
    pub(crate) fn damaged(&self, what: String) {
        self.lock().damage = Some(what);
    }

    pub(crate) fn healed(&self) {
        if self.lock().failing.take().is_some() {
            tracing::info!("the store works again");
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.lock().failing.is_some()
    }

    pub(crate) fn degraded(&self) -> Option<String> {
        let state = self.lock();
        state.failing.as_ref().or(state.damage.as_ref()).cloned()
    }

    pub(crate) fn errors(&self) -> Vec<(&'static str, u64)> {
        let state = self.lock();
        state
            .errors
            .iter()
            .map(|(op, count)| (*op, *count))
            .collect()
    }

    pub(crate) fn set_nudge(&self, nudge: Nudge) {
        self.lock().nudge = Some(nudge);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A real write, flush, read and removal in both halves of the store. For the healing above and for `doctor`'s `STORE-WRITE`.
pub(crate) async fn probe(blobs: &dyn Blobs, metadata: &dyn Metadata) -> Result<(), Error> {
    let name = StageName::Scratch(Uuid::now_v7());
    let written = write(blobs, &name).await;
    let discarded = blobs.discard(&name).await;
    written.and(discarded)?;
    let value = Some(vec![1]);
    let put = Op::PutValue(PROBE.to_owned(), value.clone());
    metadata.commit(vec![put]).await?;
    if metadata.value(PROBE).await? != value {
        return Err(Error::Corrupt("a value reads back different".to_owned()));
    }
    metadata
        .commit(vec![Op::PutValue(PROBE.to_owned(), None)])
        .await
}

async fn write(blobs: &dyn Blobs, name: &StageName) -> Result<(), Error> {
    let stage = blobs.stage(name.clone()).await?;
    let bytes = Bytes::from(vec![b'p'; PROBE_BYTES]);
    let same = tokio::task::spawn_blocking(move || {
        stage.write_at(&bytes, 0)?;
        stage.sync()?;
        let mut read = vec![0; PROBE_BYTES];
        let count = stage.read_at(&mut read, 0)?;
        Ok::<_, std::io::Error>(read[..count] == bytes)
    });
    match same.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Corrupt("a file reads back different".to_owned())),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Error::Closed),
    }
}
