//! What may be done with a repository, and how token requests say it: `repository:NAME:pull,push`.
//!
//! A scope that is not ours to grant (another type, a name outside the grammar, a foreign action) is kept as text or left
//! out, never an error: a token service answers with what remains. Source: `reference/protocols.md` 1.2.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::repository::RepositoryName;

/// How many scopes of one request are read; the rest is left out, which can only grant less.
pub const MAX_SCOPES: usize = 64;
/// The longest single scope read, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// What may be done with a repository. The order is the one in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Upload blobs, put manifests and tags.
    Push,
    /// Delete tags, manifests and blobs.
    Delete,
}

impl Action {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// The word in a scope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One scope of a token request or a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `repository:NAME:ACTIONS`; unknown actions are left out, `*` stands for all of ours.
    Repository {
        /// Which repository.
        name: RepositoryName,
        /// What with it; perhaps nothing.
        actions: BTreeSet<Action>,
    },
    /// `registry:catalog:*`.
    Catalog,
    /// Anything else, as it came.
    Other(String),
}

impl Scope {
    /// `repository:NAME:ACTIONS`.
    #[must_use]
    pub fn repository(name: RepositoryName, actions: impl IntoIterator<Item = Action>) -> Self {
        Self::Repository {
            name,
            actions: actions.into_iter().collect(),
        }
    }

    /// Reads one scope. The type ends at the first colon, the actions begin after the last one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Other(text.chars().take(MAX_LENGTH).collect()))
    }

    fn known(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        match resource_type(kind)? {
            "repository" => Some(Self::Repository {
                name: name.parse().ok()?,
                actions: actions_of(actions),
            }),
            "registry" if name == "catalog" && actions.split(',').any(|a| a == "*") => {
                Some(Self::Catalog)
            }
            _ => None,
        }
    }

    /// Reads scopes separated by spaces, at most [`MAX_SCOPES`], without doubled ones, in order of appearance.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        let mut scopes = Vec::new();
        for scope in text.split_ascii_whitespace().map(Self::parse) {
            if scopes.len() >= MAX_SCOPES {
                break;
            }
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes
    }

    /// Writes scopes separated by spaces.
    #[must_use]
    pub fn write_list(scopes: &[Self]) -> String {
        let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        texts.join(" ")
    }
}

/// `repository` of `repository(plugin)`: the class is ignored.
fn resource_type(text: &str) -> Option<&str> {
    match text.split_once('(') {
        None => Some(text),
        Some((kind, class)) => class.ends_with(')').then_some(kind),
    }
}

fn actions_of(text: &str) -> BTreeSet<Action> {
    text.split(',')
        .flat_map(|word| {
            Action::ALL
                .into_iter()
                .filter(move |action| word == "*" || word == action.as_str())
        })
        .collect()
}

impl FromStr for Scope {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { name, actions } => {
                write!(f, "repository:{name}:")?;
                for (at, action) in actions.iter().enumerate() {
                    write!(f, "{}{action}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Catalog => f.write_str("registry:catalog:*"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(name: &str, actions: &[Action]) -> Scope {
        Scope::repository(name.parse().expect("a name"), actions.iter().copied())
    }

    #[test]
    fn the_grammar_of_token_requests_is_read() {
        use Action::{Delete, Pull, Push};
        let cases = [
            ("repository:team/app:pull", repository("team/app", &[Pull])),
            (
                "repository:team/app:push,pull",
                repository("team/app", &[Pull, Push]),
            ),
            (
                "repository:team/app:*",
                repository("team/app", &[Pull, Push, Delete]),
            ),
            (
                "repository:a:pull,metadata_read,pull",
                repository("a", &[Pull]),
            ),
            ("repository:a:", repository("a", &[])),
            ("repository:a:PULL", repository("a", &[])),
            ("repository(plugin):a:delete", repository("a", &[Delete])),
            ("registry:catalog:*", Scope::Catalog),
        ];
        for (text, wanted) in cases {
            assert_eq!(Scope::parse(text), wanted, "{text}");
        }
        for other in [
            "",
            "aws",
            "repository",
            "repository:a",
            "registry:catalog:read",
            "registry:x:*",
            "artifact-repository:a:pull",
            "repository:a/../b:pull",
            "repository:A:pull",
            "repository:host:5000/a:pull",
            "repository:a b:pull",
            "Repository:a:pull",
            "repository(x:a:pull",
            "repository:a%2fb:pull",
        ] {
            assert_eq!(Scope::parse(other), Scope::Other(other.to_owned()));
        }
    }

    #[test]
    fn a_list_is_bounded_and_without_doubled_scopes() {
        let list = Scope::parse_list(" repository:a:pull  repository:a:pull registry:catalog:* ");
        assert_eq!(list, [repository("a", &[Action::Pull]), Scope::Catalog]);
        let many: Vec<String> = (0..1000).map(|n| format!("repository:r{n}:pull")).collect();
        assert_eq!(Scope::parse_list(&many.join(" ")).len(), MAX_SCOPES);
        assert_eq!(
            Scope::write_list(&list),
            "repository:a:pull registry:catalog:*"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "(repository|registry|x)(\\(p\\))?:[a-z/:]{1,9}:(pull|push|delete|[*]|,|x){0,5}") {
            let scope = Scope::parse(&text);
            prop_assert_eq!(Scope::parse(&scope.to_string()), scope);
        }

        #[test]
        fn whatever_arrives_is_a_list(text in ".{0,300}") {
            let list = Scope::parse_list(&text);
            prop_assert!(list.len() <= MAX_SCOPES);
            prop_assert_eq!(Scope::parse_list(&Scope::write_list(&list)), list);
        }
    }
}
