//! Tag lists and the catalog.
//!
//! The tags of a covered repository are local and upstream's in one lexical order: the same page is asked for upstream, so
//! that nobody ever holds a whole list. An upstream that sends its tags in another order, or ignores the page, is sorted and
//! cut here. Its answers are good for as long as a tag's record would be. Source: `spec/pull-through.md` "Pushing",
//! `reference/faults.md` T61.

use std::{collections::BTreeSet, sync::Arc};

use moka::sync::Cache;
use runtime::{Single, Tasks};
use topology::model::rule::{Check, WhenGone};
use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    page::Page,
    reference::Tag,
    repository::RepositoryName,
    time::WallTime,
};

use super::{
    CatalogAnswer, Error, Outcome, Provenance, Registry, TagsAnswer,
    check::{RuleId, Shared, share},
    place::{Place, Pull},
    warning,
};
use crate::{
    request::Request,
    rule::Covered,
    store,
    upstream::{self, Patience, error::Kind},
};

/// How many of an upstream's pages one page of ours may cost.
const PAGES: usize = 20;
/// How much of the upstreams' lists is kept, in bytes.
const CACHED_BYTES: u64 = 8 << 20;

/// What is asked; the lists that are fresh do not care how patiently.
type Key = (RuleId, RepositoryName, Page);

/// The lists that are being asked for, and those that are fresh.
pub(super) struct Lists {
    runs: Single<(Key, Patience), Result<Arc<Listed>, upstream::Error>>,
    fresh: Cache<Key, Arc<Listed>>,
}

/// A page of an upstream's tags: sorted, all after the page's `last`.
struct Listed {
    tags: Vec<String>,
    /// Whether there are more.
    more: bool,
    /// The upstream's `Cache-Status`, for those who waited for it.
    cache_status: Option<String>,
    /// The upstream's `Warning`, for everybody who is served from this.
    warning: Option<String>,
    asked_at: WallTime,
    /// Keeps the address alive by which the rule is known in the key.
    _rule: Arc<crate::rule::ActiveRule>,
}

impl Lists {
    pub(super) fn new(tasks: &Tasks) -> Self {
        let weigh = |_: &Key, listed: &Arc<Listed>| {
            let bytes: usize = listed.tags.iter().map(|tag| tag.len() + 32).sum();
            u32::try_from(bytes + 256).unwrap_or(u32::MAX)
        };
        Self {
            runs: Single::new("tag list", tasks, 256),
            fresh: Cache::builder()
                .weigher(weigh)
                .max_capacity(CACHED_BYTES)
                .build(),
        }
    }
}

impl Registry {
    /// A page of a repository's tags.
    ///
    /// # Errors
    /// `NameUnknown`, `Denied`, `Away` and `Wrong` (with nothing local), `Loop`, `Store`.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        request: &Request,
    ) -> Result<TagsAnswer, Error> {
        match self.place(repository, request)? {
            Place::Local => self.local_tags(repository, page, self.local()).await,
            Place::Off(covered) => {
                let mut provenance = self.provenance(&covered, Outcome::Hit, CacheOutcome::Hit);
                provenance.warning = Some(warning::not_asked(
                    &covered.active.rule.name,
                    "tags",
                    "is disabled",
                ));
                self.local_tags(repository, page, provenance).await
            }
            Place::Covered(covered) => {
                let pull = Pull {
                    covered: &covered,
                    repository,
                    request,
                };
                self.covered_tags(pull, page).await
            }
        }
    }

    /// A page of the repositories that `may_see` lets through.
    ///
    /// # Errors
    /// `Store`.
    pub async fn catalog(
        &self,
        page: &Page,
        may_see: impl Fn(&RepositoryName) -> bool + Send,
    ) -> Result<CatalogAnswer, Error> {
        let limit = page.limit();
        let mut repositories = Vec::new();
        let mut after = page.last.clone();
        while repositories.len() <= limit && limit > 0 {
            let batch = self
                .inner
                .store
                .metadata()
                .repositories(after.as_deref(), wire::page::MAX_ENTRIES);
            let batch = batch.await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.as_str().to_owned());
            let room = (limit + 1).saturating_sub(repositories.len());
            repositories.extend(batch.into_iter().filter(&may_see).take(room));
        }
        let more = repositories.len() > limit;
        repositories.truncate(limit);
        let next = repositories
            .last()
            .filter(|_| more)
            .map(ToString::to_string);
        Ok(CatalogAnswer { repositories, next })
    }

    async fn local_tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        provenance: Provenance,
    ) -> Result<TagsAnswer, Error> {
        let Some(tags) = self.local_page(repository, page).await? else {
            return Err(Error::NameUnknown {
                repository: repository.clone(),
                hint: None,
            });
        };
        Ok(merged(page, tags, &[], false, provenance))
    }

    /// One tag more than the page has, to know whether there is another.
    async fn local_page(
        &self,
        repository: &RepositoryName,
        page: &Page,
    ) -> Result<Option<Vec<Tag>>, store::Error> {
        let metadata = self.inner.store.metadata();
        metadata
            .tags(repository, page.last.as_deref(), page.limit() + 1)
            .await
    }

    async fn covered_tags(&self, pull: Pull<'_>, page: &Page) -> Result<TagsAnswer, Error> {
        if page.limit() == 0 {
            // Nothing is wanted, so nobody is asked: it is also how a node asks us whether it may pull here, without making
            // us ask further up.
            let provenance = self.provenance(pull.covered, Outcome::Hit, CacheOutcome::Hit);
            return Ok(merged(page, Vec::new(), &[], false, provenance));
        }
        let local = self.or_stream(self.local_page(pull.repository, page)).await;
        let key = (
            RuleId::of(&pull.covered.active),
            pull.covered.source.clone(),
            page.clone(),
        );
        if let Some(listed) = self
            .fresh_list(pull.covered, &key)
            .filter(|_| !pull.request.no_cache)
        {
            let mut provenance = self.provenance(pull.covered, Outcome::Hit, CacheOutcome::Hit);
            provenance.age = listed.asked_at.age(self.now()).map(|age| age.as_secs());
            return Ok(self.with_upstream(pull, page, local, &listed, provenance));
        }
        let patience = match local.as_deref() {
            Some([_, ..]) => Patience::Short,
            Some([]) | None => Patience::Long,
        };
        let Shared { answer, collapsed } = self.ask_tags(pull, key, page, patience).await;
        match answer {
            Ok(listed) => {
                let mut provenance =
                    self.forwarded(pull, Outcome::Checked, Forward::Miss, collapsed);
                provenance.upstream_cache.clone_from(&listed.cache_status);
                if let Some(cache) = &mut provenance.cache {
                    cache.fwd_status = Some(200);
                }
                Ok(self.with_upstream(pull, page, local, &listed, provenance))
            }
            Err(error) => self.without_upstream(pull, page, local, &error),
        }
    }

    fn with_upstream(
        &self,
        pull: Pull<'_>,
        page: &Page,
        local: Option<Vec<Tag>>,
        listed: &Listed,
        mut provenance: Provenance,
    ) -> TagsAnswer {
        provenance.warning.clone_from(&listed.warning);
        // Under `whenGone: deny` a tag that only we have is answered as unknown, so it is not listed either.
        let local = match pull.rule().when_gone {
            WhenGone::Keep => local.unwrap_or_default(),
            WhenGone::Deny => Vec::new(),
        };
        merged(page, local, &listed.tags, listed.more, provenance)
    }

    /// Local only, with a `Warning`; or why there is nothing to tell.
    fn without_upstream(
        &self,
        pull: Pull<'_>,
        page: &Page,
        local: Option<Vec<Tag>>,
        error: &upstream::Error,
    ) -> Result<TagsAnswer, Error> {
        let keeps = pull.rule().when_gone == WhenGone::Keep;
        let within_grace = || {
            let grace = pull.rule().freshness.denied_grace;
            let since = self.denied_since(pull, error);
            since.is_some_and(|since| since.age(self.now()).unwrap_or_default() < grace)
        };
        let may_serve = match error.kind {
            Kind::Gone => keeps,
            Kind::Denied => within_grace(),
            Kind::Away { .. } | Kind::Broken | Kind::Wrong => true,
            Kind::Loop | Kind::Recalled => false,
        };
        let Some(local) = local.filter(|_| may_serve) else {
            return Err(self.refuse_list(pull, error));
        };
        let mut provenance = self.forwarded(pull, Outcome::Stale, Forward::Stale, false);
        provenance.warning = Some(warning::local_only(pull, "tags", error));
        if let Some(cache) = &mut provenance.cache {
            cache.fwd_status = error.status;
            cache.detail = Some("serve-stale".to_owned());
        }
        Ok(merged(page, local, &[], false, provenance))
    }

    fn refuse_list(&self, pull: Pull<'_>, error: &upstream::Error) -> Error {
        self.refuse_with(pull, error, |trouble| Error::NameUnknown {
            repository: pull.repository.clone(),
            hint: Some(trouble.to_string()),
        })
    }

    fn fresh_list(&self, covered: &Covered, key: &Key) -> Option<Arc<Listed>> {
        let listed = self.inner.lists.fresh.get(key)?;
        let fresh = match covered.active.rule.freshness.check {
            Check::Always => false,
            Check::Never => true,
            Check::After(limit) => listed
                .asked_at
                .age(self.now())
                .is_some_and(|age| age < limit),
        };
        fresh.then_some(listed)
    }

    async fn ask_tags(
        &self,
        pull: Pull<'_>,
        key: Key,
        page: &Page,
        patience: Patience,
    ) -> Shared<Arc<Listed>> {
        let (this, errand, page, run) = (self.clone(), pull.errand(), page.clone(), key.clone());
        let work = || async move {
            let pull = errand.pull();
            let asked_at = this.now();
            let answer = collect(pull, &page, patience, asked_at).await;
            this.heard_list(pull, answer.as_ref().err());
            let listed = Arc::new(answer?);
            if pull.rule().freshness.check != Check::Always {
                this.inner.lists.fresh.insert(run, Arc::clone(&listed));
            }
            Ok(listed)
        };
        share(&self.inner.lists.runs, (key, patience), work).await
    }

    /// What the answer to a list says about the rule. Its 404 says nothing about any reference.
    pub(super) fn heard_list(&self, pull: Pull<'_>, error: Option<&upstream::Error>) {
        let active = &pull.covered.active;
        let state = &active.state;
        match error {
            None => state.answered(self.now()),
            Some(error) => match error.kind {
                Kind::Gone | Kind::Recalled => state.answered(self.now()),
                Kind::Denied => active.refused(error, self.now()),
                Kind::Away { .. } | Kind::Broken | Kind::Wrong | Kind::Loop => {
                    active.not_asked(error, self.now());
                }
            },
        }
    }
}

/// As many of the upstream's tags after `page.last` as the page wants and one more, in lexical order; whether there are more.
async fn collect(
    pull: Pull<'_>,
    page: &Page,
    patience: Patience,
    asked_at: WallTime,
) -> Result<Listed, upstream::Error> {
    let wanted = page.limit() + 1;
    let upstream = &pull.covered.active.upstream;
    let mut tags = BTreeSet::new();
    let mut ask = Some(Page {
        n: Some(wanted.min(wire::page::MAX_ENTRIES)),
        last: page.last.clone(),
    });
    let (mut asked, mut cut) = (0, false);
    let (mut cache_status, mut warning) = (None, None);
    while let Some(next) = ask.take().filter(|_| tags.len() < wanted && asked < PAGES) {
        let given = upstream
            .tags(&pull.covered.source, &next, patience, pull.request)
            .await?;
        asked += 1;
        cache_status = cache_status.or(given.cache_status);
        warning = warning.or(given.warning);
        let after = |tag: &String| page.last.as_ref().is_none_or(|last| tag > last);
        let legal = |tag: &String| tag.parse::<Tag>().is_ok();
        tags.extend(given.tags.into_iter().filter(after).filter(legal));
        while tags.len() > wanted {
            tags.pop_last();
            cut = true;
        }
        // A page that leads to itself leads nowhere.
        ask = given.next.filter(|following| *following != next);
    }
    Ok(Listed {
        tags: tags.into_iter().collect(),
        more: cut || ask.is_some(),
        cache_status,
        warning,
        asked_at,
        _rule: Arc::clone(&pull.covered.active),
    })
}

/// Both lists in one order, cut to the page. Upstream's tags are known only as far as its page goes: beyond, a local tag has
/// to wait for the next one.
fn merged(
    page: &Page,
    local: Vec<Tag>,
    upstream: &[String],
    more_upstream: bool,
    provenance: Provenance,
) -> TagsAnswer {
    let limit = page.limit();
    let horizon = upstream.last().filter(|_| more_upstream);
    let more_local = local.len() > limit;
    let local = local.into_iter().map(|tag| tag.to_string());
    let mut all: BTreeSet<String> = local.chain(upstream.iter().cloned()).collect();
    if let Some(horizon) = horizon {
        all.retain(|tag| tag <= horizon);
    }
    let more = all.len() > limit || more_upstream || more_local;
    let tags: Vec<String> = all.into_iter().take(limit).collect();
    let next = tags.last().filter(|_| more).cloned();
    TagsAnswer {
        tags,
        next,
        provenance,
    }
}
