//! The mark that nodes are ahead (`ahead`), in the state: one for all control planes over the same database.

use std::sync::Arc;

use wire::{generation::Generation, name::NodeName};

use super::{
    Inner,
    ahead::{self, Mark},
};
use crate::state;

impl Inner {
    pub(super) fn is_ahead(&self, held: Generation, confirmed: Generation) -> bool {
        let mark = self.mark.load().as_deref().copied();
        ahead::is_ahead(held, self.newest(), mark, confirmed)
    }

    /// As `is_ahead`, and leaves the mark when the node is the first.
    pub(super) async fn find_ahead(
        &self,
        node: &NodeName,
        held: Generation,
        document_digest: &str,
        confirmed: Generation,
    ) -> bool {
        if held > self.newest() {
            // Another control plane may have published what we have not heard of yet.
            let newest = self.state.newest().await;
            let newest =
                newest.map(|newest| newest.map_or(Generation(0), |newest| newest.generation));
            match newest {
                Ok(newest) if held <= newest => {
                    let differs = self.differs(node, held, document_digest, confirmed).await;
                    if differs {
                        self.leave_mark(|before| ahead::marked_at(before, held))
                            .await;
                    }
                    return differs;
                }
                Ok(newest) => {
                    self.leave_mark(|before| ahead::marked(before, held, newest))
                        .await;
                }
                Err(_) => {}
            }
        } else if self.differs(node, held, document_digest, confirmed).await {
            self.leave_mark(|before| ahead::marked_at(before, held))
                .await;
        }
        self.is_ahead(held, confirmed)
    }

    /// Whether a node holds other content than ours under a number of ours. What cannot be compared does not differ.
    async fn differs(
        &self,
        node: &NodeName,
        held: Generation,
        document_digest: &str,
        confirmed: Generation,
    ) -> bool {
        if !ahead::is_doubtful(held, confirmed, Generation(0)) {
            return false;
        }
        let ours = self.slices.digest_at(&*self.state, node, held).await;
        if ours.is_none_or(|ours| ours == document_digest) {
            return false;
        }
        let recovered = match self.state.value(ahead::RECOVERED).await {
            Ok(stored) => stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            Err(_) => return false,
        };
        ahead::is_doubtful(held, confirmed, recovered.unwrap_or_default())
    }

    /// Remembers what an operator recovers above.
    pub(super) async fn put_recovered(&self, above: Generation) -> Result<(), state::Error> {
        let value = serde_json::to_vec(&above).ok();
        loop {
            let stored = self.state.value(ahead::RECOVERED).await?;
            let written = self
                .state
                .swap_value(ahead::RECOVERED, stored, value.clone());
            if written.await? {
                return Ok(());
            }
        }
    }

    async fn leave_mark(&self, marked: impl FnOnce(Option<Mark>) -> Option<Mark>) {
        let before = self.mark.load().as_deref().copied();
        let Some(mark) = marked(before).filter(|mark| before != Some(*mark)) else {
            return;
        };
        self.mark.store(Some(Arc::new(mark)));
        let write = |mark: Mark| serde_json::to_vec(&mark).ok();
        let written = self
            .state
            .swap_value(ahead::VALUE, before.and_then(write), write(mark))
            .await;
        if let Err(error) = written {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "that nodes are ahead could not be written"
            );
        }
    }

    pub(super) async fn load_mark(&self) -> Result<(), state::Error> {
        let stored = self.state.value(ahead::VALUE).await?;
        let mark = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        self.mark.store(mark.map(Arc::new));
        Ok(())
    }

    pub(super) async fn unmark(&self) -> Result<(), state::Error> {
        loop {
            let stored = self.state.value(ahead::VALUE).await?;
            if stored.is_none() || self.state.swap_value(ahead::VALUE, stored, None).await? {
                self.mark.store(None);
                return Ok(());
            }
        }
    }
}
