//! A manifest from a rule's upstream becomes this repository's: fetched by digest, or found stored already, read as far as
//! needed, and recorded with its tags and its copy job before anybody is answered.
//!
//! One run per (rule, repository, reference), owned by the node. A store that cannot keep it does not fail the pull: the
//! answer then says that it is not stored, and the rule's state says why.

use std::sync::Arc;

use bytes::Bytes;
use runtime::{Single, Tasks};
use wire::{
    digest::Digest,
    platform::Platform,
    reference::{Reference, Tag},
};

use super::{
    Registry,
    check::{QUESTIONS, Question, Seen, Shared, share},
    place::Pull,
    remembered::Asked,
    sighting::Sighting,
};
use crate::{
    copy::{
        Arrival, Observed,
        describe::{describe, version},
    },
    fill::ManifestWant,
    store::{
        self,
        metadata::{ManifestRecord, Version},
    },
    upstream::{Error, ManifestBody, ManifestHead},
};

/// A manifest that may be served, whether or not it could be kept.
#[derive(Debug, Clone)]
pub(super) struct Adopted {
    pub(super) version: Version,
    pub(super) bytes: Bytes,
    /// What the upstream's answer said; none when no byte was transferred.
    pub(super) head: Option<ManifestHead>,
    /// Whether it is recorded here.
    pub(super) stored: bool,
}

/// The adoptions under way.
pub(super) struct Adoptions(Single<Question, Result<Adopted, Error>>);

impl Adoptions {
    pub(super) fn new(tasks: &Tasks) -> Self {
        Self(Single::new("manifest adoption", tasks, QUESTIONS))
    }
}

impl Registry {
    /// Adopts the manifest of this digest. With a tag, this rule's upstream said under this rule's identity, just now, that it
    /// has it there.
    pub(super) async fn adopt(
        &self,
        pull: Pull<'_>,
        digest: &Digest,
        tag: Option<&Tag>,
    ) -> Shared<Adopted> {
        let confirmed = tag.is_some();
        let reference = Reference::Digest(digest.clone());
        if let Some(absent) = self
            .absent(pull, &reference, Asked::GetManifest)
            .filter(|_| !confirmed)
        {
            return Shared::failed(absent);
        }
        let question = Question::new(pull, reference).led_by(tag);
        let (this, errand, digest) = (self.clone(), pull.errand(), digest.clone());
        let work = || async move { this.adopt_now(errand.pull(), &digest, confirmed).await };
        share(&self.inner.adoptions.0, question, work).await
    }

    /// Adopts whatever the upstream answers to a GET by tag: for a digest that vanished between HEAD and GET.
    pub(super) async fn adopt_tag(&self, pull: Pull<'_>, tag: &Tag) -> Shared<Adopted> {
        let reference = Reference::Tag(tag.clone());
        if let Some(absent) = self.absent(pull, &reference, Asked::GetManifest) {
            return Shared::failed(absent);
        }
        let question = Question::new(pull, reference.clone());
        let (this, errand, tag) = (self.clone(), pull.errand(), tag.clone());
        let work = || async move {
            let pull = errand.pull();
            let began = this.now();
            let upstream = &pull.covered.active.upstream;
            let answer = upstream
                .get_manifest(&pull.covered.source, &reference, pull.request)
                .await;
            this.heard(pull, &reference, Asked::GetManifest, answer.as_ref().err());
            let body = answer?;
            let seen = Seen {
                head: body.head.clone(),
                began,
            };
            this.saw(pull, &tag, None, &seen).await;
            this.keep(pull, body).await
        };
        share(&self.inner.adoptions.0, question, work).await
    }

    async fn adopt_now(
        &self,
        pull: Pull<'_>,
        digest: &Digest,
        confirmed: bool,
    ) -> Result<Adopted, Error> {
        let _hold = self.inner.store.hold(digest);
        if let Some(found) = self.or_stream(self.found(digest)).await {
            let linked = self.or_stream(self.linked(pull.repository, digest)).await;
            if !confirmed && linked.is_none() {
                self.check_manifest(pull, digest).await.answer?;
            }
            return self.record(pull, found.0, found.1, None).await;
        }
        let reference = Reference::Digest(digest.clone());
        let want = ManifestWant {
            digest: digest.clone(),
            source: pull.covered.source.clone(),
            active: Arc::clone(&pull.covered.active),
            request: pull.request.clone(),
        };
        let answer = self.inner.fills.manifest(want).await;
        self.heard(pull, &reference, Asked::GetManifest, answer.as_ref().err());
        self.keep(pull, answer?).await
    }

    /// What is stored of a manifest, because of whatever repository.
    async fn found(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Arc<ManifestRecord>, Bytes)>, store::Error> {
        let store = &self.inner.store;
        let Some(record) = store.metadata().manifest(digest).await? else {
            return Ok(None);
        };
        let bytes = store.read_small(digest).await?;
        Ok(bytes.map(|bytes| (record, bytes)))
    }

    /// Reads a manifest that came, and records it. What cannot be read as one thing is refused: two readers would see two
    /// images in it.
    async fn keep(&self, pull: Pull<'_>, body: ManifestBody) -> Result<Adopted, Error> {
        let ManifestBody { head, bytes } = body;
        let record = describe(&head.digest, &bytes, Some(&head.media_type))
            .map_err(|error| Error::wrong(error.to_string()))?;
        self.record(pull, Arc::new(record), bytes, Some(head)).await
    }

    async fn record(
        &self,
        pull: Pull<'_>,
        manifest: Arc<ManifestRecord>,
        bytes: Bytes,
        head: Option<ManifestHead>,
    ) -> Result<Adopted, Error> {
        let version = version(&manifest);
        let began = self.now();
        let sightings = &self.inner.sightings;
        let seen = sightings.seen_at(pull.repository, &manifest.digest);
        let arrivals = arrivals(pull, &manifest, &bytes, &seen);
        let recorded = self.in_time(self.record_all(&arrivals)).await;
        let state = &pull.covered.active.state;
        state.pulled(began);
        if let Err(error) = &recorded {
            tracing::warn!(repository = %pull.repository, digest = %version.digest, %error, "served without being stored");
            self.inner.store.report("record", error);
            state.store_failed(&error.to_string(), version.size, self.now());
            self.inner.copies.owe(arrivals, error);
        } else {
            sightings.recorded(pull.repository, &manifest.digest, &seen);
        }
        Ok(Adopted {
            version,
            bytes,
            head,
            stored: recorded.is_ok(),
        })
    }

    async fn record_all(&self, arrivals: &[Arrival]) -> Result<(), store::Error> {
        for arrival in arrivals {
            self.inner.copies.record(arrival.clone()).await?;
        }
        Ok(())
    }

    /// The platform under which an index of this repository lists a manifest; none when it means nothing.
    pub(super) async fn platform(&self, pull: Pull<'_>, digest: &Digest) -> Option<Platform> {
        let metadata = self.inner.store.metadata();
        let parents = self
            .or_stream(metadata.parents(pull.repository, digest))
            .await;
        for parent in parents.iter().take(16) {
            let index = self.or_stream(metadata.manifest(parent)).await?;
            let child = index.children.iter().find(|child| child.digest == *digest);
            if let Some(platform) = child.and_then(|child| child.platform.clone()) {
                return Some(platform).filter(|platform| !platform.is_unknown());
            }
        }
        None
    }
}

/// One for each tag that was last seen at this manifest, or one without a tag.
fn arrivals(
    pull: Pull<'_>,
    manifest: &Arc<ManifestRecord>,
    bytes: &Bytes,
    seen: &[Arc<Sighting>],
) -> Vec<Arrival> {
    let untagged = Arrival {
        repository: pull.repository.clone(),
        active: Arc::clone(&pull.covered.active),
        bytes: bytes.clone(),
        manifest: Arc::clone(manifest),
        tag: None,
        platform: None,
        request: pull.request.clone(),
    };
    if seen.is_empty() {
        return vec![untagged];
    }
    let tagged = |sighting: &Arc<Sighting>| Arrival {
        tag: Some(Observed {
            tag: sighting.tag.clone(),
            checked_at: sighting.checked_at,
            observed_at: sighting.observed_at,
        }),
        ..untagged.clone()
    };
    seen.iter().map(tagged).collect()
}
