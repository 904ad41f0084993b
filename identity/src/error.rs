//! Why a caller is not let in: refused, too often, or not to be found out just now.
//!
//! *Refused* is an answer about the caller; *unavailable* is about us and never becomes a 401. Nothing here says which part of
//! the credentials was wrong, or whether an account exists.

use std::time::Duration;

use crate::authenticate::grant;

/// Why authentication gave no principal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was shown is not valid.
    #[error("the credentials are not valid: {0}")]
    Refused(Refused),
    /// Too many wrong credentials for this account or from this address.
    #[error("too many wrong credentials; try again in {} s", .retry_after.as_secs().max(1))]
    TooOften {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// It could not be found out whether the credentials are valid.
    #[error("{what} cannot be read now")]
    Unavailable {
        /// What could not be looked at.
        what: &'static str,
        /// Why; may name a file or variable, so it is for the log and not for the caller.
        #[source]
        source: BoxError,
    },
}

/// What is *unavailable* of an account; the one thing among them that is a secret which an operator has to mend.
pub const ACCOUNT_PASSWORD: &str = "the account's password";

/// A cause from below a seam.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is wrong with what was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The `Authorization` header is not one, or there are several.
    #[error("the Authorization header is malformed")]
    Malformed,
    /// A scheme that is not taken here.
    #[error("only Basic and Bearer are taken")]
    Scheme,
    /// User name and secret do not belong together, or there is no such user.
    #[error("wrong user name or password")]
    Password,
    /// A bearer token that this node did not make or that is no longer valid.
    #[error("the token is not valid here")]
    Token,
    /// A refresh token that this node did not make, that is over, or that was revoked.
    #[error("the refresh token is not valid")]
    RefreshToken,
    /// A genuine token, perhaps, in a place where tokens of its kind are worth nothing.
    #[error("a token of this kind is not taken here")]
    Kind,
    /// A rule grant.
    #[error("the rule grant is not taken: {0}")]
    Grant(grant::Wrong),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
