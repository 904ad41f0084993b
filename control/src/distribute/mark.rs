//! The mark that nodes are ahead (`ahead`), in the state: one for all control planes over the same database.

use std::sync::Arc;

use wire::generation::Generation;

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
    pub(super) async fn find_ahead(&self, held: Generation, confirmed: Generation) -> bool {
        if held > self.newest() {
            // Another control plane may have published what we have not heard of yet.
            let newest = self.state.newest().await;
            let newest =
                newest.map(|newest| newest.map_or(Generation(0), |newest| newest.generation));
            match newest {
                Ok(newest) if held <= newest => return false,
                Ok(newest) => self.leave_mark(held, newest).await,
                Err(_) => {}
            }
        }
        self.is_ahead(held, confirmed)
    }

    async fn leave_mark(&self, held: Generation, newest: Generation) {
        let before = self.mark.load().as_deref().copied();
        let Some(mark) = ahead::marked(before, held, newest).filter(|mark| before != Some(*mark))
        else {
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
