//! From an upstream's failure to the error a client gets, by the verdict; and what is noted about serving stale.

use std::sync::Arc;

use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    digest::Digest,
    event::{Action, Cause},
    pattern::Pattern,
    reference::Reference,
    time::WallTime,
};

use super::{
    Error, Outcome, Provenance, Registry, Trouble,
    place::{Pull, trouble},
    verdict::{self, Case, Verdict},
};
use crate::{
    event::Happening,
    fill,
    store::metadata::{TagRecord, Version},
    upstream::{self, error::Kind},
};

impl Registry {
    /// The error for a manifest that is not stored: nothing else can be served.
    pub(super) fn refuse(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        error: &upstream::Error,
    ) -> Error {
        self.refuse_with(pull, error, |trouble| unknown(pull, reference, trouble))
    }

    /// The same for a blob.
    pub(super) fn refuse_blob(
        &self,
        pull: Pull<'_>,
        digest: &Digest,
        error: &upstream::Error,
    ) -> Error {
        self.refuse_with(pull, error, |trouble| Error::BlobUnknown {
            repository: pull.repository.clone(),
            digest: digest.clone(),
            trouble: Some(trouble),
        })
    }

    /// The same for anything; `not_found` makes its 404.
    pub(super) fn refuse_with(
        &self,
        pull: Pull<'_>,
        error: &upstream::Error,
        not_found: impl FnOnce(Arc<Trouble>) -> Error,
    ) -> Error {
        let case = Case {
            answer: error.kind,
            stored: None,
            denied_since: None,
            moved: false,
        };
        let verdict = verdict::decide(&case, pull.rule(), self.now());
        self.refusal_with(pull, error, verdict, not_found)
    }

    /// The error of a verdict about a manifest; of one that serves something, that it could not be served after all.
    pub(super) fn refusal(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        error: &upstream::Error,
        verdict: Verdict<'_>,
    ) -> Error {
        self.refusal_with(pull, error, verdict, |trouble| {
            unknown(pull, reference, trouble)
        })
    }

    fn refusal_with(
        &self,
        pull: Pull<'_>,
        error: &upstream::Error,
        verdict: Verdict<'_>,
        not_found: impl FnOnce(Arc<Trouble>) -> Error,
    ) -> Error {
        let trouble = trouble(pull.covered, error);
        match verdict {
            Verdict::NotFound => not_found(trouble),
            Verdict::Denied => Error::Denied(trouble),
            Verdict::Recalled => match &error.recalled {
                // The reason is the operator's, where this node has heard of it.
                Some(digest) => match self.not_recalled(digest) {
                    Err(recalled) => recalled,
                    Ok(()) => Error::Recalled {
                        digest: digest.clone(),
                        reason: format!("{} refuses it", trouble.upstream),
                    },
                },
                None => Error::Denied(trouble),
            },
            Verdict::Away | Verdict::Serve { .. } => Error::Away(trouble),
            Verdict::Wrong => Error::Wrong(trouble),
            Verdict::Loop => Error::Loop {
                nodes: self.chain(pull, error),
            },
        }
    }

    /// The error of a fill that came to nothing.
    pub(super) fn refuse_fill(&self, pull: Pull<'_>, digest: &Digest, error: fill::Error) -> Error {
        match error {
            fill::Error::Busy => Error::Overloaded,
            fill::Error::Recalled(_) => match self.not_recalled(digest) {
                Err(recalled) => recalled,
                // Lifted in this very moment.
                Ok(()) => Error::Overloaded,
            },
            fill::Error::Store(error) => Error::Store(error),
            fill::Error::Upstream(error) => self.refuse_blob(pull, digest, &error),
            fill::Error::Mismatch { .. } | fill::Error::Size { .. } => {
                self.refuse_blob(pull, digest, &upstream::Error::wrong(error.to_string()))
            }
            fill::Error::Aborted => self.refuse_blob(
                pull,
                digest,
                &upstream::Error::away(error.to_string()).openly(),
            ),
        }
    }

    /// With the platform that was wanted, when an index that is stored lists the manifest that is not.
    pub(super) async fn name_platform(
        &self,
        pull: Pull<'_>,
        reference: &Reference,
        error: Error,
    ) -> Error {
        let (Error::Away(trouble), Reference::Digest(digest)) = (&error, reference) else {
            return error;
        };
        match self.platform(pull, digest).await {
            None => error,
            platform => Error::Away(Arc::new(Trouble {
                platform,
                ..Trouble::clone(trouble)
            })),
        }
    }

    fn chain(&self, pull: Pull<'_>, error: &upstream::Error) -> Vec<String> {
        let hops = &pull.request.hops;
        let mut nodes = hops.with(&self.inner.mesh, &self.inner.node).describe();
        nodes.push(error.told.clone());
        nodes
    }

    /// Since when this repository is refused us. Of a rule for one repository the rule's own state knows, across restarts.
    pub(super) fn denied_since(&self, pull: Pull<'_>, error: &upstream::Error) -> Option<WallTime> {
        if error.kind != Kind::Denied {
            return None;
        }
        let name = &pull.rule().name;
        let remembered = &self.inner.remembered;
        let since = remembered.denied_since(name, pull.repository, self.now());
        Some(earliest(pull, since))
    }

    /// The same without noting that it begins now, if it does.
    pub(super) fn would_be_denied_since(&self, pull: Pull<'_>) -> WallTime {
        let name = &pull.rule().name;
        let known = self.inner.remembered.known_denied(name, pull.repository);
        earliest(pull, known.unwrap_or_else(|| self.now()))
    }

    /// The provenance of what the upstream was asked for.
    pub(super) fn forwarded(
        &self,
        pull: Pull<'_>,
        outcome: Outcome,
        why: Forward,
        collapsed: bool,
    ) -> Provenance {
        let mut provenance = self.provenance(pull.covered, outcome, CacheOutcome::Forward(why));
        if let Some(cache) = &mut provenance.cache {
            cache.collapsed = collapsed;
        }
        provenance
    }

    /// Tells whoever wants to hear of it that a tag was served stale; at most once a minute per tag.
    pub(super) async fn record_stale(
        &self,
        pull: Pull<'_>,
        record: &TagRecord,
        version: &Version,
        error: &upstream::Error,
    ) {
        if !self
            .inner
            .remembered
            .may_tell_stale(pull.repository, &record.tag)
        {
            return;
        }
        let happening = Happening {
            repository: pull.repository,
            tag: Some(&record.tag),
            digest: &version.digest,
            version: Some(version),
            cause: Cause::Client,
            rule: Some(&pull.rule().name),
            platform: None,
            info: &pull.request.info,
            reason: Some(error.to_string()),
        };
        let ops = self.inner.events.record(Action::ServedStale, &happening);
        if ops.is_empty() {
            return;
        }
        let store = &self.inner.store;
        match self.in_time(store.metadata().commit(ops)).await {
            Ok(()) => self.inner.events.nudge(),
            Err(error) => store.report("event", &error),
        }
    }
}

fn earliest(pull: Pull<'_>, since: WallTime) -> WallTime {
    let of_rule = match pull.rule().target {
        Pattern::Exact(_) => pull.covered.active.state.facts().denied_since,
        Pattern::Below(_) | Pattern::All => None,
    };
    of_rule.map_or(since, |of_rule| of_rule.min(since))
}

fn unknown(pull: Pull<'_>, reference: &Reference, trouble: Arc<Trouble>) -> Error {
    Error::ManifestUnknown {
        repository: pull.repository.clone(),
        reference: reference.clone(),
        trouble: Some(trouble),
    }
}
