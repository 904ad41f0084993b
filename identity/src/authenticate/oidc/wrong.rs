//! What is wrong with an issuer's token: for the log and for nobody else.
//!
//! Texts from a token are hostile and are cleaned before they stand here.

use openidconnect::{ClaimsVerificationError, SignatureVerificationError};
use wire::oci_error::clean;

/// What is wrong with a token that says it is a declared issuer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("it is over: its `exp` has passed")]
    Over,
    #[error("it does not count yet: its `nbf` or `iat` lies ahead")]
    Ahead,
    #[error("it has no `exp`, or a time in it is none")]
    Time,
    #[error(
        "it is for somebody else, or for others too: `aud` must hold audiences of ours and nothing else"
    )]
    Audience,
    #[error("its algorithm '{0}' is not taken from this issuer")]
    Algorithm(String),
    #[error("no key of the issuer fits: unknown `kid`, or another kind of key")]
    Key,
    #[error("several keys fit, and it names none")]
    WhichKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("{0}")]
    Other(String),
}

impl Wrong {
    /// Whether the issuer may have published a key since that makes it right.
    pub(super) fn may_lack_a_key(&self, kid: Option<&str>) -> bool {
        match self {
            Self::Key => true,
            Self::Signature => kid.is_none(),
            Self::Over
            | Self::Ahead
            | Self::Time
            | Self::Audience
            | Self::Algorithm(_)
            | Self::WhichKey
            | Self::Other(_) => false,
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "non-exhaustive, and whatever the library adds is wrong too"
)]
impl From<ClaimsVerificationError> for Wrong {
    fn from(error: ClaimsVerificationError) -> Self {
        use SignatureVerificationError as Signature;
        match error {
            ClaimsVerificationError::Expired(_) => Self::Over,
            ClaimsVerificationError::InvalidAudience(_) => Self::Audience,
            ClaimsVerificationError::SignatureVerification(error) => match error {
                Signature::NoMatchingKey => Self::Key,
                Signature::AmbiguousKeyId(_) => Self::WhichKey,
                Signature::CryptoError(_) => Self::Signature,
                other => Self::Other(clean(&other.to_string())),
            },
            other => Self::Other(clean(&other.to_string())),
        }
    }
}
