//! Why there is no authorization: the two answers that are never mixed up.

use std::time::Duration;

use runtime::single;
use wire::refusal::Refusal;

use super::realm;
use crate::token_source;

/// Why there is no authorization. Cheap to clone: everyone who waits for a token gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It could not be found out: a secret, an identity's source or the token service is away.
    #[error("no token can be had: {detail}")]
    Away {
        /// Its name for users.
        refusal: Refusal,
        /// What was seen, without secrets.
        detail: String,
        /// When to ask again, if it said so.
        retry_after: Option<Duration>,
        /// The token service's status, if it answered.
        status: Option<u16>,
    },
    /// The answer is no.
    #[error("no token is given: {detail}")]
    Refused {
        /// Its name for users.
        refusal: Refusal,
        /// What was seen, without secrets.
        detail: String,
        /// The token service's status, if it answered.
        status: Option<u16>,
    },
}

impl Error {
    pub(super) fn away(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self::Away {
            refusal,
            detail: detail.into(),
            retry_after: None,
            status: None,
        }
    }
}

impl From<token_source::Error> for Error {
    fn from(error: token_source::Error) -> Self {
        use token_source::Error as Source;
        let detail = error.to_string();
        match error {
            Source::Secret(_) => Self::away(Refusal::SecretUnavailable, detail),
            Source::Away { retry_after, .. } => Self::Away {
                refusal: Refusal::IdentityTokenFailed,
                detail,
                retry_after,
                status: None,
            },
            // It is Entra, or another token service, that says no: as when the upstream's own does (`reference/protocols.md` 1.8).
            Source::Refused { .. } => Self::Refused {
                refusal: Refusal::UpstreamUnauthorized,
                detail,
                status: None,
            },
            Source::NotAttached { .. } => Self::Refused {
                refusal: Refusal::IdentityNotAttached,
                detail,
                status: None,
            },
        }
    }
}

impl From<realm::Refused> for Error {
    fn from(refused: realm::Refused) -> Self {
        Self::Refused {
            refusal: Refusal::UpstreamRealmRefused,
            detail: refused.to_string(),
            status: None,
        }
    }
}

impl From<single::Error> for Error {
    fn from(error: single::Error) -> Self {
        Self::away(Refusal::UpstreamUnavailable, error.to_string())
    }
}
