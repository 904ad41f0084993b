//! Asking a rule's upstream about something, without its bytes: one HEAD shared by all who wait.
//!
//! What the answer means for the rule (its state, its 404s, since when it refuses) is noted here, once per HEAD; what it means
//! for the client is `verdict`'s. An observation counts from when its HEAD began, because that is all that is certain about
//! when it was true.

use std::{future::Future, sync::Arc, time::Duration};

use runtime::{Single, Tasks};
use topology::model::rule::Check;
use wire::{
    digest::Digest,
    reference::{Reference, Tag},
    repository::RepositoryName,
    time::WallTime,
};

use super::{Registry, place::Pull, remembered::Asked, sighting::Sighting};
use crate::{
    fill::ManifestWant,
    request::Request,
    rule::ActiveRule,
    store::metadata::{Op, TagRecord},
    upstream::{BlobHead, Error, ManifestBody, ManifestHead, Patience, error::Kind},
};

/// How many different questions of a kind may be under way at once.
pub(super) const QUESTIONS: usize = 4096;
/// How often at most a record that is checked on every pull has its time of check written.
const WRITTEN_EVERY: Duration = Duration::from_secs(1);

/// How many chains of others that go in a circle one question waits for, before it believes that its own does.
pub(super) const CHAINS: usize = 4;

/// A rule of one slice: the address of the object, which whoever uses it as a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RuleId(usize);

impl RuleId {
    pub(super) fn of(active: &Arc<ActiveRule>) -> Self {
        Self(Arc::as_ptr(active).addr())
    }
}

/// What is asked. Two that are equal get one answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    rule: RuleId,
    source: RepositoryName,
    reference: Reference,
    /// Of an adoption by digest: the tag that led to it, whose record it makes.
    tag: Option<Tag>,
    patience: Patience,
    forced: bool,
}

impl Question {
    pub(super) fn new(pull: Pull<'_>, reference: Reference) -> Self {
        Self {
            rule: RuleId::of(&pull.covered.active),
            source: pull.covered.source.clone(),
            reference,
            tag: None,
            patience: Patience::Long,
            forced: false,
        }
    }

    pub(super) fn within(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    pub(super) fn led_by(self, tag: Option<&Tag>) -> Self {
        Self {
            tag: tag.cloned(),
            ..self
        }
    }
}

/// The questions under way.
pub(super) struct Checks {
    manifests: Single<Question, Result<Seen, Error>>,
    blobs: Single<Question, Result<BlobHead, Error>>,
}

impl Checks {
    pub(super) fn new(tasks: &Tasks) -> Self {
        Self {
            manifests: Single::new("manifest check", tasks, QUESTIONS),
            blobs: Single::new("blob check", tasks, QUESTIONS),
        }
    }

    fn waiting(&self) -> usize {
        self.manifests.waiting() + self.blobs.waiting()
    }
}

/// What a HEAD said, and when it began.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: ManifestHead,
    pub(super) began: WallTime,
}

impl Seen {
    /// When the origin was last known to agree: `Age` travels.
    pub(super) fn checked_at(&self) -> WallTime {
        self.began.minus(Duration::from_secs(self.head.age))
    }
}

/// An answer, and whether somebody else's question had been under way already.
pub(super) struct Shared<T> {
    pub(super) answer: Result<T, Error>,
    pub(super) collapsed: bool,
}

impl<T> Shared<T> {
    pub(super) fn failed(error: Error) -> Self {
        Self {
            answer: Err(error),
            collapsed: false,
        }
    }
}

/// Joins the run for `key` or starts it. That the chain of whoever began it goes in a circle says nothing about ours: anybody can
/// write a node's name into a header, and a refused chain is to fail nobody else.
pub(super) async fn share<K, T, F, Fut>(
    runs: &Single<K, Result<T, Error>>,
    key: K,
    make: F,
) -> Shared<T>
where
    K: Eq + std::hash::Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut make = Some(make);
    let mut left = CHAINS;
    loop {
        left = left.saturating_sub(1);
        let begin = || make.take().expect("a run that began here ends the loop")();
        let ended = runs.run(key.clone(), begin).await;
        // That nobody could be asked for want of room is like any upstream that cannot be asked: stale, or 503.
        let lost = |error| Err(Error::away(format!("this node could not ask: {error}")).openly());
        let answer = ended.unwrap_or_else(lost);
        let collapsed = make.is_some();
        let looped = answer.as_ref().is_err_and(|error| error.kind == Kind::Loop);
        if !(looped && collapsed && left > 0) {
            return Shared { answer, collapsed };
        }
    }
}

impl Registry {
    /// How many callers wait for what an upstream says to a HEAD.
    #[must_use]
    pub fn checks_waiting(&self) -> usize {
        self.inner.checks.waiting()
    }

    /// Asks where a tag is now. With a `record`, patience is short; if it agrees, the record's time of check has moved.
    pub(super) async fn check_tag(
        &self,
        pull: Pull<'_>,
        tag: &Tag,
        record: Option<&TagRecord>,
        forced: bool,
    ) -> Shared<Seen> {
        let reference = Reference::Tag(tag.clone());
        let absent = self.absent(pull, &reference, Asked::HeadManifest);
        if let Some(absent) = absent.filter(|_| !forced) {
            return Shared::failed(absent);
        }
        let patience = match record {
            Some(_) => Patience::Short,
            None => Patience::Long,
        };
        let question = Question {
            forced,
            ..Question::new(pull, reference.clone()).within(patience)
        };
        let (this, errand) = (self.clone(), pull.errand());
        let (tag, record) = (tag.clone(), record.cloned());
        let work = || async move {
            let request = Request {
                no_cache: forced,
                ..errand.pull().request.clone()
            };
            let pull = Pull {
                request: &request,
                ..errand.pull()
            };
            let mut seen = this.head(pull, &reference, patience).await?;
            let is_news = |record: &TagRecord| record.current.digest != seen.head.digest;
            if record.as_ref().is_none_or(is_news) {
                this.came(pull, &seen.head);
            }
            seen.head.body = None;
            this.saw(pull, &tag, record.as_ref(), &seen).await;
            Ok(seen)
        };
        share(&self.inner.checks.manifests, question, work).await
    }

    /// Asks whether a manifest is there.
    pub(super) async fn check_manifest(&self, pull: Pull<'_>, digest: &Digest) -> Shared<Seen> {
        let reference = Reference::Digest(digest.clone());
        if let Some(absent) = self.absent(pull, &reference, Asked::HeadManifest) {
            return Shared::failed(absent);
        }
        let question = Question::new(pull, reference.clone());
        let (this, errand) = (self.clone(), pull.errand());
        let digest = digest.clone();
        let work = || async move {
            let mut seen = this.head(errand.pull(), &reference, Patience::Long).await?;
            if seen.head.digest == digest {
                this.came(errand.pull(), &seen.head);
                seen.head.body = None;
                Ok(seen)
            } else {
                let told = seen.head.digest;
                Err(Error::wrong(format!(
                    "asked for {digest}, it told of {told}"
                )))
            }
        };
        share(&self.inner.checks.manifests, question, work).await
    }

    /// Asks whether a blob is there, and for its size.
    pub(super) async fn check_blob(&self, pull: Pull<'_>, digest: &Digest) -> Shared<BlobHead> {
        let reference = Reference::Digest(digest.clone());
        if let Some(absent) = self.absent(pull, &reference, Asked::HeadBlob) {
            return Shared::failed(absent);
        }
        let question = Question::new(pull, reference.clone());
        let (this, errand) = (self.clone(), pull.errand());
        let digest = digest.clone();
        let work = || async move {
            let pull = errand.pull();
            let upstream = &pull.covered.active.upstream;
            let answer = upstream
                .head_blob(&pull.covered.source, &digest, pull.request)
                .await;
            this.heard(pull, &reference, Asked::HeadBlob, answer.as_ref().err());
            answer
        };
        share(&self.inner.checks.blobs, question, work).await
    }

    /// Notes what an answer, good or bad, says about the rule.
    pub(super) fn heard(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        asked: Asked,
        error: Option<&Error>,
    ) {
        let (rule, source) = (&pull.rule().name, &pull.covered.source);
        let (active, remembered) = (&pull.covered.active, &self.inner.remembered);
        let state = &active.state;
        let now = self.now();
        let Some(error) = error else {
            state.answered(now);
            remembered.allowed(rule, pull.repository);
            remembered.exists(rule, source, reference);
            return;
        };
        match error.kind {
            Kind::Gone => {
                state.answered(now);
                remembered.allowed(rule, pull.repository);
                remembered.is_absent(rule, source, reference, asked, error);
            }
            Kind::Recalled => {
                state.answered(now);
                remembered.allowed(rule, pull.repository);
            }
            Kind::Denied => {
                active.refused(error, now);
                remembered.denied_since(rule, pull.repository, now);
            }
            Kind::Away { .. } | Kind::Broken | Kind::Wrong => {
                active.not_asked(error, now);
            }
            Kind::Loop => {
                tracing::error!(%rule, repository = %pull.repository, detail = %error.detail, "a request goes in a circle");
            }
        }
    }

    /// The 404 that is still remembered.
    pub(super) fn absent(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        asked: Asked,
    ) -> Option<Error> {
        let remembered = &self.inner.remembered;
        remembered.absent(&pull.rule().name, &pull.covered.source, reference, asked)
    }

    async fn head(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        patience: Patience,
    ) -> Result<Seen, Error> {
        let began = self.now();
        let upstream = &pull.covered.active.upstream;
        let source = &pull.covered.source;
        let answer = upstream
            .head_manifest(source, reference, patience, pull.request)
            .await;
        self.heard(pull, reference, Asked::HeadManifest, answer.as_ref().err());
        answer.map(|head| Seen { head, began })
    }

    /// Bytes that came with the answer, since a HEAD did not tell enough, are there for the pull that follows.
    fn came(&self, pull: Pull<'_>, head: &ManifestHead) {
        let Some(bytes) = head.body.clone() else {
            return;
        };
        let want = ManifestWant {
            digest: head.digest.clone(),
            source: pull.covered.source.clone(),
            active: Arc::clone(&pull.covered.active),
            request: pull.request.clone(),
        };
        let head = ManifestHead {
            body: None,
            ..head.clone()
        };
        self.inner.fills.came(&want, ManifestBody { head, bytes });
    }

    /// Notes where a tag was seen. When that is where its record has it, the record's time of check moves.
    pub(super) async fn saw(
        &self,
        pull: Pull<'_>,
        tag: &Tag,
        record: Option<&TagRecord>,
        seen: &Seen,
    ) {
        let known = record.filter(|record| record.current.digest == seen.head.digest);
        self.note_sighting(pull, tag, seen, known.is_none());
        let Some(record) = known else { return };
        let checked_at = seen.checked_at();
        if !is_worth_writing(record, pull.rule().freshness.check, checked_at) {
            return;
        }
        // As an observation of its own, and not only as a time of check, so that a slower and older one cannot replace it.
        let in_the_past = Some(record.checked_at).filter(|at| *at <= self.now());
        let observed = TagRecord {
            checked_at: in_the_past.map_or(checked_at, |at| at.max(checked_at)),
            observed_at: seen.began,
            complete: None,
            ..record.clone()
        };
        let store = &self.inner.store;
        if let Err(error) = self
            .in_time(store.metadata().commit(vec![Op::PutTag(observed)]))
            .await
        {
            store.report("check", &error);
        }
    }

    fn note_sighting(&self, pull: Pull<'_>, tag: &Tag, seen: &Seen, is_news: bool) {
        let remembered = &self.inner.remembered;
        let digest = seen.head.digest.clone();
        let reference = Reference::Digest(digest.clone());
        remembered.exists(&pull.rule().name, &pull.covered.source, &reference);
        let sighting = Sighting {
            tag: tag.clone(),
            digest,
            checked_at: seen.checked_at(),
            observed_at: seen.began,
        };
        self.inner.sightings.saw(pull.repository, sighting, is_news);
    }
}

/// Where every pull checks, the time of check only bounds `serveStale`: it need not cost every pull a flush.
fn is_worth_writing(record: &TagRecord, check: Check, checked_at: WallTime) -> bool {
    match check {
        Check::Always => {
            let since = record.checked_at.age(checked_at);
            since.is_none_or(|since| since >= WRITTEN_EVERY)
        }
        Check::After(_) | Check::Never => true,
    }
}
