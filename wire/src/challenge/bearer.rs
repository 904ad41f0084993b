//! The challenge that a node sends, and the quoting that keeps any text legal in a header.

use std::fmt;

use crate::scope::Scope;

/// The challenge that a node sends with its 401s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer<'a> {
    /// The absolute URL of our token endpoint, as clients reach it.
    pub realm: &'a str,
    /// Our login server.
    pub service: &'a str,
    /// What a token would have to grant; none on `/v2/`.
    pub scopes: &'a [Scope],
    /// What was wrong with the token that was shown, if one was.
    pub error: Option<TokenError>,
}

/// What was wrong with a token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not one of ours, or no longer valid.
    InvalidToken,
    /// A new one, with the scope, would help.
    InsufficientScope,
}

impl TokenError {
    /// The word in the challenge.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

impl fmt::Display for Bearer<'_> {
    /// The header's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Bearer realm={},service={}",
            quote(self.realm),
            quote(self.service)
        )?;
        if !self.scopes.is_empty() {
            write!(f, ",scope={}", quote(&Scope::write_list(self.scopes)))?;
        }
        if let Some(error) = self.error {
            write!(f, ",error={}", quote(error.as_str()))?;
        }
        Ok(())
    }
}

/// A quoted string that is legal in a header: what is not printable ASCII is left out, quotes and backslashes are escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars().filter(|c| matches!(c, ' '..='~')) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
