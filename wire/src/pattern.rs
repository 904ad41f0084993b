//! Patterns over repository names: exact, or everything below a path.
//!
//! `team/*` covers `team/a` and `team/a/b`, never `team` itself and never `teams/a`: comparison is by whole path
//! components. `*` alone covers every repository. Source: `spec/topology.md`, `rules` and `access`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{name::NameError, repository::RepositoryName};

/// An exact repository name, or every repository below a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// `*`: every repository.
    All,
    /// `PATH/*`: every repository below the path, not the path itself.
    Below(RepositoryName),
    /// This repository alone.
    Exact(RepositoryName),
}

impl Pattern {
    /// Whether it ends in `*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        !matches!(self, Self::Exact(_))
    }

    /// Whether it covers `name`.
    #[must_use]
    pub fn covers(&self, name: &RepositoryName) -> bool {
        self.remainder(name.as_str()).is_some()
    }

    /// Whether everything that `other` covers is covered by this one too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) => false,
            (_, Self::Exact(name)) => self.covers(name),
            (Self::Exact(_), Self::Below(_)) => false,
            (Self::Below(path), Self::Below(inner)) => path == inner || self.covers(inner),
        }
    }

    /// Whether some repository is covered by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The name that `name` has on the other side: what this pattern's `*` stood for, put in place of `other`'s `*`.
    /// `None` when this pattern does not cover `name` or the result is not a legal name.
    #[must_use]
    pub fn map(&self, name: &RepositoryName, other: &Self) -> Option<RepositoryName> {
        let rest = self.remainder(name.as_str())?;
        match other {
            Self::Exact(target) => Some(target.clone()),
            Self::All => rest.parse().ok(),
            Self::Below(path) => format!("{path}/{rest}").parse().ok(),
        }
    }

    /// What of `name` the `*` stands for; the empty text for an exact match; `None` when it is not covered.
    fn remainder<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::All => Some(name),
            Self::Exact(exact) => (exact.as_str() == name).then_some(""),
            Self::Below(path) => name.strip_prefix(path.as_str())?.strip_prefix('/'),
        }
    }
}

impl From<RepositoryName> for Pattern {
    fn from(name: RepositoryName) -> Self {
        Self::Exact(name)
    }
}

impl FromStr for Pattern {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || {
            NameError::new(
                "repository pattern",
                text,
                "a repository name, PATH/* or * alone; '*' is only the last path component",
            )
        };
        match text.strip_suffix('*') {
            Some("") => Ok(Self::All),
            Some(path) => path
                .strip_suffix('/')
                .and_then(|p| p.parse().ok())
                .map(Self::Below)
                .ok_or_else(error),
            None => text.parse().map(Self::Exact).map_err(|_| error()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(path) => write!(f, "{path}/*"),
            Self::Exact(name) => name.fmt(f),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
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

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("a name")
    }

    #[test]
    fn coverage_is_by_whole_path_components() {
        for (text, covered, not) in [
            ("*", &["a", "a/b"][..], &[][..]),
            (
                "backend/*",
                &["backend/a", "backend/a/b"],
                &["backend", "backendsvc", "backendsvc/a", "a/backend/b"],
            ),
            ("a/b", &["a/b"], &["a", "a/b/c", "a/bc"]),
        ] {
            for covers in covered {
                assert!(pattern(text).covers(&name(covers)), "{text} {covers}");
            }
            for other in not {
                assert!(!pattern(text).covers(&name(other)), "{text} {other}");
            }
        }
    }

    #[test]
    fn a_star_is_the_last_component_alone() {
        for bad in [
            "", "a*", "*/a", "a/*/b", "a/**", "/*", "A/*", "a//*", "**", "a/* ",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_star_stood_for_moves_to_the_other_side() {
        for (from, to, text, wanted) in [
            ("promoted/*", "team/*", "promoted/a/b", Some("team/a/b")),
            ("*", "mirror/*", "a/b", Some("mirror/a/b")),
            ("mirror/*", "*", "mirror/a/b", Some("a/b")),
            ("a", "x/y", "a", Some("x/y")),
            ("a/*", "b/*", "c/d", None),
        ] {
            let mapped = pattern(from).map(&name(text), &pattern(to));
            assert_eq!(mapped, wanted.map(name), "{from} {to} {text}");
        }
        let long = name(&("m/".to_owned() + &"a".repeat(253)));
        assert_eq!(pattern("m/*").map(&long, &pattern("mirror/*")), None);
    }

    fn patterns() -> impl Strategy<Value = Pattern> {
        "[ab](/[ab]){0,3}(/[*])?|[*]".prop_map(|text| pattern(&text))
    }

    proptest! {
        #[test]
        fn containing_and_overlapping_follow_from_covering(a in patterns(), b in patterns(), text in "[ab](/[ab]){0,4}") {
            let name = name(&text);
            prop_assert!(!a.contains(&b) || !b.covers(&name) || a.covers(&name));
            prop_assert!(!(a.covers(&name) && b.covers(&name)) || a.overlaps(&b));
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }

        #[test]
        fn mapping_there_and_back_changes_nothing(a in patterns(), b in patterns(), text in "[ab](/[ab]){0,4}") {
            let name = name(&text);
            if a.is_wildcard() == b.is_wildcard() && let Some(there) = a.map(&name, &b) {
                prop_assert!(b.covers(&there));
                prop_assert_eq!(b.map(&there, &a), Some(name));
            }
        }

        #[test]
        fn a_pattern_reads_back(text in "[a-z/*]{0,12}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
