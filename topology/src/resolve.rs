//! Which rule answers for a repository, and under which name the upstream knows it.
//!
//! Fixed rules are one lookup. Wildcards are one lookup for each path component, longest prefix first, so the cost is the
//! length of the path and not the number of rules. At most one rule can answer: wildcards of a node never overlap.
//! Source: `spec/topology.md`, "A fixed rule beats a wildcard".

use std::{collections::HashMap, sync::Arc};

use wire::{pattern::Pattern, repository::RepositoryName};

use crate::model::{Rule, SharedRule};

/// The rules of one node, indexed for resolution.
#[derive(Debug, Default)]
pub struct Resolver {
    fixed: HashMap<RepositoryName, SharedRule>,
    below: HashMap<String, SharedRule>,
    all: Option<SharedRule>,
}

/// The answer: a rule, and the repository's name at its upstream.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The rule.
    pub rule: SharedRule,
    /// The repository's name at the upstream.
    pub source: RepositoryName,
}

impl Resolver {
    /// Indexes `rules`; disabled ones are indexed too, so that their repositories stay covered (and refuse pushes).
    #[must_use]
    pub fn new(rules: &[SharedRule]) -> Self {
        let mut this = Self::default();
        for rule in rules {
            match &rule.target {
                Pattern::Exact(name) => drop(this.fixed.insert(name.clone(), Arc::clone(rule))),
                Pattern::Below(path) => drop(
                    this.below
                        .insert(path.as_str().to_owned(), Arc::clone(rule)),
                ),
                Pattern::All => this.all = Some(Arc::clone(rule)),
            }
        }
        this
    }

    /// The rule that covers `repository`, and its name upstream; `None` when no rule does or the mapped name is illegal.
    #[must_use]
    pub fn resolve(&self, repository: &RepositoryName) -> Option<Resolved> {
        let rule = self.rule(repository)?;
        let source = rule.target.map(repository, &rule.source.repositories)?;
        Some(Resolved {
            rule: Arc::clone(rule),
            source,
        })
    }

    fn rule(&self, repository: &RepositoryName) -> Option<&Arc<Rule>> {
        if let Some(rule) = self.fixed.get(repository) {
            return Some(rule);
        }
        let mut path = repository.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            if let Some(rule) = self.below.get(parent) {
                return Some(rule);
            }
            path = parent;
        }
        self.all.as_ref()
    }
}
