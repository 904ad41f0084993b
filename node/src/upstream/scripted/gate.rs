//! A place where calls stand still until a test opens it, and where the test learns that they have come.

use std::sync::Arc;

use tokio::sync::watch;

/// A place where calls stand still until [`Gate::open`].
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Returns when `number` calls have arrived here so far.
    pub async fn reached_by(&self, number: usize) {
        let mut waiting = self.waiting.subscribe();
        // Cannot fail: `self` keeps the sender alive.
        let _ = waiting.wait_for(|arrived| *arrived >= number).await;
    }

    /// Returns when somebody has arrived here.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    pub(super) async fn pass(&self) {
        self.waiting.send_modify(|arrived| *arrived += 1);
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
    }
}
