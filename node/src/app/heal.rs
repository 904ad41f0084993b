//! What was found damaged or lost is filled again at once, without waiting for a client.
//!
//! The store has taken it away and kept its links; here a rule that covers one of its repositories fetches it. What no rule
//! covers was pushed, and nobody but its pusher has it: that is said loudly, once. A refill that fails is left to the next pull.

use std::sync::{Arc, Weak};

use runtime::telemetry::TraceContext;
use tokio::sync::broadcast::error::RecvError;
use wire::{digest::Digest, hops::Hops, repository::RepositoryName, time::WallTime};

use super::Shared;
use crate::{
    fill::{ManifestWant, Want, keep},
    request::Request,
    rule::Covered,
    store::metadata::{BlobRecord, LinkKind, Op, record::RequestInfo},
};

/// How many repositories of a digest are looked at for one that a rule covers.
const REPOSITORIES: usize = 16;

/// Starts listening for damage.
pub(super) fn start(shared: &Arc<Shared>) {
    let (mut damage, token) = (shared.store.damage(), shared.tasks.token());
    let weak = Arc::downgrade(shared);
    shared.tasks.spawn("heal", async move {
        loop {
            let found = tokio::select! {
                () = token.cancelled() => break,
                found = damage.recv() => found,
            };
            match found {
                Ok(found) => heal(&weak, &found.digest, &found.what).await,
                // The next pull fills what was missed here.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
    });
}

async fn heal(shared: &Weak<Shared>, digest: &Digest, what: &str) {
    let Some(shared) = shared.upgrade() else {
        return;
    };
    tracing::error!(node = %shared.name, %digest, what, "stored content was damaged or lost; it was taken away");
    match shared.source_of(digest).await {
        Some((repository, covered)) => {
            let healed = shared.refill(digest, repository, covered).await;
            match healed {
                Ok(()) => {
                    tracing::info!(node = %shared.name, %digest, "damaged content was filled again")
                }
                Err(reason) => {
                    tracing::warn!(node = %shared.name, %digest, reason, "damaged content could not be filled again yet")
                }
            }
        }
        None => {
            tracing::error!(node = %shared.name, %digest, "no rule covers a repository that has it: push it again");
        }
    }
}

impl Shared {
    async fn source_of(&self, digest: &Digest) -> Option<(RepositoryName, Covered)> {
        let repositories = self
            .store
            .metadata()
            .linked_by(digest, REPOSITORIES)
            .await
            .ok()?;
        let rules = self.rules.load();
        repositories.into_iter().find_map(|name| {
            let covered = rules.resolve(&name).filter(|c| c.active.rule.enabled)?;
            Some((name, covered))
        })
    }

    async fn refill(
        &self,
        digest: &Digest,
        repository: RepositoryName,
        covered: Covered,
    ) -> Result<(), String> {
        let link = self
            .store
            .metadata()
            .link(&repository, digest)
            .await
            .map_err(|e| e.to_string())?;
        let request = Request {
            info: Arc::new(RequestInfo::default()),
            trace: TraceContext::fresh(),
            hops: Hops::default(),
            no_cache: false,
            only_stored: false,
            began: None,
        };
        let (digest, source, active) = (digest.clone(), covered.source, covered.active);
        if link.is_some_and(|link| link.kind == LinkKind::Manifest) {
            let want = ManifestWant {
                digest: digest.clone(),
                source,
                active,
                request,
            };
            let body = self.fills.manifest(want).await.map_err(|e| e.to_string())?;
            return self
                .keep(&digest, body.bytes)
                .await
                .map_err(|e| e.to_string());
        }
        let want = Want {
            digest,
            size: None,
            repository,
            source,
            active,
            request,
        };
        self.fills
            .join(want)
            .fill
            .stored()
            .await
            .map_err(|e| e.to_string())
    }

    async fn keep(&self, digest: &Digest, bytes: bytes::Bytes) -> Result<(), crate::store::Error> {
        let _held = self.store.hold(digest);
        let size = bytes.len() as u64;
        keep::keep(&self.store, digest, bytes).await?;
        let now = WallTime(self.clock.steady_ms());
        let record = BlobRecord {
            digest: digest.clone(),
            size,
            stored_at: now,
            verified_at: now,
        };
        self.store
            .metadata()
            .commit(vec![Op::PutBlob(record)])
            .await
    }
}
