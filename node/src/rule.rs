//! The rules in force: which one answers for a repository, its upstream, and how it fares.
//!
//! Made anew by `app/slice.rs` for each slice and swapped whole; a pull keeps the one it began with. The state of a rule
//! that did not change is carried over, so that a new generation forgets no refusal and no success.

use std::{collections::HashMap, sync::Arc};

use topology::{model::SharedRule, resolve::Resolver};
use wire::{name::RuleName, repository::RepositoryName, time::WallTime};

use crate::upstream::{Error, Upstream};

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

impl ActiveRule {
    /// The upstream refused us: noted, and said once for as long as it goes on.
    pub fn refused(&self, error: &Error, now: WallTime) {
        let is_news = self.state.denied(error.refusal, &error.detail, now);
        self.say(error, is_news, "the rule's upstream refuses it");
    }

    /// The upstream could not be asked: the same.
    pub fn not_asked(&self, error: &Error, now: WallTime) {
        let is_news = self.state.away(error.refusal, &error.detail, now);
        self.say(error, is_news, "the rule's upstream cannot be asked");
    }

    fn say(&self, error: &Error, is_news: bool, what: &str) {
        let (rule, identity) = (&self.rule.name, describe::as_whom(&self.rule));
        let (upstream, refusal) = (self.upstream.name(), error.refusal);
        let (upstream_status, detail) = (error.status, &error.detail);
        if is_news {
            tracing::warn!(%rule, identity, upstream, %refusal, upstream_status, detail, "{what}");
        }
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
