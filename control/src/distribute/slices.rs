//! Slices, cut and signed once per generation and node, and forgotten when every instance has confirmed.
//!
//! Cutting is work for the processor: two at a time, off the threads that serve streams, so that a thousand of them delay nobody's
//! heartbeat. A slice is kept only while somebody holds it: a thousand large ones would not fit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Lock, PoisonError, Weak},
};

use identity::certificate::document_digest;
use runtime::{Clock, Tasks};
use tokio::sync::{Mutex, Semaphore};
use wire::{generation::Generation, name::NodeName, time::WallTime};

use crate::{
    ca::Signer,
    publish::{Current, Publisher},
    state::State,
};

/// How many are cut at a time.
const AT_ONCE: usize = 2;

/// A slice as it is sent: JSON of `wire::api::slice::Envelope`.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) generation: Generation,
    pub(super) document_digest: String,
    /// With the document.
    pub(super) whole: Vec<u8>,
    /// Without it, for who has the very same one.
    pub(super) bare: Vec<u8>,
}

type Kept = Arc<Mutex<Weak<Cut>>>;

pub(super) struct Slices {
    publisher: Publisher,
    signer: Arc<Signer>,
    clock: Clock,
    tasks: Tasks,
    permits: Semaphore,
    kept: Lock<HashMap<NodeName, Kept>>,
}

impl Slices {
    pub(super) fn new(
        publisher: Publisher,
        signer: Arc<Signer>,
        clock: Clock,
        tasks: Tasks,
    ) -> Self {
        Self {
            publisher,
            signer,
            clock,
            tasks,
            permits: Semaphore::new(AT_ONCE),
            kept: Lock::default(),
        }
    }

    /// The slice of the newest generation; `None` when it has no such node, or when it cannot be signed (which is logged).
    pub(super) async fn cut(&self, node: &NodeName) -> Option<Arc<Cut>> {
        let mine = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(kept.entry(node.clone()).or_default())
        };
        let mut mine = mine.lock().await;
        let newest = *self.publisher.watch().borrow();
        if let Some(cut) = mine.upgrade().filter(|cut| cut.generation >= newest) {
            return Some(cut);
        }
        let _permit = self.permits.acquire().await.ok()?;
        let (publisher, signer) = (self.publisher.clone(), Arc::clone(&self.signer));
        let (node, now) = (node.clone(), WallTime(self.clock.wall_ms()));
        let made = self
            .tasks
            .spawn_blocking("cut", move || cut(&publisher, &signer, &node, now));
        let cut = Arc::new(made.await.ok()??);
        *mine = Arc::downgrade(&cut);
        Some(cut)
    }
}

impl Slices {
    /// The digest of the document that a node was to get with an older generation, cut again; empty when that has no such node.
    /// `None` when there is no such generation, or when it cannot be looked at.
    pub(super) async fn digest_at(
        &self,
        state: &dyn State,
        node: &NodeName,
        generation: Generation,
    ) -> Option<String> {
        let published = state.generation(generation).await.ok()??;
        let _permit = self.permits.acquire().await.ok()?;
        let node = node.clone();
        let cut = self.tasks.spawn_blocking("cut", move || {
            let slice = Current::read(published).ok()?.slice(&node);
            Some(slice.map_or_else(String::new, |slice| document_digest(&slice.document)))
        });
        cut.await.ok()?
    }
}

fn cut(publisher: &Publisher, signer: &Signer, node: &NodeName, now: WallTime) -> Option<Cut> {
    let topology = publisher.current().topology.clone()?;
    let slice = publisher.slice(node)?;
    let signed = signer
        .keep(Some(&topology.mesh), now)
        .and_then(|()| signer.sign(node, slice.generation, &slice.document, now));
    let mut envelope = match signed {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, %node, "a slice could not be signed");
            return None;
        }
    };
    let whole = serde_json::to_vec(&envelope).ok()?;
    envelope.document = None;
    Some(Cut {
        generation: slice.generation,
        bare: serde_json::to_vec(&envelope).ok()?,
        whole,
        document_digest: envelope.document_digest,
    })
}
