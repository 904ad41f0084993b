//! What a token is limited to: the `access` claim of registry tokens. An upper bound and never a right.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{
    repository::RepositoryName,
    scope::{Action, Scope},
};

use super::Rights;

/// The most that the bearer of a token may do, whatever the roles say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Bound {
    repositories: BTreeMap<RepositoryName, Rights>,
    /// Whether the catalog may be asked for.
    pub catalog: bool,
}

impl Bound {
    /// Adds rights in a repository; none leave no trace.
    pub fn add(&mut self, repository: RepositoryName, rights: Rights) {
        if !rights.is_empty() {
            *self.repositories.entry(repository).or_default() |= rights;
        }
    }

    /// Whether it lets `action` in `repository` through.
    #[must_use]
    pub fn allows(&self, action: Action, repository: &RepositoryName) -> bool {
        self.repositories
            .get(repository)
            .is_some_and(|rights| rights.allow(action))
    }

    /// What of it `other` lets through too.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        let mut both = Self {
            catalog: self.catalog && other.catalog,
            ..Self::default()
        };
        for (name, rights) in &self.repositories {
            let others = other.repositories.get(name).copied().unwrap_or_default();
            both.add(name.clone(), *rights & others);
        }
        both
    }

    /// The same as scopes, for the answer of a token request.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let repositories = self.repositories.iter();
        let mut scopes: Vec<Scope> = repositories
            .map(|(name, rights)| Scope::repository(name.clone(), rights.actions()))
            .collect();
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

/// What cannot be read gives nothing.
impl From<Vec<Entry>> for Bound {
    fn from(entries: Vec<Entry>) -> Self {
        let mut bound = Self::default();
        for entry in entries {
            match (entry.kind.as_str(), entry.name.parse()) {
                ("repository", Ok(name)) => {
                    let named =
                        |action: &Action| entry.actions.iter().any(|text| text == action.as_str());
                    bound.add(name, Action::ALL.into_iter().filter(named).collect());
                }
                ("registry", _) => bound.catalog |= entry.name == "catalog",
                _ => {}
            }
        }
        bound
    }
}

impl From<Bound> for Vec<Entry> {
    fn from(bound: Bound) -> Self {
        let repositories = bound.repositories.iter().map(|(name, rights)| Entry {
            kind: "repository".to_owned(),
            name: name.to_string(),
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
