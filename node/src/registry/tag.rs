//! From a tag to its manifest in a covered repository: record, check, move, or what else a client gets.
//!
//! The steps are those of `spec/pull-through.md` step 4, in that order; what to do when the upstream did not simply answer is
//! `verdict`'s. A HEAD of a tag that moved is answered from the upstream's HEAD and stores nothing; where the tag was seen is
//! remembered, and the GET by digest that follows (containerd, docker) makes the tag's record.

use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    reference::{Reference, Tag},
    route::ContentVerb,
    time::WallTime,
};

use super::{
    Error, ManifestAnswer, Outcome, Provenance, Registry,
    adopt::Adopted,
    check::{Seen, Shared},
    freshness::{self, Freshness},
    place::Pull,
    verdict::{self, Case, Why},
    visible::StoredManifest,
    warning,
};
use crate::{
    store::metadata::{TagRecord, Version},
    upstream::{self, error::Kind},
};

/// A tag that is stored, with the manifest it has now.
struct Known {
    record: TagRecord,
    manifest: StoredManifest,
}

impl Registry {
    /// A manifest by tag through a rule.
    pub(super) async fn by_tag(
        &self,
        pull: Pull<'_>,
        tag: &Tag,
        verb: ContentVerb,
    ) -> Result<ManifestAnswer, Error> {
        let known = self.known(pull, tag).await;
        let forced = pull.request.no_cache && self.inner.remembered.may_force(pull.repository, tag);
        if let Some(known) = known.as_ref().filter(|_| !forced) {
            let policy = &pull.rule().freshness;
            if let Freshness::Serve { ttl } = freshness::decide(&known.record, policy, self.now()) {
                let mut provenance = self.provenance(pull.covered, Outcome::Hit, CacheOutcome::Hit);
                provenance.age = Some(age(known.record.checked_at, self.now()));
                set_ttl(&mut provenance, ttl.map(|ttl| ttl.as_secs().cast_signed()));
                return Ok(answer(&known.manifest, verb, provenance));
            }
        }
        let record = known.as_ref().map(|known| &known.record);
        let checked = match pull.request.only_stored {
            // Like an upstream that cannot be asked: what is stored, marked, or 503.
            true => Shared::failed(upstream::Error::away("this node is busy").openly()),
            false => self.check_tag(pull, tag, record, forced).await,
        };
        match (checked.answer, known) {
            (Ok(seen), Some(known)) if known.record.current.digest == seen.head.digest => {
                self.nudge_copy(pull, &known.record).await;
                Ok(self.unchanged(pull, &known, &seen, checked.collapsed, verb))
            }
            // Boxed, because they are rare and would make the future of every pull as large as theirs.
            (Ok(seen), known) => {
                Box::pin(self.moved(pull, tag, known, &seen, checked.collapsed, verb)).await
            }
            // A 404 is final: whether HEADs tell the truth there is the upstream's to find out (T21).
            (Err(error), known) => {
                Box::pin(self.fall_back(pull, tag, known, &error, false, verb)).await
            }
        }
    }

    /// The tag's record, if its manifest can be served.
    async fn known(&self, pull: Pull<'_>, tag: &Tag) -> Option<Known> {
        let metadata = self.inner.store.metadata();
        let record = self.or_stream(metadata.tag(pull.repository, tag)).await?;
        let visible = Self::of_tag(&record, &record.current);
        let manifest = self
            .or_stream(self.stored(&visible, &record.current))
            .await?;
        Some(Known { record, manifest })
    }

    /// A check is when a copy that lacks something tries again.
    async fn nudge_copy(&self, pull: Pull<'_>, record: &TagRecord) {
        if self.inner.copies.queue_length() > 0 {
            let digest = &record.current.digest;
            self.inner.copies.wanted(pull.repository, digest).await;
        }
    }

    fn unchanged(
        &self,
        pull: Pull<'_>,
        known: &Known,
        seen: &Seen,
        collapsed: bool,
        verb: ContentVerb,
    ) -> ManifestAnswer {
        let mut provenance = self.forwarded(pull, Outcome::Checked, Forward::Stale, collapsed);
        self.tell_check(pull, &mut provenance, seen);
        if let Some(cache) = &mut provenance.cache {
            cache.stored = true;
        }
        answer(&known.manifest, verb, provenance)
    }

    /// The tag is new here, or is at another digest now.
    async fn moved(
        &self,
        pull: Pull<'_>,
        tag: &Tag,
        known: Option<Known>,
        seen: &Seen,
        collapsed: bool,
        verb: ContentVerb,
    ) -> Result<ManifestAnswer, Error> {
        let digest = &seen.head.digest;
        let why = if known.is_some() {
            Forward::Stale
        } else {
            Forward::Miss
        };
        if verb == ContentVerb::Head {
            let here = self
                .or_stream(self.stored_manifest(pull.repository, digest))
                .await;
            if here.is_none() {
                let mut provenance = self.forwarded(pull, Outcome::Fill, why, collapsed);
                self.tell_check(pull, &mut provenance, seen);
                return Ok(answer_head(&seen.head, provenance));
            }
        }
        // Refused, and so not even fetched.
        self.not_in_recall(digest).await?;
        let mut adopted = self.adopt(pull, digest, Some(tag)).await;
        if adopted
            .answer
            .as_ref()
            .is_err_and(|error| error.kind == Kind::Gone)
        {
            // It moved on between HEAD and GET, and the old digest went with it.
            adopted = self.adopt_tag(pull, tag).await;
        }
        let Shared {
            answer,
            collapsed: joined,
        } = adopted;
        match answer {
            Ok(adopted) => {
                let collapsed = collapsed || joined;
                let mut provenance = self.forwarded(pull, filled(collapsed), why, collapsed);
                self.tell_check(pull, &mut provenance, seen);
                Ok(answer_adopted(&adopted, verb, provenance))
            }
            Err(error) => self.fall_back(pull, tag, known, &error, true, verb).await,
        }
    }

    /// What is stored, or a refusal, as the verdict says.
    async fn fall_back(
        &self,
        pull: Pull<'_>,
        tag: &Tag,
        known: Option<Known>,
        error: &upstream::Error,
        moved: bool,
        verb: ContentVerb,
    ) -> Result<ManifestAnswer, Error> {
        let reference = Reference::Tag(tag.clone());
        let case = Case {
            answer: error.kind,
            stored: known.as_ref().map(|known| &known.record),
            denied_since: self.denied_since(pull, error),
            moved,
        };
        let verdict = verdict::decide(&case, pull.rule(), self.now());
        let verdict::Verdict::Serve {
            version,
            why,
            newer,
        } = verdict
        else {
            if known.is_some() {
                tracing::info!(rule = %pull.rule().name, repository = %pull.repository, %tag, ?verdict, %error, "did not serve what is stored");
            }
            return Err(self.refusal(pull, &reference, error, verdict));
        };
        let Some(known) = known.as_ref() else {
            return Err(self.refuse(pull, &reference, error));
        };
        let manifest = if *version == known.record.current {
            Some(known.manifest.clone())
        } else {
            let visible = Self::of_tag(&known.record, version);
            self.or_stream(self.stored(&visible, version)).await
        };
        // A last complete version that turns out to be lost: better the newer one, whose manifest is here.
        let manifest = manifest.unwrap_or_else(|| known.manifest.clone());
        // Else it would be told as served, and refused in the end.
        self.not_in_recall(&manifest.version.digest).await?;
        let mut provenance = self.forwarded(pull, Outcome::Stale, Forward::Stale, false);
        self.tell_stale(pull, &mut provenance, &known.record, error, why, newer);
        self.record_stale(pull, &known.record, &manifest.version, error)
            .await;
        Ok(answer(&manifest, verb, provenance))
    }

    fn tell_check(&self, pull: Pull<'_>, provenance: &mut Provenance, seen: &Seen) {
        let (now, checked_at) = (self.now(), seen.checked_at());
        provenance.age = Some(age(checked_at, now));
        provenance
            .upstream_cache
            .clone_from(&seen.head.cache_status);
        provenance.warning.clone_from(&seen.head.warning);
        if let Some(cache) = &mut provenance.cache {
            cache.fwd_status = Some(200);
        }
        set_ttl(
            provenance,
            freshness::ttl(&pull.rule().freshness, checked_at, now),
        );
    }

    fn tell_stale(
        &self,
        pull: Pull<'_>,
        provenance: &mut Provenance,
        record: &TagRecord,
        error: &upstream::Error,
        why: Why,
        newer: bool,
    ) {
        let age = age(record.checked_at, self.now());
        provenance.age = Some(age);
        provenance.warning = Some(warning::stale(
            pull,
            why,
            newer,
            age,
            (error.refusal, &error.told),
        ));
        if let Some(cache) = &mut provenance.cache {
            cache.fwd_status = error.status;
            cache.detail = Some(why.detail().to_owned());
        }
        tracing::info!(
            rule = %pull.rule().name, repository = %pull.repository, tag = %record.tag, policy = why.detail(), age,
            upstream = pull.covered.active.upstream.name(), error = %error, "served what is stored"
        );
    }
}

/// What the upstream's own answer makes of a pull that was not served from the store.
fn filled(collapsed: bool) -> Outcome {
    if collapsed {
        Outcome::Collapsed
    } else {
        Outcome::Fill
    }
}

/// Whole seconds since then; none of the future.
fn age(then: WallTime, now: WallTime) -> u64 {
    then.age(now).unwrap_or_default().as_secs()
}

fn set_ttl(provenance: &mut Provenance, ttl: Option<i64>) {
    if let Some(cache) = &mut provenance.cache {
        cache.ttl = ttl;
    }
}

/// The answer with a manifest that is here.
pub(super) fn answer(
    manifest: &StoredManifest,
    verb: ContentVerb,
    provenance: Provenance,
) -> ManifestAnswer {
    answer_with(&manifest.version, manifest.bytes.clone(), verb, provenance)
}

/// The answer with a manifest that just came.
pub(super) fn answer_adopted(
    adopted: &Adopted,
    verb: ContentVerb,
    mut provenance: Provenance,
) -> ManifestAnswer {
    if let Some(head) = &adopted.head {
        provenance.upstream_cache.clone_from(&head.cache_status);
        if provenance.warning.is_none() {
            provenance.warning.clone_from(&head.warning);
        }
    }
    if let Some(cache) = &mut provenance.cache {
        cache.fwd_status = Some(200);
        cache.stored = adopted.stored;
    }
    answer_with(&adopted.version, adopted.bytes.clone(), verb, provenance)
}

/// The answer to HEAD with what the upstream's HEAD said; nothing is stored.
pub(super) fn answer_head(head: &upstream::ManifestHead, provenance: Provenance) -> ManifestAnswer {
    ManifestAnswer {
        digest: head.digest.clone(),
        media_type: head.media_type.clone(),
        size: head.size,
        bytes: None,
        provenance,
    }
}

fn answer_with(
    version: &Version,
    bytes: bytes::Bytes,
    verb: ContentVerb,
    provenance: Provenance,
) -> ManifestAnswer {
    ManifestAnswer {
        digest: version.digest.clone(),
        media_type: version.media_type.clone(),
        size: version.size,
        bytes: (verb == ContentVerb::Get).then_some(bytes),
        provenance,
    }
}
