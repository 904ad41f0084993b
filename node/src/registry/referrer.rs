//! What refers to a manifest: local and upstream's, merged by digest.
//!
//! Signatures and SBOMs live here, so an empty list reads as "unsigned": when the upstream could not be asked, the answer is
//! an error, or what is here with a `Warning`. The fallback tag counts on both sides: a client that pushed by the tag schema
//! is heard, and `Upstream::referrers` reads an upstream's. Source: OCI distribution-spec 1.1.1 "Listing Referrers",
//! `reference/faults.md` T56.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use runtime::{Single, Tasks};
use topology::model::rule::Referrers;
use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    digest::Digest,
    manifest::{Manifest, ReferrerDescriptor, referrers_index},
    media_type,
    page::Page,
    reference::{Reference, Tag},
    repository::RepositoryName,
};

use super::{
    Error, Outcome, Provenance, ReferrersAnswer, Registry,
    check::{QUESTIONS, Question, Shared, share},
    place::{Place, Pull},
    warning,
};
use crate::{
    request::Request,
    store::{self, metadata::ManifestRecord},
    upstream::{self, Patience, error::Kind},
};

/// By digest, which is also the order of the pages.
type List = BTreeMap<Digest, ReferrerDescriptor>;

/// An upstream's list, its `Cache-Status` and its `Warning`.
struct Listed {
    list: List,
    cache_status: Option<String>,
    warning: Option<String>,
}

/// The lists that are being asked for.
pub(super) struct Referring(Single<Question, Result<Arc<Listed>, upstream::Error>>);

impl Referring {
    pub(super) fn new(tasks: &Tasks) -> Self {
        Self(Single::new("referrers", tasks, QUESTIONS))
    }
}

impl Registry {
    /// A page of what refers to `subject`, which need not exist; only of `artifact_type` where one is given.
    ///
    /// # Errors
    /// `Denied`, `Away`, `Wrong` (with nothing local), `Loop`, `Store`. Never a 404.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
        request: &Request,
    ) -> Result<ReferrersAnswer, Error> {
        let place = self.place(repository, request)?;
        let local = self.local_referrers(repository, subject);
        let (list, provenance) = match &place {
            Place::Local => (local.await?, self.local()),
            Place::Off(covered) => {
                let mut provenance = self.provenance(covered, Outcome::Hit, CacheOutcome::Hit);
                provenance.warning = Some(warning::not_asked(
                    &covered.active.rule.name,
                    "referrers",
                    "is disabled",
                ));
                (local.await?, provenance)
            }
            Place::Covered(covered) => {
                let pull = Pull {
                    covered,
                    repository,
                    request,
                };
                let local = self.or_stream(local).await;
                if covered.active.rule.referrers == Referrers::None {
                    let mut provenance = self.provenance(covered, Outcome::Hit, CacheOutcome::Hit);
                    provenance.warning = Some(warning::not_asked(
                        &pull.rule().name,
                        "referrers",
                        "never asks for them",
                    ));
                    (local, provenance)
                } else {
                    self.merged_referrers(pull, subject, local).await?
                }
            }
        };
        Ok(page_of(list, artifact_type, page, provenance))
    }

    async fn merged_referrers(
        &self,
        pull: Pull<'_>,
        subject: &Digest,
        mut local: List,
    ) -> Result<(List, Provenance), Error> {
        let patience = if local.is_empty() {
            Patience::Long
        } else {
            Patience::Short
        };
        let Shared { answer, collapsed } = self.ask_referrers(pull, subject, patience).await;
        let mut provenance = self.forwarded(pull, Outcome::Checked, Forward::Miss, collapsed);
        match answer {
            Ok(listed) => {
                provenance.upstream_cache.clone_from(&listed.cache_status);
                provenance.warning.clone_from(&listed.warning);
                if let Some(cache) = &mut provenance.cache {
                    cache.fwd_status = Some(200);
                }
                for (digest, descriptor) in &listed.list {
                    local
                        .entry(digest.clone())
                        .or_insert_with(|| descriptor.clone());
                }
                Ok((local, provenance))
            }
            // It has no such subject: what is here is all there is.
            Err(error) if error.kind == Kind::Gone => Ok((local, provenance)),
            Err(error) => {
                let could_not_ask =
                    matches!(error.kind, Kind::Away { .. } | Kind::Broken | Kind::Wrong);
                if local.is_empty() || !could_not_ask {
                    return Err(self.refuse(pull, &Reference::Digest(subject.clone()), &error));
                }
                provenance.outcome = Outcome::Stale;
                provenance.warning = Some(warning::local_only(pull, "referrers", &error));
                if let Some(cache) = &mut provenance.cache {
                    cache.fwd_status = error.status;
                    cache.detail = Some("serve-stale".to_owned());
                }
                Ok((local, provenance))
            }
        }
    }

    async fn ask_referrers(
        &self,
        pull: Pull<'_>,
        subject: &Digest,
        patience: Patience,
    ) -> Shared<Arc<Listed>> {
        let question = Question::new(pull, Reference::Digest(subject.clone())).within(patience);
        let (this, errand, subject) = (self.clone(), pull.errand(), subject.clone());
        let work = || async move {
            let pull = errand.pull();
            let upstream = &pull.covered.active.upstream;
            let answer = upstream
                .referrers(&pull.covered.source, &subject, patience, pull.request)
                .await;
            let listed = answer.and_then(|given| {
                let list = read(&given.index)?;
                let (cache_status, warning) = (given.cache_status, given.warning);
                Ok(Listed {
                    list,
                    cache_status,
                    warning,
                })
            });
            this.heard_list(pull, listed.as_ref().err());
            listed.map(Arc::new)
        };
        share(&self.inner.referring.0, question, work).await
    }

    /// What is stored here and names the subject, or is listed by the subject's fallback tag.
    async fn local_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<List, store::Error> {
        let metadata = self.inner.store.metadata();
        let stored = metadata.referrers(repository, subject).await?;
        let mut list: List = stored
            .iter()
            .map(|record| (record.digest.clone(), as_referrer(record)))
            .collect();
        let tag = Tag::referrers_fallback(subject);
        if let Some(record) = metadata.tag(repository, &tag).await? {
            let visible = Self::of_tag(&record, &record.current);
            let index = self.stored(&visible, &record.current).await?;
            let listed = index.and_then(|index| read(&index.bytes).ok());
            for (digest, descriptor) in listed.unwrap_or_default() {
                list.entry(digest).or_insert(descriptor);
            }
        }
        Ok(list)
    }
}

fn as_referrer(record: &ManifestRecord) -> ReferrerDescriptor {
    ReferrerDescriptor {
        media_type: record.media_type.clone(),
        size: record.size,
        digest: record.digest.clone(),
        artifact_type: record.artifact_type.clone(),
        annotations: record.annotations.clone(),
    }
}

/// The descriptors of a list. What is no index is no empty list either.
fn read(bytes: &[u8]) -> Result<List, upstream::Error> {
    let wrong = |what: &dyn std::fmt::Display| {
        upstream::Error::wrong(format!("no list of referrers: {what}"))
    };
    let manifest =
        Manifest::parse(bytes, Some(media_type::OCI_INDEX)).map_err(|error| wrong(&error))?;
    let descriptors = manifest.children().iter().cloned();
    Ok(descriptors
        .map(|descriptor| {
            (
                descriptor.digest.clone(),
                ReferrerDescriptor::from(descriptor),
            )
        })
        .collect())
}

fn page_of(
    list: List,
    artifact_type: Option<&str>,
    page: &Page,
    provenance: Provenance,
) -> ReferrersAnswer {
    let wanted = |descriptor: &ReferrerDescriptor| {
        artifact_type.is_none_or(|wanted| descriptor.artifact_type.as_deref() == Some(wanted))
    };
    let after = |descriptor: &ReferrerDescriptor| {
        page.last
            .as_deref()
            .is_none_or(|last| descriptor.digest.as_str() > last)
    };
    let limit = page.limit();
    let mut matching = list.into_values().filter(wanted).filter(after);
    let given: Vec<ReferrerDescriptor> = matching.by_ref().take(limit).collect();
    let more = limit > 0 && matching.next().is_some();
    let next = given
        .last()
        .filter(|_| more)
        .map(|last| last.digest.to_string());
    ReferrersAnswer {
        index: Bytes::from(referrers_index(&given)),
        filtered: artifact_type.is_some(),
        next,
        provenance,
    }
}
