//! What an upstream said when it did not simply answer.
//!
//! The three answers that are never mixed up: *not allowed any more*, *gone*, *cannot be asked*. Source:
//! `reference/protocols.md` 1.8, `reference/faults.md` section 1.

use std::time::Duration;

use wire::refusal::Refusal;

/// Why there is no answer, by what can be done about it. Cheap to clone, because everyone who waits gets it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// What happened.
    pub kind: Kind,
    /// The refusal's name for users.
    pub refusal: Refusal,
    /// What was seen, for status, log and `explain`: no secret, no presigned query, at most 500 characters.
    pub detail: String,
    /// The upstream's status, where there was one.
    pub status: Option<u16>,
}

/// The classes that deciders match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 404: it says that there is no such thing.
    Gone,
    /// 401 or 403 for good: we are not allowed (any more).
    Denied,
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
            Self::Away { .. } => "the upstream cannot be asked",
            Self::Wrong => "the upstream sent something else",
            Self::Loop => "the request came through this node already",
            Self::Broken => "the transfer broke off",
        })
    }
}
