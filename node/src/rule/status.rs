//! The one word for how a rule fares; pure.
//!
//! What a user must act on comes first: a conflict or a lost right hides an absent upstream, and a rule whose pulls pass
//! while nothing is stored is never `Active`. Source: `spec/pull-through.md` step 6, `spec/control-plane.md` "Reports".

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{refusal::Refusal, repository::RepositoryName, time::WallTime};

/// How long pulls may pass without anything being stored before the rule is `NotStoring` even without an error.
pub const UNSTORED_PATIENCE: Duration = Duration::from_secs(60 * 10);

/// What is known of a rule; kept across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// When the upstream last answered.
    pub last_success: Option<WallTime>,
    /// What last went wrong at the upstream.
    pub last_error: Option<Failure>,
    /// Since when it has refused us.
    pub denied_since: Option<WallTime>,
    /// Since when it could not be asked.
    pub away_since: Option<WallTime>,
    /// When content was last stored.
    pub last_store: Option<WallTime>,
    /// Since when pulls pass without content being stored.
    pub unstored_since: Option<WallTime>,
    /// How many did.
    pub unstored_pulls: u64,
    /// Why the last content could not be stored.
    pub store_error: Option<String>,
    /// When that was.
    pub store_failed_at: Option<WallTime>,
    /// How many bytes it would have taken, at least.
    pub store_needs: u64,
    /// The repository of its target that holds pushed content.
    pub conflict: Option<RepositoryName>,
    /// Fills that ended well.
    pub fills: u64,
    /// Copies that ended well.
    pub copies: u64,
}

/// Something that went wrong at an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: WallTime,
    /// Its name.
    pub refusal: Refusal,
    /// What was seen.
    pub detail: String,
}

impl Facts {
    pub(super) fn last_refusal(&self) -> Option<Refusal> {
        self.last_error.as_ref().map(|failure| failure.refusal)
    }

    pub(super) fn fail(&mut self, refusal: Refusal, detail: &str, now: WallTime) {
        self.last_error = Some(Failure {
            at: now,
            refusal,
            detail: detail.chars().take(500).collect(),
        });
    }
}

/// A rule's status, as `/status` and the control plane show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// In force and well.
    Active,
    /// The upstream refuses its credential or its right.
    Unauthorized,
    /// The upstream cannot be asked.
    UpstreamUnavailable,
    /// Pulls pass, nothing is stored.
    NotStoring,
    /// The target holds pushed content: the rule does not take effect.
    Conflict,
    /// Switched off.
    Disabled,
}

/// The status of a rule that is `enabled`, with these facts, at `now`.
#[must_use]
pub fn status(enabled: bool, facts: &Facts, now: WallTime) -> Status {
    let unstored_for_long = facts.unstored_pulls > 0
        && facts
            .unstored_since
            .and_then(|since| since.age(now))
            .is_some_and(|age| age >= UNSTORED_PATIENCE);
    if !enabled {
        Status::Disabled
    } else if facts.conflict.is_some() {
        Status::Conflict
    } else if facts.denied_since.is_some() {
        Status::Unauthorized
    } else if facts.store_error.is_some() || unstored_for_long {
        Status::NotStoring
    } else if facts.away_since.is_some() {
        Status::UpstreamUnavailable
    } else {
        Status::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_must_act_on_comes_first() {
        let t = WallTime(1_000_000_000);
        let denied = Facts {
            denied_since: Some(t),
            away_since: Some(t),
            ..Facts::default()
        };
        let full = Facts {
            store_error: Some("full".into()),
            ..Facts::default()
        };
        let slow = Facts {
            unstored_pulls: 3,
            unstored_since: Some(t.minus(UNSTORED_PATIENCE)),
            ..Facts::default()
        };
        let fresh = Facts {
            unstored_pulls: 3,
            unstored_since: Some(t),
            ..Facts::default()
        };
        let away = Facts {
            away_since: Some(t),
            ..Facts::default()
        };
        let cases = [
            (false, denied.clone(), Status::Disabled),
            (true, denied, Status::Unauthorized),
            (true, full, Status::NotStoring),
            (true, slow, Status::NotStoring),
            (true, fresh, Status::Active),
            (true, away, Status::UpstreamUnavailable),
            (true, Facts::default(), Status::Active),
        ];
        for (enabled, facts, expected) in cases {
            assert_eq!(status(enabled, &facts, t), expected, "{facts:?}");
        }
    }
}
