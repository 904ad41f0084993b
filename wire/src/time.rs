//! Wall time as it is stored and sent: milliseconds since 1970 UTC. Reading the clock is `runtime::Clock`'s alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in wall time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// How long before `now` this was; `None` when it lies in the future (a stored time in the future counts as never).
    #[must_use]
    pub fn age(self, now: Self) -> Option<Duration> {
        u64::try_from(now.0.saturating_sub(self.0))
            .ok()
            .map(Duration::from_millis)
    }

    /// This point in time, `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This point in time, `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}
