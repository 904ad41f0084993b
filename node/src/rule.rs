//! The rules in force: which one answers for a repository, its upstream, and how it fares.
//!
//! Made anew by `app/slice.rs` for each slice and swapped whole; a pull keeps the one it began with. The state of a rule
//! that did not change is carried over, so that a new generation forgets no refusal and no success.

use std::{collections::HashMap, sync::Arc};

use topology::{model::SharedRule, resolve::Resolver};
use wire::{name::RuleName, repository::RepositoryName};

use crate::upstream::Upstream;

pub mod conflict;
pub mod describe;
pub mod recalls;
pub mod state;
pub mod status;

pub use state::RuleState;
pub use status::Status;

/// A rule in force, with what it needs to be carried out.
pub struct ActiveRule {
    /// The rule as the topology says it.
    pub rule: SharedRule,
    /// Its upstream: its own tokens, breaker and budget.
    pub upstream: Arc<dyn Upstream>,
    /// How it fares.
    pub state: Arc<RuleState>,
}

impl std::fmt::Debug for ActiveRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActiveRule")
            .field("rule", &self.rule.name)
            .finish_non_exhaustive()
    }
}

/// A repository that a rule covers.
#[derive(Debug, Clone)]
pub struct Covered {
    /// The rule.
    pub active: Arc<ActiveRule>,
    /// The repository's name at the upstream.
    pub source: RepositoryName,
}

/// All rules of a slice.
#[derive(Debug, Default)]
pub struct Rules {
    resolver: Resolver,
    by_name: HashMap<RuleName, Arc<ActiveRule>>,
}

impl Rules {
    /// Indexes them. Names are unique in a topology.
    #[must_use]
    pub fn new(active: Vec<ActiveRule>) -> Self {
        let rules: Vec<SharedRule> = active.iter().map(|a| Arc::clone(&a.rule)).collect();
        let by_name = active
            .into_iter()
            .map(|a| (a.rule.name.clone(), Arc::new(a)))
            .collect();
        Self {
            resolver: Resolver::new(&rules),
            by_name,
        }
    }

    /// The rule that covers `repository`, enabled or not.
    #[must_use]
    pub fn resolve(&self, repository: &RepositoryName) -> Option<Covered> {
        let resolved = self.resolver.resolve(repository)?;
        let active = Arc::clone(self.by_name.get(&resolved.rule.name)?);
        Some(Covered {
            active,
            source: resolved.source,
        })
    }

    /// The rule of that name.
    #[must_use]
    pub fn get(&self, name: &RuleName) -> Option<&Arc<ActiveRule>> {
        self.by_name.get(name)
    }

    /// Every rule, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ActiveRule>> {
        self.by_name.values()
    }

    /// The index from repositories to rules, for resolution by `ns`.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}
