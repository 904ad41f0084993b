//! Which rule answers for a repository, and under which name the upstream knows it.
//!
//! Fixed rules are one lookup. Wildcards are one lookup for each path component, longest prefix first, so the cost is the
//! length of the path and not the number of rules. At most one rule can answer: wildcards of a node never overlap.
//! The same holds for finding a rule by where its chain ends (`ns`), where the first rule by name wins among equals.
//! Sources: `spec/topology.md`, "A fixed rule beats a wildcard"; `spec/pull-through.md`, "Ways in".

use std::{collections::HashMap, sync::Arc};

use wire::{pattern::Pattern, repository::RepositoryName};

use crate::{
    model::{SharedRule, rule::Origin},
    value,
};

/// The rules of one node, indexed for resolution.
#[derive(Debug, Default)]
pub struct Resolver {
    targets: Paths<SharedRule>,
    ends: HashMap<String, Paths<(SharedRule, usize)>>,
}

/// The answer: a rule, and the repository's names on both sides of it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The rule.
    pub rule: SharedRule,
    /// The repository's name at the upstream.
    pub source: RepositoryName,
    /// The repository's name on this node.
    pub repository: RepositoryName,
}

impl Resolver {
    /// Indexes `rules`; disabled ones are indexed too, so that their repositories stay covered (and refuse pushes).
    #[must_use]
    pub fn new(rules: &[SharedRule]) -> Self {
        let mut this = Self::default();
        for rule in rules {
            this.targets.insert(&rule.target, Arc::clone(rule));
        }
        // One that is switched off serves what is stored, but only where no other could fill.
        let (enabled, disabled): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.enabled);
        for rule in enabled.into_iter().chain(disabled) {
            for (number, origin) in rule.origins.iter().enumerate() {
                let ends = this.ends.entry(origin.host.clone()).or_default();
                ends.insert(&origin.repositories, (Arc::clone(rule), number));
            }
        }
        this
    }

    /// The rule that covers `repository`, and its name upstream; `None` when no rule does or the mapped name is illegal.
    #[must_use]
    pub fn resolve(&self, repository: &RepositoryName) -> Option<Resolved> {
        let rule = self.targets.get(repository)?;
        let source = rule.target.map(repository, &rule.source.repositories)?;
        Some(Resolved {
            rule: Arc::clone(rule),
            source,
            repository: repository.clone(),
        })
    }

    /// The rule for `repository` of the registry `host` (`HOST[:PORT]`, as a client names it in `ns`): the one whose chain of
    /// upstreams ends at that host and repository; else the one whose target is `repository` and whose chain ends at that host,
    /// since containerd sends `ns` with `override_path` too. `None` when no rule covers it.
    #[must_use]
    pub fn resolve_from(&self, host: &str, repository: &RepositoryName) -> Option<Resolved> {
        let host = value::host(host)?;
        let by_end = self.ends.get(&host).and_then(|ends| {
            let (rule, number) = ends.get(repository)?;
            let origin = rule.origins.get(*number)?;
            let source = origin.repositories.map(repository, &origin.via)?;
            let here = rule.source.repositories.map(&source, &rule.target)?;
            // A more specific rule on this node may stand before this one; what the path resolves to is what counts.
            let resolved = self.resolve(&here)?;
            Arc::ptr_eq(&resolved.rule, rule).then_some(resolved)
        });
        by_end.or_else(|| {
            let resolved = self.resolve(repository)?;
            let ends_there =
                |origin: &Origin| origin.host == host && origin.via.covers(&resolved.source);
            resolved
                .rule
                .origins
                .iter()
                .any(ends_there)
                .then_some(resolved)
        })
    }
}

/// Values by pattern, found by name: exact first, then the longest path.
#[derive(Debug)]
struct Paths<T> {
    exact: HashMap<RepositoryName, T>,
    below: HashMap<String, T>,
    all: Option<T>,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            all: None,
        }
    }
}

impl<T> Paths<T> {
    /// Of several with one pattern the first stays.
    fn insert(&mut self, pattern: &Pattern, value: T) {
        match pattern {
            Pattern::Exact(name) => {
                self.exact.entry(name.clone()).or_insert(value);
            }
            Pattern::Below(path) => {
                self.below.entry(path.as_str().to_owned()).or_insert(value);
            }
            Pattern::All => {
                self.all.get_or_insert(value);
            }
        }
    }

    fn get(&self, name: &RepositoryName) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        let mut path = name.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            if let Some(value) = self.below.get(parent) {
                return Some(value);
            }
            path = parent;
        }
        self.all.as_ref()
    }
}
