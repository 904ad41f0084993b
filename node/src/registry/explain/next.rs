//! What the next pull of a covered repository does, by the decisions that the pull itself will make.

use wire::{
    api::explain::{Next, Outcome, Query},
    digest::Digest,
    reference::{Reference, Tag},
};

use super::{Here, Standpoint, refused};
use crate::{
    registry::{
        Registry,
        freshness::{self, Freshness},
        place::Pull,
        remembered::Asked,
        verdict::{self, Case, Verdict},
        warning,
    },
    store::metadata::TagRecord,
    upstream::{self, error::Kind, grant::Answer},
};

impl Registry {
    pub(super) async fn next(
        &self,
        pull: Pull<'_>,
        query: &Query,
        here: &Here,
        answer: &Answer,
        at: &Standpoint,
    ) -> Next {
        match &query.reference {
            Reference::Tag(tag) => self.next_by_tag(pull, tag, here, answer, at).await,
            Reference::Digest(digest) => self.next_by_digest(pull, digest, here, answer, at).await,
        }
    }

    async fn next_by_tag(
        &self,
        pull: Pull<'_>,
        tag: &Tag,
        here: &Here,
        answer: &Answer,
        at: &Standpoint,
    ) -> Next {
        let upstream = pull.covered.active.upstream.name();
        let record = here.record.as_ref().filter(|_| here.is_stored);
        if let Some(record) = record {
            let policy = &pull.rule().freshness;
            if let Freshness::Serve { ttl } = freshness::decide(record, policy, self.now()) {
                let until = ttl.map_or_else(String::new, |ttl| {
                    format!(" for another {} s", ttl.as_secs())
                });
                let text = format!("the tag is stored and fresh{until}: nobody is asked");
                return will(Outcome::Hit, text);
            }
        }
        let reference = Reference::Tag(tag.clone());
        if let Some(absent) = self.absent(pull, &reference, Asked::HeadManifest) {
            return self.next_failed(pull, &reference, record, &absent, at);
        }
        match (answer, record) {
            (Answer::Failed(error), record) => {
                self.next_failed(pull, &reference, record, error, at)
            }
            (Answer::Head(head), Some(record)) if record.current.digest == head.digest => will(
                Outcome::Check,
                format!("one HEAD to {upstream}, which has the tag where it is stored"),
            ),
            (Answer::Head(head), _) if self.is_whole_manifest(pull, &head.digest).await => will(
                Outcome::Check,
                format!(
                    "one HEAD to {upstream}, where the tag moved to {}, which is stored",
                    head.digest
                ),
            ),
            (Answer::Head(head), Some(_)) => will(
                Outcome::Fill,
                format!(
                    "the tag moved at {upstream} to {}, which is not stored",
                    head.digest
                ),
            ),
            (Answer::Head(head), None) => will(
                Outcome::Fill,
                format!("not stored; {upstream} has it as {}", head.digest),
            ),
            (Answer::Allowed, Some(_)) => will(
                Outcome::Check,
                format!("one HEAD to node {upstream}; served from here unless the tag moved there"),
            ),
            (Answer::Allowed, None) => will(
                Outcome::Fill,
                format!("not stored; node {upstream} is asked, which allows it"),
            ),
        }
    }

    async fn next_by_digest(
        &self,
        pull: Pull<'_>,
        digest: &Digest,
        here: &Here,
        answer: &Answer,
        at: &Standpoint,
    ) -> Next {
        if here.is_stored {
            let text = "the digest is stored and linked here: nobody is asked";
            return will(Outcome::Hit, text.to_owned());
        }
        let reference = Reference::Digest(digest.clone());
        if let Some(absent) = self.absent(pull, &reference, Asked::GetManifest) {
            return self.next_failed(pull, &reference, None, &absent, at);
        }
        let upstream = pull.covered.active.upstream.name();
        match answer {
            Answer::Failed(error) => self.next_failed(pull, &reference, None, error, at),
            Answer::Head(_) | Answer::Allowed if self.has_bytes(digest).await => will(
                Outcome::Check,
                format!(
                    "stored because of another repository: one HEAD to {upstream}, and no byte is transferred"
                ),
            ),
            Answer::Head(_) => will(Outcome::Fill, format!("not stored; {upstream} has it")),
            Answer::Allowed => will(
                Outcome::Fill,
                format!("not stored; node {upstream} is asked, which allows it"),
            ),
        }
    }

    /// The verdict's words.
    fn next_failed(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        record: Option<&TagRecord>,
        error: &upstream::Error,
        at: &Standpoint,
    ) -> Next {
        let denied_since = (error.kind == Kind::Denied).then(|| self.would_be_denied_since(pull));
        let case = Case {
            answer: error.kind,
            stored: record,
            denied_since,
            moved: false,
        };
        let verdict = verdict::decide(&case, pull.rule(), self.now());
        if let (Verdict::Serve { why, newer, .. }, Some(record)) = (verdict, record) {
            let age = record.checked_at.age(self.now()).unwrap_or_default();
            let words = (error.refusal, error.detail.as_str());
            let text = warning::stale(pull, why, newer, age.as_secs(), words);
            return Next {
                refusal: Some(error.refusal),
                ..will(Outcome::ServeStale, text)
            };
        }
        refused(&self.refusal(pull, reference, error, verdict), at)
    }

    /// Whether a tag that moved to this manifest costs no transfer of it.
    async fn is_whole_manifest(&self, pull: Pull<'_>, digest: &Digest) -> bool {
        let metadata = self.inner.store.metadata();
        let known = self.looked(metadata.manifest(digest)).await.is_some();
        let linked = self.looked(metadata.link(pull.repository, digest)).await;
        known && linked.is_some() && self.has_bytes(digest).await
    }
}

fn will(outcome: Outcome, reason: String) -> Next {
    Next {
        outcome,
        reason,
        status: None,
        refusal: None,
    }
}
