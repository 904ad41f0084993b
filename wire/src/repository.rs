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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_distribution_specs_grammar_is_the_grammar() {
        let longest = "a/".repeat(127) + "a";
        for good in [
            "a",
            "0",
            "a/b",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a----b",
            "docker.io/library/alpine",
            "a/b-1.c_d",
            &longest,
        ] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let too_long = format!("{longest}b");
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/B", ".a", "a.", "a..b", "a___b", "a._b", "a-_b",
            "-a", "a-", "_a", "a b", "a:b", "a@b", "..", "a/../b", "a/./b", "a%2fb", "a\\b", "a\0",
            "ä", "a\n", &too_long,
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
    }

    proptest! {
        /// An oracle written another way: the words between separators, one by one.
        #[test]
        fn the_parser_agrees_with_the_grammar(text in "[a-bA._/-]{0,10}") {
            let component = |part: &str| {
                let words: Vec<&str> = part.split(['.', '_', '-']).collect();
                let edges = !part.is_empty() && !words.first().is_none_or(|w| w.is_empty()) && !words.last().is_none_or(|w| w.is_empty());
                let separators: Vec<&str> = part.split(|c: char| !matches!(c, '.' | '_' | '-')).filter(|s| !s.is_empty()).collect();
                edges && !part.contains('A') && separators.iter().all(|s| [".", "_", "__"].contains(s) || s.trim_matches('-').is_empty())
            };
            prop_assert_eq!(text.parse::<RepositoryName>().is_ok(), text.split('/').all(component), "{}", text);
        }

        #[test]
        fn whatever_parses_stays_inside_a_directory(text in ".{0,40}|[a-z./_-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(name.components().all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\\')));
            }
        }
    }
}
