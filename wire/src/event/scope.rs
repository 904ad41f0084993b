//! Which events a webhook wants: `repo` (all its tags), `repo:tag`, `prefix*`, or nothing for all.
//!
//! `prefix*` is by characters, not by path components: a webhook grants nothing, and ACR users expect it so. With a colon
//! in it (`repo:1.*`) the repository is exact and the tag has the prefix.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{reference::Tag, repository::RepositoryName};

/// Which events a webhook wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum EventScope {
    /// All of them.
    #[default]
    All,
    /// Those of one repository, tagged or not.
    Repository(RepositoryName),
    /// Those of one tag.
    Tag(RepositoryName, Tag),
    /// Those of repositories whose name begins so.
    Prefix(String),
    /// Those of one repository's tags that begin so.
    TagPrefix(RepositoryName, String),
}

/// The text is not a webhook's scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a webhook's scope: a repository, REPOSITORY:TAG, PREFIX* or nothing for all")]
pub struct EventScopeError(String);

impl EventScope {
    /// Whether it wants an event of this repository and tag (`None` when untagged).
    #[must_use]
    pub fn covers(&self, repository: &RepositoryName, tag: Option<&Tag>) -> bool {
        match self {
            Self::All => true,
            Self::Repository(own) => own == repository,
            Self::Tag(own, wanted) => own == repository && tag == Some(wanted),
            Self::Prefix(prefix) => repository.as_str().starts_with(prefix.as_str()),
            Self::TagPrefix(own, prefix) => {
                own == repository
                    && tag.is_some_and(|tag| tag.as_str().starts_with(prefix.as_str()))
            }
        }
    }
}

impl FromStr for EventScope {
    type Err = EventScopeError;
    fn from_str(text: &str) -> Result<Self, EventScopeError> {
        parse(text).ok_or_else(|| EventScopeError(text.chars().take(200).collect()))
    }
}

fn parse(text: &str) -> Option<EventScope> {
    let (text, wildcard) = match text.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (text, false),
    };
    Some(match (text.split_once(':'), wildcard) {
        (None, false) if text.is_empty() => EventScope::All,
        (None, true) if text.is_empty() => EventScope::All,
        (None, false) => EventScope::Repository(text.parse().ok()?),
        (None, true) => EventScope::Prefix(Some(text).filter(|t| is_prefix(t))?.to_owned()),
        (Some((name, tag)), false) => EventScope::Tag(name.parse().ok()?, tag.parse().ok()?),
        (Some((name, tag)), true) => {
            let legal = tag.is_empty() || tag.parse::<Tag>().is_ok();
            EventScope::TagPrefix(name.parse().ok()?, Some(tag).filter(|_| legal)?.to_owned())
        }
    })
}

/// Whether some repository name begins so: it is one, or becomes one with a letter behind it.
fn is_prefix(text: &str) -> bool {
    format!("{text}a").parse::<RepositoryName>().is_ok()
}

impl fmt::Display for EventScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Repository(name) => name.fmt(f),
            Self::Tag(name, tag) => write!(f, "{name}:{tag}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::TagPrefix(name, prefix) => write!(f, "{name}:{prefix}*"),
        }
    }
}

impl Serialize for EventScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
