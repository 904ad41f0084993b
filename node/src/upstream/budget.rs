//! How much of an upstream one credential may take: transfers at once, requests a second, and silence after a 429.
//!
//! An [`Account`] is shared by all rules that show the same credential to the same upstream, because the upstream counts them
//! together; nothing but the count is shared. Only blobs count as transfers, and one counts until its stream has ended: a tag
//! check never waits behind layers. Waiting has an end, by the caller's patience. Source: `reference/protocols.md` 1.7 point 7.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt;
use runtime::{Clock, Limit};
use tokio::time::Instant;
use wire::{
    digest::Digest, page::Page, reference::Reference, refusal::Refusal, repository::RepositoryName,
    time::WallTime,
};

use super::{
    BlobBody, BlobHead, BlobRange, Error, ManifestBody, ManifestHead, Patience, Reach, Referrers,
    TagPage, Upstream,
};
use crate::request::Request;

/// What one credential may do at one upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Transfers of blobs at once; further ones wait in line.
    pub max_concurrent: usize,
    /// Requests a second; `None` for no limit.
    pub requests_per_second: Option<f64>,
    /// The pause after a 429 that says nothing of it.
    pub pause: Duration,
    /// How long a request waits for its turn when nothing else can be served, and when something can.
    pub wait: (Duration, Duration),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent: 16,
            requests_per_second: None,
            pause: Duration::from_secs(5),
            wait: (Duration::from_secs(30), Duration::from_secs(2)),
        }
    }
}

/// The state of one (upstream, credential). Shared.
#[derive(Debug)]
pub struct Account {
    config: Config,
    clock: Clock,
    transfers: Limit,
    turns: Mutex<Turns>,
}

/// When the next request may go; pure.
#[derive(Debug, Default)]
struct Turns {
    /// No request before this, because the upstream said so.
    paused_until: Option<Instant>,
    /// When the next request's turn is, at the allowed rate.
    next: Option<Instant>,
}

impl Turns {
    /// How long the pause still is.
    fn paused(&self, now: Instant) -> Option<Duration> {
        let left = self.paused_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Takes a turn and says how long it is until then, if that is not more than `patience`. A second's worth of turns may be
    /// taken at once after an idle second.
    fn take(&mut self, rate: f64, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        let step = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(3600));
        let burst = Duration::from_secs(1).max(step) - step;
        let earliest = now.checked_sub(burst).unwrap_or(now);
        let turn = self.next.map_or(earliest, |next| next.max(earliest));
        let wait = turn.saturating_duration_since(now);
        if wait > patience {
            return Err(wait);
        }
        self.next = Some(turn + step);
        Ok(wait)
    }
}

impl Config {
    /// A fresh account.
    #[must_use]
    pub fn build(self, clock: Clock) -> Arc<Account> {
        Arc::new(Account {
            config: self,
            clock,
            transfers: Limit::new("upstream-transfers", self.max_concurrent.max(1)),
            turns: Mutex::default(),
        })
    }
}

impl Account {
    /// What it was built with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many transfers are under way.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.transfers.current()
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the request may go, or with the reason why it may not.
    async fn turn(&self, patience: Patience) -> Result<(), Error> {
        let patience = match patience {
            Patience::Long => self.config.wait.0,
            Patience::Short => self.config.wait.1,
        };
        let now = self.clock.now();
        let wait = {
            let mut turns = self.lock();
            if let Some(left) = turns.paused(now) {
                let detail = "the upstream limits our rate and is left alone for a while";
                return Err(limited(left, detail));
            }
            match self.config.requests_per_second {
                Some(rate) if rate > 0.0 => turns.take(rate, now, patience),
                Some(_) | None => Ok(Duration::ZERO),
            }
        };
        match wait {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                self.clock.sleep(wait).await;
                Ok(())
            }
            Err(wait) => {
                let detail = "more requests wait than 'requestsPerSecond' lets pass in time";
                Err(limited(wait, detail))
            }
        }
    }

    /// Takes note of a 429.
    fn noted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_away()
            && error.refusal == Refusal::UpstreamRateLimited
        {
            let pause = error.retry_after().unwrap_or(self.config.pause);
            self.lock().pause(self.clock.now() + pause);
        }
        result
    }
}

fn limited(wait: Duration, detail: &str) -> Error {
    let kind = super::error::Kind::Away {
        retry_after: Some(super::error::clamp(wait)),
    };
    Error::new(kind, Refusal::UpstreamRateLimited, detail)
}

/// An upstream that keeps to an account.
pub struct Budget {
    inner: Arc<dyn Upstream>,
    account: Arc<Account>,
}

impl Budget {
    /// `inner`, within `account`.
    #[must_use]
    pub fn new(inner: Arc<dyn Upstream>, account: Arc<Account>) -> Self {
        Self { inner, account }
    }
}

#[async_trait]
impl Upstream for Budget {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn token_ends(&self) -> Option<WallTime> {
        self.inner.token_ends()
    }

    async fn reach(&self) -> Reach {
        self.inner.reach().await
    }

    async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        patience: Patience,
        request: &Request,
    ) -> Result<ManifestHead, Error> {
        self.account.turn(patience).await?;
        let asked = self
            .inner
            .head_manifest(repository, reference, patience, request);
        self.account.noted(asked.await)
    }

    async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        request: &Request,
    ) -> Result<ManifestBody, Error> {
        self.account.turn(Patience::Long).await?;
        let asked = self.inner.get_manifest(repository, reference, request);
        self.account.noted(asked.await)
    }

    async fn head_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        request: &Request,
    ) -> Result<BlobHead, Error> {
        self.account.turn(Patience::Long).await?;
        let asked = self.inner.head_blob(repository, digest, request);
        self.account.noted(asked.await)
    }

    async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<BlobRange>,
        request: &Request,
    ) -> Result<BlobBody, Error> {
        let permit = self.account.transfers.acquire().await;
        self.account.turn(Patience::Long).await?;
        let asked = self.inner.get_blob(repository, digest, range, request);
        let mut body = self.account.noted(asked.await)?;
        // The permit lives as long as the stream does, read to its end or not.
        body.stream = body
            .stream
            .map(move |piece| {
                let _held = &permit;
                piece
            })
            .boxed();
        Ok(body)
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        patience: Patience,
        request: &Request,
    ) -> Result<TagPage, Error> {
        self.account.turn(patience).await?;
        let asked = self.inner.tags(repository, page, patience, request);
        self.account.noted(asked.await)
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        patience: Patience,
        request: &Request,
    ) -> Result<Referrers, Error> {
        self.account.turn(patience).await?;
        let asked = self.inner.referrers(repository, subject, patience, request);
        self.account.noted(asked.await)
    }
}

#[cfg(test)]
mod tests;
