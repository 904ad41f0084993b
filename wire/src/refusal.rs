//! The name of every refusal that a user may have to act on. Source: `spec/identity.md`, "Every refusal has a name".

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why an upstream's content could not be had, in one stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Refusal {
    /// The upstream or its token service does not accept our credential.
    UpstreamUnauthorized,
    /// The upstream knows us and says no.
    UpstreamDenied,
    /// The upstream says that it does not exist.
    UpstreamNotFound,
    /// The upstream limits our rate.
    UpstreamRateLimited,
    /// The upstream cannot be asked.
    UpstreamUnavailable,
    /// The upstream's challenge names a token service that may not see our credential.
    UpstreamRealmRefused,
    /// The identity may not be used by this rule on this node.
    IdentityNotAttached,
    /// No token of our own can be had: whoever gives it cannot be asked, or the one in hand has ended.
    IdentityTokenFailed,
    /// The referenced secret cannot be read.
    SecretUnavailable,
    /// The caller's address is not let in.
    NetworkRefused,
}

impl Refusal {
    /// The name that a node of ours gives in an error body (`errors[0].detail.refusal`). Anybody may say so: it chooses a word, no right.
    #[must_use]
    pub fn said(body: &[u8]) -> Option<Self> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        Self::deserialize(body.pointer("/errors/0/detail/refusal")?).ok()
    }

    /// The name in errors, status and `explain`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamUnauthorized => "UPSTREAM_UNAUTHORIZED",
            Self::UpstreamDenied => "UPSTREAM_DENIED",
            Self::UpstreamNotFound => "UPSTREAM_NOT_FOUND",
            Self::UpstreamRateLimited => "UPSTREAM_RATE_LIMITED",
            Self::UpstreamUnavailable => "UPSTREAM_UNAVAILABLE",
            Self::UpstreamRealmRefused => "UPSTREAM_REALM_REFUSED",
            Self::IdentityNotAttached => "IDENTITY_NOT_ATTACHED",
            Self::IdentityTokenFailed => "IDENTITY_TOKEN_FAILED",
            Self::SecretUnavailable => "SECRET_UNAVAILABLE",
            Self::NetworkRefused => "NETWORK_REFUSED",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_the_same_everywhere() {
        use Refusal::*;
        for refusal in [
            UpstreamUnauthorized,
            UpstreamDenied,
            UpstreamNotFound,
            UpstreamRateLimited,
            UpstreamUnavailable,
            UpstreamRealmRefused,
            IdentityNotAttached,
            IdentityTokenFailed,
            SecretUnavailable,
            NetworkRefused,
        ] {
            assert_eq!(
                serde_json::to_value(refusal).expect("a word"),
                refusal.as_str()
            );
            assert_eq!(refusal.to_string(), refusal.as_str());
        }
    }
}
