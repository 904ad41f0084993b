//! Repository names. Source: OCI distribution-spec 1.1.1, "Pulling manifests" (`<name>`).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::NameError;

/// The longest repository name taken, in characters (host names and paths together stay below 255 at every client).
pub const MAX_LENGTH: usize = 255;

/// A repository's name: path components of lower-case letters and digits joined by `.`, `_`, `__` or hyphens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The name as it stands in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its path components, first to last; never none.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        const REASON: &str = "lower-case letters and digits, joined within a component by one '.', one or two '_' or any number of '-', components separated by '/', at most 255 characters";
        if text.len() <= MAX_LENGTH && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::new("repository name", text, REASON))
        }
    }
}

fn is_component(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        let word = rest
            .iter()
            .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            .count();
        let Some((_, after)) = rest.split_at_checked(word).filter(|_| word > 0) else {
            return false;
        };
        if after.is_empty() {
            return true;
        }
        let separator = after
            .iter()
            .take_while(|b| matches!(b, b'.' | b'_' | b'-'))
            .count();
        let Some((separator, after)) = after.split_at_checked(separator) else {
            return false;
        };
        let legal = matches!(separator, b"." | b"_" | b"__")
            || (!separator.is_empty() && separator.iter().all(|b| *b == b'-'));
        if !legal {
            return false;
        }
        rest = after;
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for RepositoryName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepositoryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
