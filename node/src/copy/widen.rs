//! A rule that asks for more than it did when its copies were made: its tags get a job each for what is missing now.
//!
//! What a rule asked for is remembered by its name, across restarts; when a slice widens it (more platforms, referrers with the
//! image), one walk over the tags of its repositories, page by page, records the jobs, and only then the new scope counts as
//! seen. A walk that is cut short is repeated: a job for what is whole already does nothing. Narrowing takes nothing away, and
//! a rule seen for the first time has nothing to catch up with.

use serde::{Deserialize, Serialize};
use topology::model::rule::{Platforms, Referrers, Rule};
use wire::{
    digest::Digest, name::RuleName, platform::Platform, repository::RepositoryName, time::WallTime,
};

use super::{Copies, record};
use crate::store::{
    self,
    metadata::{ChildKind, Job, JobId, Op, record::RequestInfo},
};

/// What the keys of remembered scopes begin with.
const PREFIX: &str = "copy/scope/";
/// How many repositories or tags are looked at in one query, and how many jobs recorded in one transaction.
const PAGE: usize = 256;

/// What the copies of a rule take along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    platforms: Wanted,
    referrers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Wanted {
    Requested,
    All,
    Listed(Vec<Platform>),
}

impl Scope {
    fn of(rule: &Rule) -> Self {
        let platforms = match &rule.platforms {
            Platforms::Requested => Wanted::Requested,
            Platforms::All => Wanted::All,
            Platforms::Listed(list) => Wanted::Listed(list.clone()),
        };
        let referrers = rule.referrers == Referrers::WithImage;
        Self {
            platforms,
            referrers,
        }
    }

    /// Whether this takes something along that `before` did not.
    fn is_wider_than(&self, before: &Self) -> bool {
        let platforms = match (&self.platforms, &before.platforms) {
            (Wanted::Requested, _) | (_, Wanted::All) => false,
            (Wanted::All, Wanted::Requested | Wanted::Listed(_)) => true,
            (Wanted::Listed(_), Wanted::Requested) => true,
            (Wanted::Listed(now), Wanted::Listed(then)) => {
                now.iter().any(|platform| !then.contains(platform))
            }
        };
        platforms || (self.referrers && !before.referrers)
    }
}

impl Copies {
    /// Catches up with every rule in force that was widened.
    pub(super) async fn widen(&self) {
        let rules = self.0.rules.load_full();
        for active in rules.iter().filter(|active| active.rule.enabled) {
            let (name, scope) = (&active.rule.name, Scope::of(&active.rule));
            if self.scopes().get(name) == Some(&scope) {
                continue;
            }
            match self.catch_up(name, &scope).await {
                Ok(true) => drop(self.scopes().insert(name.clone(), scope)),
                // Something was under way that may end by the old scope: looked at again at the next turn.
                Ok(false) => {}
                Err(error) => return self.0.store.report("jobs", &error),
            }
        }
        self.scopes().retain(|name, _| rules.get(name).is_some());
    }

    /// Whether the rule's copies are, or will be, as its scope says.
    async fn catch_up(&self, rule: &RuleName, scope: &Scope) -> Result<bool, store::Error> {
        let (metadata, key) = (self.0.store.metadata(), format!("{PREFIX}{rule}"));
        let before = metadata.value(&key).await?;
        let before = before.and_then(|bytes| serde_json::from_slice::<Scope>(&bytes).ok());
        if before.as_ref() == Some(scope) {
            return Ok(true);
        }
        if before.is_some_and(|before| scope.is_wider_than(&before)) {
            match self.reopen(rule).await? {
                None => return Ok(false),
                Some(0) => {}
                Some(jobs) => {
                    tracing::info!(%rule, jobs, "the rule asks for more than it did: its copies are looked at again");
                    self.nudge();
                }
            }
        }
        let value = serde_json::to_vec(scope).ok();
        metadata.commit(vec![Op::PutValue(key, value)]).await?;
        Ok(true)
    }

    /// Records a job for every complete copy of the rule's tags; how many. `None` when one of them is being copied right now.
    async fn reopen(&self, rule: &RuleName) -> Result<Option<usize>, store::Error> {
        let (mut after, mut recorded) = (None::<String>, 0);
        loop {
            let metadata = self.0.store.metadata();
            let page = metadata.repositories(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(Some(recorded));
            };
            after = Some(last.as_str().to_owned());
            for repository in &page {
                let covered = self.0.rules.load().resolve(repository);
                if covered.is_some_and(|covered| covered.active.rule.name == *rule) {
                    match self.reopen_tags(repository, rule).await? {
                        None => return Ok(None),
                        Some(jobs) => recorded += jobs,
                    }
                }
            }
        }
    }

    async fn reopen_tags(
        &self,
        repository: &RepositoryName,
        rule: &RuleName,
    ) -> Result<Option<usize>, store::Error> {
        let (mut after, mut recorded) = (None::<String>, 0);
        loop {
            let metadata = self.0.store.metadata();
            let page = metadata.tags(repository, after.as_deref(), PAGE).await?;
            let page = page.unwrap_or_default();
            let Some(last) = page.last() else {
                return Ok(Some(recorded));
            };
            after = Some(last.as_str().to_owned());
            let mut ops = Vec::new();
            for tag in &page {
                let Some(record) = metadata.tag(repository, tag).await? else {
                    continue;
                };
                for root in self.roots(repository, record.current.digest).await? {
                    if self.running().contains(&(repository.clone(), root.clone())) {
                        return Ok(None);
                    }
                    let known = metadata.job(repository, &root).await?.is_some();
                    let link = metadata.link(repository, &root).await?;
                    if !known && link.is_some_and(|link| link.complete) {
                        ops.push(Op::PutJob(job(repository, rule, root, self.now())));
                    }
                }
            }
            for some in ops.chunks(PAGE) {
                metadata.commit(some.to_vec()).await?;
                some.iter().for_each(|_| self.job_came());
            }
            recorded += ops.len();
        }
    }

    /// A manifest and, of an index, its platforms: each that was pulled is a copy of its own.
    async fn roots(
        &self,
        repository: &RepositoryName,
        root: Digest,
    ) -> Result<Vec<Digest>, store::Error> {
        let metadata = self.0.store.metadata();
        let mut roots = vec![root.clone()];
        if let Some(manifest) = metadata.manifest(&root).await? {
            let children = manifest.children.iter();
            let children = children.filter(|child| child.kind == ChildKind::Manifest);
            for child in children {
                if metadata.link(repository, &child.digest).await?.is_some() {
                    roots.push(child.digest.clone());
                }
            }
        }
        Ok(roots)
    }
}

/// No tag waits for it, and nobody asked.
fn job(repository: &RepositoryName, rule: &RuleName, root: Digest, now: WallTime) -> Job {
    Job {
        id: JobId(record::random_id()),
        repository: repository.clone(),
        rule: rule.clone(),
        root,
        tags: Vec::new(),
        platform: None,
        attempts: 0,
        due_at: now,
        created_at: now,
        last_error: None,
        missing: Vec::new(),
        request: RequestInfo::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_is_what_takes_something_more_along() {
        let listed = |platforms: &[&str]| {
            Wanted::Listed(platforms.iter().map(|p| p.parse().unwrap()).collect())
        };
        let amd = || listed(&["linux/amd64"]);
        let both = || listed(&["linux/amd64", "linux/arm64"]);
        let cases = [
            (Wanted::Requested, Wanted::Requested, false),
            (Wanted::Requested, Wanted::All, true),
            (Wanted::All, Wanted::Requested, false),
            (Wanted::Requested, amd(), true),
            (amd(), Wanted::All, true),
            (Wanted::All, both(), false),
            (amd(), both(), true),
            (both(), amd(), false),
        ];
        for (before, now, wider) in cases {
            let scope = |platforms: &Wanted, referrers| Scope {
                platforms: platforms.clone(),
                referrers,
            };
            let is = |then, than| scope(&now, then).is_wider_than(&scope(&before, than));
            assert_eq!(is(false, false), wider, "{before:?} {now:?}");
            assert_eq!(is(false, true), wider, "{before:?} {now:?}");
            assert!(is(true, false));
        }
    }
}
