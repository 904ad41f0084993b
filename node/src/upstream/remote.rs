//! A registry over HTTP, as one rule sees it.
//!
//! Files beside this one each do one part: `send` a request with its authentication and one retry, `redirect` says where an answer
//! points, `classify` what a refusal means, `manifest`, `blob` and `list` read what came. Nothing is believed: lengths, digests,
//! types and ranges are checked, and what does not fit is `Wrong`, what stops too early `Broken`. Silence is bounded, work is not.
//! Source: `spec/pull-through.md`; `reference/protocols.md` 1.7-1.9.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use identity::authenticator::{Authenticator, realm::Origin};
use runtime::{Clock, egress};
use tokio::time::Instant;
use wire::{
    digest::Digest,
    name::{MeshName, NodeName},
    page::Page,
    reference::Reference,
    repository::RepositoryName,
    time::WallTime,
};

use super::{
    BlobBody, BlobHead, BlobRange, Error, ManifestBody, ManifestHead, Patience, Reach, Referrers,
    TagPage, Upstream, observer::Observer, profile::Profile,
};
use crate::request::Request;

mod answer;
mod blob;
mod body;
mod classify;
mod list;
mod manifest;
mod reach;
mod redirect;
mod send;
#[cfg(test)]
mod tests;

/// How long silence may last.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From one request to its answer's headers.
    pub first_byte: Duration,
    /// Until the answer to a check, a list or a manifest begins, tokens, redirects and the retry included, when something
    /// stored can be served instead.
    pub short: Duration,
    /// The same, when nothing else can be served.
    pub long: Duration,
    /// Between two pieces of a body.
    pub progress: Duration,
    /// Before the one retry, before jitter.
    pub retry_after: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(30),
            short: Duration::from_secs(2),
            long: Duration::from_secs(8),
            progress: Duration::from_secs(30),
            retry_after: Duration::from_millis(100),
        }
    }
}

/// Which registry, and who asks it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name in metrics and messages: the host, or the node's name.
    pub name: String,
    /// Where it is.
    pub origin: Origin,
    /// Its ways.
    pub profile: Profile,
    /// The mesh of this node, for the chain of nodes.
    pub mesh: MeshName,
    /// This node.
    pub node: NodeName,
    /// How long silence may last.
    pub deadlines: Deadlines,
}

/// What it stands on.
#[derive(Clone)]
pub struct Parts {
    /// Makes the connections, under the upstream's address policy.
    pub client: egress::Client,
    /// The rule's own.
    pub authenticator: Authenticator,
    /// Time.
    pub clock: Clock,
    /// Is told what passes.
    pub observer: Arc<dyn Observer>,
}

/// A registry over HTTP.
pub struct Remote {
    config: Config,
    parts: Parts,
    /// Its HEAD says no digest or is refused: tags are asked for by GET.
    asks_by_get: AtomicBool,
    /// A 404 to HEAD was confirmed by a 404 to GET once, so it is believed from then on.
    head_knows_absence: AtomicBool,
}

impl Config {
    /// The registry, not asked yet.
    #[must_use]
    pub fn build(self, parts: Parts) -> Remote {
        let asks_by_get = AtomicBool::new(self.profile.head_says_no_digest);
        Remote {
            config: self,
            parts,
            asks_by_get,
            head_knows_absence: AtomicBool::new(false),
        }
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("name", &self.config.name)
            .field("origin", &self.config.origin)
            .finish_non_exhaustive()
    }
}

impl Remote {
    fn asks_by_get(&self) -> bool {
        self.asks_by_get.load(Ordering::Relaxed)
    }

    /// When an answer has to have begun.
    fn until(&self, patience: Patience, request: &Request) -> Instant {
        let allowed = match patience {
            Patience::Short => self.config.deadlines.short,
            Patience::Long => self.config.deadlines.long,
        };
        ends(
            shrunk(allowed, request),
            request.began,
            self.parts.clock.now(),
        )
    }

    fn ask_by_get_from_now_on(&self) {
        if !self.asks_by_get.swap(true, Ordering::Relaxed) {
            tracing::info!(upstream = %self.config.name, "HEAD of a tag does not say its digest here; it is asked for by GET from now on");
        }
    }
}

#[async_trait]
impl Upstream for Remote {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn token_ends(&self) -> Option<WallTime> {
        self.parts.authenticator.proof_ends()
    }

    async fn reach(&self) -> Reach {
        reach::reach(self).await
    }

    async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        patience: Patience,
        request: &Request,
    ) -> Result<ManifestHead, Error> {
        let until = self.until(patience, request);
        manifest::head(self, repository, reference, until, request).await
    }

    async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        request: &Request,
    ) -> Result<ManifestBody, Error> {
        let until = self.until(Patience::Long, request);
        manifest::get(self, repository, reference, until, request).await
    }

    async fn head_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        request: &Request,
    ) -> Result<BlobHead, Error> {
        let until = self.until(Patience::Long, request);
        blob::head(self, repository, digest, Some(until), request).await
    }

    async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<BlobRange>,
        request: &Request,
    ) -> Result<BlobBody, Error> {
        blob::get(self, repository, digest, range, request).await
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        patience: Patience,
        request: &Request,
    ) -> Result<TagPage, Error> {
        list::tags(self, repository, page, patience, request).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        patience: Patience,
        request: &Request,
    ) -> Result<Referrers, Error> {
        list::referrers(self, repository, subject, patience, request).await
    }
}

/// What is left of an allowance at this tier: a sixth less for each node that the request came through, so that the node nearest
/// to a fault gives up first and the others can still pass its answer on. Source: `spec/pull-through.md`, "Time and failure".
fn shrunk(allowed: Duration, request: &Request) -> Duration {
    let nodes = request.hops.nodes().count().min(3);
    allowed * (6 - nodes as u32) / 6
}

/// When a question that may take `allowed` has to be answered. Several questions for one request share its time: nobody waits for each
/// of them anew.
fn ends(allowed: Duration, began: Option<Instant>, now: Instant) -> Instant {
    (began.unwrap_or(now) + allowed).max(now + LEAST.min(allowed))
}

/// What is left to the last of several questions for one request, at least.
const LEAST: Duration = Duration::from_millis(250);

/// A time as messages say it, to the hundredth: `2 s`, `0.2 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 100.0).round() / 100.0)
}
