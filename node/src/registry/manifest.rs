//! GET and HEAD of manifests: by digest, and by tag where no rule covers the repository. Tags of covered ones are `tag`'s.

use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    digest::Digest,
    reference::{Reference, Tag},
    repository::RepositoryName,
    route::ContentVerb,
};

use super::{
    Error, ManifestAnswer, Outcome, Registry,
    check::Shared,
    place::{Place, Pull},
    tag::{answer, answer_adopted, answer_head},
    visible::StoredManifest,
};
use crate::{request::Request, rule::Covered, store};

impl Registry {
    /// A manifest, with its bytes for GET and without them for HEAD.
    ///
    /// # Errors
    /// `NameUnknown`, `ManifestUnknown`, `Recalled`, `Denied`, `Away`, `Wrong`, `Loop`, `Store`, `Overloaded`.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        verb: ContentVerb,
        request: &Request,
    ) -> Result<ManifestAnswer, Error> {
        if let Reference::Digest(digest) = reference {
            self.not_in_recall(digest).await?;
        }
        let answer = self.found_manifest(repository, reference, verb, request);
        let answer = answer.await?;
        self.may_send(&answer).await?;
        Ok(answer)
    }

    async fn found_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        verb: ContentVerb,
        request: &Request,
    ) -> Result<ManifestAnswer, Error> {
        match self.place(repository, request)? {
            Place::Local => {
                let found = self.stored_reference(repository, reference).await?;
                match found {
                    Some(manifest) => Ok(answer(&manifest, verb, self.local())),
                    None => Err(self.not_here(repository, reference).await),
                }
            }
            Place::Off(covered) => self.while_off(&covered, repository, reference, verb).await,
            Place::Covered(covered) => {
                let pull = Pull {
                    covered: &covered,
                    repository,
                    request,
                };
                match reference {
                    Reference::Tag(tag) => self.by_tag(pull, tag, verb).await,
                    Reference::Digest(digest) => self.by_digest(pull, digest, verb).await,
                }
            }
        }
    }

    /// What is stored and linked is served with no upstream contact at all; what is not is filled, or asked for by HEAD.
    async fn by_digest(
        &self,
        pull: Pull<'_>,
        digest: &Digest,
        verb: ContentVerb,
    ) -> Result<ManifestAnswer, Error> {
        let stored = self.stored_manifest(pull.repository, digest);
        if let Some(manifest) = self.or_stream(stored).await {
            let provenance = self.provenance(pull.covered, Outcome::Hit, CacheOutcome::Hit);
            return Ok(answer(&manifest, verb, provenance));
        }
        if pull.request.only_stored {
            return Err(Error::Overloaded);
        }
        let failed = match verb {
            ContentVerb::Head => {
                let Shared {
                    answer: seen,
                    collapsed,
                } = self.check_manifest(pull, digest).await;
                match seen {
                    Ok(seen) => {
                        let mut provenance =
                            self.forwarded(pull, outcome(collapsed), Forward::Miss, collapsed);
                        provenance
                            .upstream_cache
                            .clone_from(&seen.head.cache_status);
                        if let Some(cache) = &mut provenance.cache {
                            cache.fwd_status = Some(200);
                        }
                        return Ok(answer_head(&seen.head, provenance));
                    }
                    Err(error) => error,
                }
            }
            ContentVerb::Get => {
                let Shared {
                    answer: adopted,
                    collapsed,
                } = self.adopt(pull, digest, None).await;
                match adopted {
                    Ok(adopted) => {
                        let provenance =
                            self.forwarded(pull, outcome(collapsed), Forward::Miss, collapsed);
                        return Ok(answer_adopted(&adopted, verb, provenance));
                    }
                    Err(error) => error,
                }
            }
        };
        let reference = Reference::Digest(digest.clone());
        let error = self.refuse(pull, &reference, &failed);
        Err(self.name_platform(pull, &reference, error).await)
    }

    /// A rule that is switched off: what is stored, without asking.
    async fn while_off(
        &self,
        covered: &Covered,
        repository: &RepositoryName,
        reference: &Reference,
        verb: ContentVerb,
    ) -> Result<ManifestAnswer, Error> {
        let found = self.stored_reference(repository, reference).await?;
        let Some(manifest) = found else {
            return Err(self.not_here(repository, reference).await);
        };
        let mut provenance = self.provenance(covered, Outcome::Hit, CacheOutcome::Hit);
        if let Some(cache) = &mut provenance.cache {
            cache.detail = Some("rule-disabled".to_owned());
        }
        Ok(answer(&manifest, verb, provenance))
    }

    /// A manifest that is here, by tag or digest.
    async fn stored_reference(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<StoredManifest>, store::Error> {
        match reference {
            Reference::Digest(digest) => self.stored_manifest(repository, digest).await,
            Reference::Tag(tag) => self.stored_tag(repository, tag).await,
        }
    }

    async fn stored_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<StoredManifest>, store::Error> {
        let record = self.inner.store.metadata().tag(repository, tag).await?;
        let Some(record) = record else {
            return Ok(None);
        };
        let visible = Self::of_tag(&record, &record.current);
        self.stored(&visible, &record.current).await
    }

    /// The 404 for a manifest, or for the whole repository when nothing of it is here and no rule covers it.
    pub(super) async fn not_here(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Error {
        if let Some(error) = self.unknown_name(repository).await {
            return error;
        }
        Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
            trouble: None,
        }
    }

    /// `NameUnknown`, when nothing at all is known of a repository.
    pub(super) async fn unknown_name(&self, repository: &RepositoryName) -> Option<Error> {
        if self.inner.rules.load().resolve(repository).is_some() {
            return None;
        }
        match self.inner.store.metadata().tags(repository, None, 1).await {
            Ok(None) => Some(Error::NameUnknown {
                repository: repository.clone(),
                hint: None,
            }),
            Ok(Some(_)) => None,
            Err(error) => Some(Error::Store(error)),
        }
    }
}

fn outcome(collapsed: bool) -> Outcome {
    if collapsed {
        Outcome::Collapsed
    } else {
        Outcome::Fill
    }
}
