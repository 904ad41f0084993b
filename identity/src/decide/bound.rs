//! What a token is limited to: the `access` claim of registry tokens, or the patterns of a rule grant. An upper bound and never
//! a right.
//!
//! Access tokens name repositories; patterns are for what outlives one request (the refresh token of a rule), and are written apart,
//! as `repositories`, so that a registry token with `*` for a name opens nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{
    pattern::Pattern,
    repository::RepositoryName,
    scope::{Action, Scope},
};

use super::Rights;

/// The most that the bearer of a token may do, whatever the roles say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Bound {
    repositories: BTreeMap<Pattern, Rights>,
    /// Whether the catalog may be asked for.
    pub catalog: bool,
}

impl Bound {
    /// Adds rights in a repository, or in all that a pattern covers; none leave no trace.
    pub fn add(&mut self, repositories: impl Into<Pattern>, rights: Rights) {
        if !rights.is_empty() {
            *self.repositories.entry(repositories.into()).or_default() |= rights;
        }
    }

    /// Whether it lets `action` in `repository` through.
    #[must_use]
    pub fn allows(&self, action: Action, repository: &RepositoryName) -> bool {
        // Few entries: a token has at most as many as a request has scopes, a grant as its rule has sources.
        self.repositories
            .iter()
            .any(|(pattern, rights)| rights.allow(action) && pattern.covers(repository))
    }

    /// What of it `other` lets through too. Two patterns that cover something in common do so because one contains the other, so
    /// the inner one is what is left.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        let mut both = Self {
            catalog: self.catalog && other.catalog,
            ..Self::default()
        };
        for (ours, rights) in &self.repositories {
            for (theirs, most) in &other.repositories {
                let inner = match (theirs.contains(ours), ours.contains(theirs)) {
                    (true, _) => ours,
                    (false, true) => theirs,
                    (false, false) => continue,
                };
                both.add(inner.clone(), *rights & *most);
            }
        }
        both
    }

    /// The repositories by name, and the catalog, as scopes: for the answer of a token request.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let named = self.repositories.iter();
        let named = named.filter_map(|(pattern, rights)| match pattern {
            Pattern::Exact(name) => Some(Scope::repository(name.clone(), rights.actions())),
            Pattern::All | Pattern::Below(_) => None,
        });
        let mut scopes: Vec<Scope> = named.collect();
        if self.catalog {
            scopes.push(Scope::Catalog);
        }
        scopes
    }
}

/// One element of the `access` claim.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

/// One repository, as every registry has it.
const ONE: &str = "repository";
/// All that a pattern covers: ours alone.
const MANY: &str = "repositories";

/// What cannot be read gives nothing.
impl From<Vec<Entry>> for Bound {
    fn from(entries: Vec<Entry>) -> Self {
        let mut bound = Self::default();
        for entry in entries {
            let pattern: Option<Pattern> = entry.name.parse().ok();
            match (entry.kind.as_str(), pattern) {
                (ONE, Some(one @ Pattern::Exact(_))) => bound.add(one, rights(&entry.actions)),
                (MANY, Some(many)) => bound.add(many, rights(&entry.actions)),
                ("registry", _) => bound.catalog |= entry.name == "catalog",
                _ => {}
            }
        }
        bound
    }
}

fn rights(actions: &[String]) -> Rights {
    let named = |action: &Action| actions.iter().any(|text| text == action.as_str());
    Action::ALL.into_iter().filter(named).collect()
}

impl From<Bound> for Vec<Entry> {
    fn from(bound: Bound) -> Self {
        let repositories = bound.repositories.iter().map(|(pattern, rights)| Entry {
            kind: if pattern.is_wildcard() { MANY } else { ONE }.to_owned(),
            name: pattern.to_string(),
            actions: rights
                .actions()
                .map(|action| action.as_str().to_owned())
                .collect(),
        });
        let mut entries: Self = repositories.collect();
        if bound.catalog {
            entries.push(Entry {
                kind: "registry".to_owned(),
                name: "catalog".to_owned(),
                actions: vec!["*".to_owned()],
            });
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(entries: &[(&str, &str)]) -> Bound {
        let mut bound = Bound::default();
        for (pattern, actions) in entries {
            let named = |action: &Action| actions.contains(action.as_str());
            let rights = Action::ALL.into_iter().filter(named).collect();
            bound.add(pattern.parse::<Pattern>().unwrap(), rights);
        }
        bound
    }

    #[test]
    fn what_is_asked_for_within_a_grant_is_what_both_cover() {
        type Entries = &'static [(&'static str, &'static str)];
        let cases: &[(Entries, Entries, Entries)] = &[
            (
                &[("team/a", "pull")],
                &[("team/*", "pull")],
                &[("team/a", "pull")],
            ),
            (
                &[("team/a", "pull push")],
                &[("team/*", "pull")],
                &[("team/a", "pull")],
            ),
            (
                &[("team/a/b", "pull")],
                &[("team/*", "pull")],
                &[("team/a/b", "pull")],
            ),
            (&[("team", "pull")], &[("team/*", "pull")], &[]),
            (&[("teams/a", "pull")], &[("team/*", "pull")], &[]),
            (&[("team/a", "push")], &[("*", "pull")], &[]),
            (
                &[("team/a", "pull"), ("b", "pull")],
                &[("team/a", "pull")],
                &[("team/a", "pull")],
            ),
            (
                &[("*", "pull")],
                &[("team/*", "pull")],
                &[("team/*", "pull")],
            ),
            (
                &[("team/*", "pull")],
                &[("team/a/*", "pull"), ("team/b", "pull")],
                &[("team/a/*", "pull"), ("team/b", "pull")],
            ),
            (
                &[("a", "pull push")],
                &[("a", "pull"), ("*", "push")],
                &[("a", "pull push")],
            ),
            (&[("a", "pull")], &[], &[]),
        ];
        for (asked, most, expected) in cases {
            let both = bound(asked).within(&bound(most));
            assert_eq!(both, bound(expected), "{asked:?} within {most:?}");
            assert_eq!(
                bound(most).within(&bound(asked)),
                both,
                "{asked:?}, the other way round"
            );
        }
    }

    #[test]
    fn a_bound_reads_as_it_was_written_also_by_earlier_releases() {
        let mut written = bound(&[("team/*", "pull"), ("*", "push"), ("a/b", "pull delete")]);
        written.catalog = true;
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<Bound>(&text).unwrap(), written);
        let old = r#"[{"type":"repository","name":"a/b","actions":["pull"]},{"type":"registry","name":"catalog","actions":["*"]}]"#;
        let old: Bound = serde_json::from_str(old).unwrap();
        assert!(old.catalog && old.allows(Action::Pull, &"a/b".parse().unwrap()));
        assert_eq!(
            Scope::write_list(&written.scopes()),
            "repository:a/b:pull,delete registry:catalog:*"
        );
    }

    #[test]
    fn a_pattern_lets_through_what_it_covers_and_nothing_beside_it() {
        let bound = bound(&[("team/*", "pull"), ("team/a", "push")]);
        let allows = |action, name: &str| bound.allows(action, &name.parse().unwrap());
        assert!(allows(Action::Pull, "team/a") && allows(Action::Push, "team/a"));
        assert!(allows(Action::Pull, "team/b/c") && !allows(Action::Push, "team/b"));
        assert!(!allows(Action::Pull, "team") && !allows(Action::Pull, "teams/a"));
    }
}
