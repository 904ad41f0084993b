//! How long this node has been without its control plane, and what that ends: `control.maxOffline`.
//!
//! Kept by `agent`, asked on every request. A node that never had a control plane (`--topology`) is never without it. Counted on the
//! monotonic clock; what was before this process comes in as a duration, since only wall time survives a restart. Source:
//! `spec/topology.md` `control`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::clock::Clock;

/// Whether the control plane is there, and since when it is not. Clones share it.
#[derive(Debug, Clone)]
pub struct Contact {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// There is no control plane to be without.
    Alone,
    Connected,
    /// Away for `before` when it was `since`.
    Away {
        since: tokio::time::Instant,
        before: Duration,
    },
}

impl Contact {
    /// Of a node that has no control plane.
    #[must_use]
    pub fn alone(clock: Clock) -> Self {
        let state = Arc::new(Mutex::new(State::Alone));
        Self { clock, state }
    }

    /// The control plane is there.
    pub fn connected(&self) {
        self.set(State::Connected);
    }

    /// It has been away for `before` already. One that is known to be away stays away for as long as it was.
    pub fn away(&self, before: Duration) {
        let since = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Away { .. }) {
            *state = State::Away { since, before };
        }
    }

    /// For how long it has been away; `None` while it is there, or when there is none.
    #[must_use]
    pub fn away_for(&self) -> Option<Duration> {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Alone | State::Connected => None,
            State::Away { since, before } => {
                let now = self.clock.now().saturating_duration_since(since);
                Some(before.saturating_add(now))
            }
        }
    }

    /// Whether it is there; `None` when there is none.
    #[must_use]
    pub fn is_connected(&self) -> Option<bool> {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Alone => None,
            State::Connected => Some(true),
            State::Away { .. } => Some(false),
        }
    }

    fn set(&self, to: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_time_away_counts_from_the_last_contact_across_a_restart() {
        let clock = Clock::manual(0);
        let contact = Contact::alone(clock.clone());
        clock.advance(HOUR);
        assert_eq!(contact.away_for(), None, "no control plane to be without");

        contact.away(HOUR);
        clock.advance(HOUR);
        contact.away(Duration::ZERO);
        assert_eq!(contact.away_for(), Some(2 * HOUR), "still the same outage");

        contact.connected();
        clock.advance(HOUR);
        assert_eq!(contact.away_for(), None);
        contact.away(Duration::ZERO);
        clock.advance(HOUR);
        assert_eq!(contact.away_for(), Some(HOUR));
        contact.connected();
        contact.away(Duration::MAX);
        clock.advance(HOUR);
        assert_eq!(contact.away_for(), Some(Duration::MAX));
    }
}
