//! Instances that vanished for good are forgotten once nothing of theirs could be renewed any more.
//!
//! Their directories are gone, or they would have renewed: a certificate is renewable for 30 days after its end. One that comes back all
//! the same joins with a new token. Safe to run by several control planes at once.

use std::{sync::PoisonError, time::Duration};

use super::Inner;
use crate::ca::RENEWABLE;

/// How often it is looked.
pub(super) const EVERY: Duration = Duration::from_secs(3_600);

impl Inner {
    pub(super) async fn sweep(&self) {
        let now = self.now();
        self.contests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, contest| contest.is_recent(now));
        match self
            .state
            .sweep_instances(self.now().minus(RENEWABLE))
            .await
        {
            Ok(0) => {}
            Ok(swept) => tracing::info!(swept, "instances that vanished were forgotten"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "instances that vanished cannot be forgotten"
            ),
        }
    }
}
