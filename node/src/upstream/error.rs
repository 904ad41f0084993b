//! What an upstream said when it did not simply answer.
//!
//! The three answers that are never mixed up: *not allowed any more*, *gone*, *cannot be asked*. Source:
//! `reference/protocols.md` 1.8, `reference/faults.md` section 1.

use std::time::Duration;

use wire::{digest::Digest, refusal::Refusal};

/// Why there is no answer, by what can be done about it. Cheap to clone, because everyone who waits gets it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// What happened.
    pub kind: Kind,
    /// The refusal's name for users.
    pub refusal: Refusal,
    /// What was seen, for status, log, `explain` and `doctor`: no secret, no presigned query, at most 500 characters. It may hold
    /// the upstream's words, names and addresses.
    pub detail: String,
    /// What of it anybody may be told who may pull: words of ours alone.
    pub told: String,
    /// The upstream's status, where there was one.
    pub status: Option<u16>,
    /// The node further up that says it failed, or was refused; the upstream itself otherwise.
    pub failed_at: Option<String>,
    /// What a node says was recalled; of [`Kind::Recalled`] alone.
    pub recalled: Option<Digest>,
}

/// The shortest and the longest `Retry-After` that is honoured. Source: `spec/pull-through.md`, "Time and failure".
pub const RETRY_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(300);

impl Error {
    /// The general form: `detail` is cleaned of control characters and cut, and told to nobody who pulls.
    pub fn new(kind: Kind, refusal: Refusal, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            refusal,
            detail: wire::oci_error::clean(detail.as_ref()),
            told: in_general(kind, refusal),
            status: None,
            failed_at: None,
            recalled: None,
        }
    }

    /// The same with what anybody may be told of it.
    #[must_use]
    pub fn telling(mut self, told: impl AsRef<str>) -> Self {
        self.told = wire::oci_error::clean(told.as_ref());
        self
    }

    /// The same, its detail being words of ours that anybody may be told.
    #[must_use]
    pub fn openly(mut self) -> Self {
        self.told.clone_from(&self.detail);
        self
    }

    /// The same with the upstream's status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The same with the node further up that says it was there.
    #[must_use]
    pub fn with_failed_at(mut self, node: Option<String>) -> Self {
        self.failed_at = node;
        self
    }

    /// It says that there is no such thing.
    pub fn gone(detail: impl AsRef<str>) -> Self {
        Self::new(Kind::Gone, Refusal::UpstreamNotFound, detail).with_status(404)
    }

    /// It knows us and says no.
    pub fn denied(detail: impl AsRef<str>) -> Self {
        Self::new(Kind::Denied, Refusal::UpstreamDenied, detail)
    }

    /// A node refuses it because `digest` was recalled.
    pub fn recalled(digest: Digest, detail: impl AsRef<str>) -> Self {
        Self {
            recalled: Some(digest),
            ..Self::new(Kind::Recalled, Refusal::UpstreamDenied, detail).with_status(403)
        }
    }

    /// It cannot be asked now.
    pub fn away(detail: impl AsRef<str>) -> Self {
        Self::new(
            Kind::Away { retry_after: None },
            Refusal::UpstreamUnavailable,
            detail,
        )
    }

    /// It limits our rate; the time is clamped to [`RETRY_AFTER`].
    pub fn rate_limited(retry_after: Option<Duration>, detail: impl AsRef<str>) -> Self {
        let kind = Kind::Away {
            retry_after: retry_after.map(clamp),
        };
        Self::new(kind, Refusal::UpstreamRateLimited, detail).with_status(429)
    }

    /// It answered something else than was asked for. What it should have been is ours to say to anybody.
    pub fn wrong(detail: impl AsRef<str>) -> Self {
        Self::new(Kind::Wrong, Refusal::UpstreamUnavailable, detail).openly()
    }

    /// The transfer broke off.
    pub fn broken(detail: impl AsRef<str>) -> Self {
        Self::new(Kind::Broken, Refusal::UpstreamUnavailable, detail)
    }

    /// The chain of nodes goes in a circle.
    pub fn looped(detail: impl AsRef<str>) -> Self {
        Self::new(Kind::Loop, Refusal::UpstreamUnavailable, detail).with_status(508)
    }

    /// What is answered instead of asking, while this was the last that was seen.
    pub(super) fn while_open(&self, wait: Duration) -> Self {
        let kind = Kind::Away {
            retry_after: Some(wait),
        };
        let detail = format!("not asked again yet: {}", self.detail);
        Self::new(kind, self.refusal, detail)
            .telling(format!("not asked again yet: {}", self.told))
            .with_failed_at(self.failed_at.clone())
    }

    /// When it makes sense to ask again, if it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            Kind::Away { retry_after } => retry_after,
            Kind::Gone
            | Kind::Denied
            | Kind::Recalled
            | Kind::Wrong
            | Kind::Loop
            | Kind::Broken => None,
        }
    }

    /// Whether it could not be asked, as opposed to having answered.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self.kind, Kind::Away { .. })
    }
}

/// What anybody may be told where nothing in particular is: the place of a secret and what a token service says are for the rule's
/// status, not for whoever pulls.
fn in_general(kind: Kind, refusal: Refusal) -> String {
    match refusal {
        Refusal::SecretUnavailable => "the credential cannot be read".to_owned(),
        Refusal::IdentityTokenFailed => {
            "no token of our own can be had; `regmesh explain` says who cannot be asked for it"
                .to_owned()
        }
        Refusal::IdentityNotAttached => "the identity may not be used by this rule".to_owned(),
        Refusal::UpstreamRealmRefused => {
            "it names a token service that may not see our credential".to_owned()
        }
        Refusal::NetworkRefused => "it does not let this node's address in".to_owned(),
        Refusal::UpstreamUnauthorized => "it does not accept our credential".to_owned(),
        Refusal::UpstreamDenied
        | Refusal::UpstreamNotFound
        | Refusal::UpstreamRateLimited
        | Refusal::UpstreamUnavailable => kind.to_string(),
    }
}

/// A `Retry-After` within what is honoured.
#[must_use]
pub fn clamp(retry_after: Duration) -> Duration {
    retry_after.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end())
}

/// The classes that deciders match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 404: it says that there is no such thing.
    Gone,
    /// 401 or 403 for good: we are not allowed (any more).
    Denied,
    /// 403 of a node: it was recalled there. Nobody lost a right, and it may be lifted at any moment: it is remembered nowhere.
    Recalled,
    /// Timeout, refused, 5xx, 429, TLS, no token of our own, breaker open: it cannot be asked.
    Away {
        /// When it makes sense to ask again, clamped to 1 s .. 5 min.
        retry_after: Option<Duration>,
    },
    /// It answered something that is not what was asked for: wrong bytes, wrong size, HTML, an unknown digest algorithm.
    Wrong,
    /// Our own node stands in the request's chain, or the chain is too long.
    Loop,
    /// The transfer broke off; the same transfer may be continued.
    Broken,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gone => "the upstream does not have it",
            Self::Denied => "the upstream does not allow it",
            Self::Recalled => "the upstream refuses it as recalled",
            Self::Away { .. } => "the upstream cannot be asked",
            Self::Wrong => "the upstream sent something else",
            Self::Loop => "the request came through this node already",
            Self::Broken => "the transfer broke off",
        })
    }
}
