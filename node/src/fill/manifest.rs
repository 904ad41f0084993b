//! Manifests by digest: one GET at a time for a (rule, repository, digest), whoever asks. Verified, not stored.

use std::sync::Arc;

use runtime::{Single, single};
use wire::{digest::Digest, name::RuleName, reference::Reference, repository::RepositoryName};

use super::{Shared, observe::observe};
use crate::{
    request::Request,
    rule::ActiveRule,
    upstream::{self, ManifestBody, error::Kind},
};

/// What manifest somebody wants.
#[derive(Debug, Clone)]
pub struct ManifestWant {
    /// Its digest.
    pub digest: Digest,
    /// The repository at the upstream.
    pub source: RepositoryName,
    /// The rule.
    pub active: Arc<ActiveRule>,
    /// On whose behalf.
    pub request: Request,
}

type Key = (RuleName, RepositoryName, Digest);

/// The GETs in flight.
#[derive(Clone)]
pub(super) struct Manifests {
    shared: Arc<Shared>,
    runs: Arc<Single<Key, Result<ManifestBody, upstream::Error>>>,
}

impl Manifests {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let runs = Single::new("fill-manifest", &shared.tasks, shared.config.max);
        Self {
            shared: Arc::clone(shared),
            runs: Arc::new(runs),
        }
    }

    pub(super) async fn get(&self, want: ManifestWant) -> Result<ManifestBody, upstream::Error> {
        let key = (
            want.active.rule.name.clone(),
            want.source.clone(),
            want.digest.clone(),
        );
        let shared = Arc::clone(&self.shared);
        let run = self
            .runs
            .run(key, move || async move { ask(&shared, &want).await });
        run.await.unwrap_or_else(|lost| {
            Err(match lost {
                single::Error::Lost => upstream::Error::away("the node is stopping"),
                single::Error::Full => {
                    upstream::Error::away("too many manifests are asked for at once")
                }
            })
        })
    }
}

async fn ask(shared: &Shared, want: &ManifestWant) -> Result<ManifestBody, upstream::Error> {
    let reference = Reference::Digest(want.digest.clone());
    let answer = want
        .active
        .upstream
        .get_manifest(&want.source, &reference, &want.request)
        .await;
    let answer = answer.and_then(|body| {
        let computed = Digest::of(want.digest.algorithm(), &body.bytes);
        let same = computed == want.digest;
        let wrong = || upstream::Error::wrong(format!("it sent {computed} for {}", want.digest));
        same.then_some(body).ok_or_else(wrong)
    });
    observe(&want.active, &answer, &shared.clock);
    // What a node further up found wrong was counted there.
    if answer
        .as_ref()
        .is_err_and(|error| error.kind == Kind::Wrong && error.failed_at.is_none())
    {
        (shared.config.hooks.mismatch)(want.active.upstream.name());
    }
    answer
}
