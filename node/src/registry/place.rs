//! Where a repository belongs on this node: nowhere but here, or under a rule. The first question of every verb.
//!
//! A rule whose target holds pushed content does not take effect: its repositories are the node's own. A rule that is
//! switched off still covers its repositories, so that nobody pushes into them: what is stored is served, nobody is asked.
//! A request that came through this node before ends here, whatever is stored. Source: `spec/pull-through.md`
//! "Repositories", "Tiers".

use std::sync::Arc;

use topology::model::rule::Rule;
use wire::{
    cache_status::{CacheStatus, Outcome as CacheOutcome},
    hops::Hops,
    pattern::Pattern,
    repository::RepositoryName,
    time::WallTime,
};

use super::{Error, Outcome, Provenance, Registry, Trouble};
use crate::{
    request::Request,
    rule::{Covered, describe::as_whom},
    upstream,
};

/// Where a repository belongs.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Here, and nowhere else.
    Local,
    /// Under a rule that asks its upstream.
    Covered(Covered),
    /// Under a rule that is switched off.
    Off(Covered),
}

impl Place {
    /// The rule, in force or not.
    pub(super) fn covered(&self) -> Option<&Covered> {
        match self {
            Self::Local => None,
            Self::Covered(covered) | Self::Off(covered) => Some(covered),
        }
    }
}

/// A pull through a rule: what every step of it needs to know.
#[derive(Clone, Copy)]
pub(super) struct Pull<'a> {
    pub(super) covered: &'a Covered,
    pub(super) repository: &'a RepositoryName,
    pub(super) request: &'a Request,
}

/// A pull that outlives the request it began with.
#[derive(Clone)]
pub(super) struct Errand {
    covered: Covered,
    repository: RepositoryName,
    request: Request,
}

impl Pull<'_> {
    pub(super) fn errand(&self) -> Errand {
        Errand {
            covered: self.covered.clone(),
            repository: self.repository.clone(),
            request: self.request.clone(),
        }
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.covered.active.rule
    }
}

impl Errand {
    pub(super) fn pull(&self) -> Pull<'_> {
        Pull {
            covered: &self.covered,
            repository: &self.repository,
            request: &self.request,
        }
    }
}

impl Registry {
    /// Where `repository` belongs, under the rules in force at this moment; or that the request goes in a circle.
    pub(super) fn place(
        &self,
        repository: &RepositoryName,
        request: &Request,
    ) -> Result<Place, Error> {
        let hops = &request.hops;
        if self.is_among(hops) || hops.is_too_long() {
            let nodes = hops.with(&self.inner.mesh, &self.inner.node).describe();
            return Err(Error::Loop { nodes });
        }
        Ok(self.place_now(repository))
    }

    /// Whether this very node is in the chain.
    #[must_use]
    pub fn is_among(&self, hops: &Hops) -> bool {
        hops.contains(&self.inner.mesh, &self.inner.node)
    }

    pub(super) fn place_now(&self, repository: &RepositoryName) -> Place {
        match self.inner.rules.load().resolve(repository) {
            None => Place::Local,
            Some(covered) if covered.active.state.in_conflict() => Place::Local,
            Some(covered) if !covered.active.rule.enabled => Place::Off(covered),
            Some(covered) => Place::Covered(covered),
        }
    }

    /// Whether clients pushed into this very repository. While that cannot be read, that nobody did.
    pub async fn holds_pushed(&self, repository: &RepositoryName) -> bool {
        let exactly = Pattern::Exact(repository.clone());
        let metadata = self.inner.store.metadata();
        let found = self.or_stream(metadata.pushed_repository(&exactly)).await;
        found.is_some()
    }

    /// That clients write to a repository; or which rule fills it instead.
    pub(super) fn writable(&self, repository: &RepositoryName) -> Result<(), Error> {
        match self.place_now(repository) {
            Place::Local => Ok(()),
            Place::Covered(covered) | Place::Off(covered) => Err(Error::FilledByRule {
                repository: repository.clone(),
                rule: covered.active.rule.name.clone(),
            }),
        }
    }

    /// What the answer of a repository says about itself that no rule covers.
    pub(super) fn local(&self) -> Provenance {
        let node = self.inner.node.clone();
        Provenance {
            cache: Some(CacheStatus::new(node, None, CacheOutcome::Hit)),
            ..Provenance::local()
        }
    }

    /// What a covered repository's answer says about itself, to be filled in.
    pub(super) fn provenance(
        &self,
        covered: &Covered,
        outcome: Outcome,
        cache: CacheOutcome,
    ) -> Provenance {
        let rule = covered.active.rule.name.clone();
        let member = CacheStatus::new(self.inner.node.clone(), Some(rule.clone()), cache);
        Provenance {
            outcome,
            rule: Some(rule),
            cache: Some(member),
            upstream_cache: None,
            age: None,
            warning: None,
        }
    }

    pub(super) fn now(&self) -> WallTime {
        WallTime(self.inner.clock.steady_ms())
    }
}

/// What happened at a rule's upstream, for people.
pub(super) fn trouble(covered: &Covered, error: &upstream::Error) -> Arc<Trouble> {
    let active = &covered.active;
    Arc::new(Trouble {
        rule: active.rule.name.clone(),
        identity: as_whom(&active.rule),
        upstream: active.upstream.name().to_owned(),
        failed_at: error.failed_at.clone(),
        refusal: error.refusal,
        detail: error.detail.clone(),
        told: error.told.clone(),
        status: error.status,
        retry_after: error.retry_after(),
        platform: None,
    })
}
