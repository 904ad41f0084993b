//! What a rule can show its upstream: a proof for this one (rule, upstream), made fresh each time it is asked for.
//!
//! The kinds differ only here; `authenticator` turns whatever proof into a registry token. A source is owned by one rule and
//! never shared, so what it shows cannot be borrowed. *Cannot get a proof* and *may not have one* are different errors.
//! Source: `spec/identity.md`, "Calling an upstream".

use std::time::Duration;

use async_trait::async_trait;
use runtime::Secret;
use wire::time::WallTime;

pub mod anonymous;
pub mod azure;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod federated;
#[cfg(any(test, feature = "testing"))]
pub mod fixed;
pub(crate) mod held;
pub(crate) mod judge;
pub mod managed;
pub mod password;
#[cfg(test)]
pub(crate) mod scripted;

pub use anonymous::Anonymous;
pub use azure::Azure;
pub use federated::Federated;
pub use managed::Managed;
pub use password::Password;

/// What is shown to an upstream or its token service.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Nothing: the rule calls as nobody.
    None,
    /// A user name and a password, for Basic or the Docker token protocol.
    Password {
        /// The user name: some registries put a key's id there, so it is not printed either.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// A token for the exchange: `/oauth2/exchange`, then `/oauth2/token` (nodes, ACRs).
    Token(Secret),
}

/// A proof and which one of its source's it is.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The proof.
    pub proof: Proof,
    /// Changes whenever tokens got by an earlier proof are no longer to be used: a rotated password, a grant in the place of one that
    /// was refused. Not when a grant merely takes the place of one that was due.
    pub version: u64,
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The secret cannot be read.
    #[error("the credential cannot be read: {0}")]
    Secret(#[from] crate::secret::Unavailable),
    /// Whoever gives the proof cannot be asked.
    #[error("no token of our own: {detail}")]
    Away {
        /// What was seen, without secrets.
        detail: String,
        /// When to ask again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The token service that gives the proof does not take what we show it.
    #[error("no token of our own is given: {detail}")]
    Refused {
        /// What was seen, without secrets.
        detail: String,
        /// Whether it says so for minutes of whom it was told of a moment ago. `held` alone looks at it.
        unheard: bool,
    },
    /// The identity may not be used by this rule on this node.
    #[error("the identity may not be used: {detail}")]
    NotAttached {
        /// What was seen, without secrets.
        detail: String,
    },
}

/// Gives proofs for one (rule, upstream). Implementations pass `conformance`.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// The kind, for status and logs: `anonymous`, `password`, …
    fn kind(&self) -> &'static str;

    /// The proof that is valid now. Bounded in time by the implementation; safe to drop.
    async fn proof(&self) -> Result<Presented, Error>;

    /// The upstream's token service does not take the proof of this version. A source that can get another one does so now, and its
    /// version moves; at most once in a while, whoever asks. Bounded in time.
    async fn refused(&self, _version: u64) {}

    /// When the token in hand ends; none where nothing is in hand, or what is in hand does not end.
    fn ends(&self) -> Option<WallTime> {
        None
    }
}
