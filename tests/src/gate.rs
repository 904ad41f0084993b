//! A gate at which something waits until the test opens it: how a test stands exactly in the middle of a transfer.
//!
//! Both sides see each other: the test waits with [`Gate::reached`] until somebody stands before the gate. Clones are one gate.

use std::sync::Arc;

use tokio::sync::watch;

use crate::eventually::soon;

/// Closed until opened; then open for ever.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub fn closed() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::new(watch::Sender::new(0)),
        }
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until it is open; counts as having reached it from the first moment on.
    pub async fn pass(&self) {
        self.waiting.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open)
            .await
            .expect("self keeps the sender alive");
    }

    /// Waits until somebody reached the gate, bounded as everything.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until `count` have reached it.
    pub async fn reached_by(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let reached = async { waiting.wait_for(|seen| *seen >= count).await.map(|_| ()) };
        soon("somebody reaches the gate", reached)
            .await
            .expect("self keeps the sender alive");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn nobody_passes_before_it_opens() {
        let gate = Gate::closed();
        let mut passing = Box::pin(gate.pass());
        assert!((&mut passing).now_or_never().is_none());
        gate.reached().await;
        gate.open();
        passing.await;
        gate.pass().await;
    }
}
