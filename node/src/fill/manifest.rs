//! Manifests by digest: one GET at a time for a (rule, repository, digest), whoever asks. Verified, not stored.
//!
//! Where a check could only be answered by a GET, its bytes wait here for the pull that follows, which then asks for nothing. They
//! are good for that one pull of that very rule, and not for long.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use runtime::{Single, single};
use tokio::time::Instant;
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

/// How long the bytes of a check wait for the pull that follows it.
const WAITS: Duration = Duration::from_secs(60);
/// What all that wait may weigh, in bytes.
const WEIGHT: u64 = 32 << 20;
/// What one weighs beside its bytes.
const ENTRY: usize = 1 << 10;

/// The bytes of a check, and under which rule it was asked.
#[derive(Clone)]
struct Waiting {
    until: Instant,
    active: Arc<ActiveRule>,
    body: ManifestBody,
}

/// The GETs in flight.
#[derive(Clone)]
pub(super) struct Manifests {
    shared: Arc<Shared>,
    runs: Arc<Single<Key, Result<ManifestBody, upstream::Error>>>,
    waiting: Cache<Key, Waiting>,
}

impl Manifests {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let runs = Single::new("fill-manifest", &shared.tasks, shared.config.max);
        let weight = |_: &Key, waiting: &Waiting| {
            u32::try_from(waiting.body.bytes.len() + ENTRY).unwrap_or(u32::MAX)
        };
        let waiting = Cache::builder().max_capacity(WEIGHT).weigher(weight);
        Self {
            shared: Arc::clone(shared),
            runs: Arc::new(runs),
            waiting: waiting.time_to_live(WAITS).build(),
        }
    }

    /// Keeps what came with a check for the pull that follows.
    pub(super) fn came(&self, want: &ManifestWant, body: ManifestBody) {
        let waiting = Waiting {
            until: self.shared.clock.now() + WAITS,
            active: Arc::clone(&want.active),
            body,
        };
        self.waiting.insert(key(want), waiting);
    }

    fn take(&self, want: &ManifestWant) -> Option<ManifestBody> {
        let waiting = self.waiting.remove(&key(want))?;
        let fresh = waiting.until > self.shared.clock.now();
        (fresh && Arc::ptr_eq(&waiting.active, &want.active)).then_some(waiting.body)
    }

    pub(super) async fn get(&self, want: ManifestWant) -> Result<ManifestBody, upstream::Error> {
        let this = self.clone();
        let run = self.runs.run(key(&want), move || async move {
            match this.take(&want) {
                Some(body) => Ok(body),
                None => ask(&this.shared, &want).await,
            }
        });
        run.await.unwrap_or_else(|lost| {
            Err(match lost {
                single::Error::Lost => upstream::Error::away("the node is stopping").openly(),
                single::Error::Full => {
                    upstream::Error::away("too many manifests are asked for at once").openly()
                }
            })
        })
    }
}

fn key(want: &ManifestWant) -> Key {
    let rule = want.active.rule.name.clone();
    (rule, want.source.clone(), want.digest.clone())
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
