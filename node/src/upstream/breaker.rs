//! The circuit of one (rule, upstream): open after failures in a row, so that what is stored is served at once and the rest is
//! refused at once, with one probe now and then.
//!
//! Only "cannot be asked" counts, and only when the upstream is what could not be asked: a secret that cannot be read is found out
//! without asking anybody. *Denied*, *gone* and *wrong* are answers, and close the circuit. A probe whose caller goes away needs no
//! clean-up: the next one is due an interval after it began. Source: `spec/pull-through.md`, "Time and failure"; T20.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rand::Rng;
use runtime::Clock;
use wire::{
    digest::Digest, page::Page, reference::Reference, repository::RepositoryName, time::WallTime,
};

pub use self::circuit::{Admission, Circuit};
use super::{
    BlobBody, BlobHead, BlobRange, Error, ManifestBody, ManifestHead, Patience, Reach, Referrers,
    TagPage, Upstream,
};
use crate::request::Request;

mod circuit;

/// When it opens and how often it probes.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Between probes, before jitter of a fifth either way.
    pub probe_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            failures: 5,
            probe_every: Duration::from_secs(5),
        }
    }
}

/// An upstream behind its circuit.
pub struct Breaker {
    inner: Arc<dyn Upstream>,
    config: Config,
    clock: Clock,
    circuit: Mutex<Circuit>,
}

impl Config {
    /// The circuit around `inner`, closed.
    #[must_use]
    pub fn build(self, inner: Arc<dyn Upstream>, clock: Clock) -> Breaker {
        Breaker {
            inner,
            config: self,
            clock,
            circuit: Mutex::new(Circuit::Closed(0)),
        }
    }
}

impl Breaker {
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> Result<(), Error> {
        let random = rand::rng().random();
        match self.lock().admit(&self.config, self.clock.now(), random) {
            Admission::Pass => Ok(()),
            Admission::Refused(error) => Err(error),
        }
    }

    fn noted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        let random = rand::rng().random();
        let outcome = result.as_ref().map(|_| ());
        self.lock()
            .note(&self.config, outcome, self.clock.now(), random);
        result
    }
}

#[async_trait]
impl Upstream for Breaker {
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
        self.admit()?;
        let asked = self
            .inner
            .head_manifest(repository, reference, patience, request);
        self.noted(asked.await)
    }

    async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        request: &Request,
    ) -> Result<ManifestBody, Error> {
        self.admit()?;
        self.noted(
            self.inner
                .get_manifest(repository, reference, request)
                .await,
        )
    }

    async fn head_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        request: &Request,
    ) -> Result<BlobHead, Error> {
        self.admit()?;
        self.noted(self.inner.head_blob(repository, digest, request).await)
    }

    async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<BlobRange>,
        request: &Request,
    ) -> Result<BlobBody, Error> {
        self.admit()?;
        self.noted(
            self.inner
                .get_blob(repository, digest, range, request)
                .await,
        )
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        patience: Patience,
        request: &Request,
    ) -> Result<TagPage, Error> {
        self.admit()?;
        self.noted(self.inner.tags(repository, page, patience, request).await)
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        patience: Patience,
        request: &Request,
    ) -> Result<Referrers, Error> {
        self.admit()?;
        self.noted(
            self.inner
                .referrers(repository, subject, patience, request)
                .await,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        conformance::request,
        error::Kind,
        scripted::{Scripted, Verb},
    };

    const CONFIG: Config = Config {
        failures: 3,
        probe_every: Duration::from_secs(5),
    };

    #[tokio::test]
    async fn while_it_is_open_the_upstream_is_left_alone() {
        let clock = Clock::manual(0);
        let scripted = Scripted::new("origin");
        scripted.fail(Verb::HeadManifest, usize::MAX, Error::away("refused"));
        let breaker = CONFIG.build(Arc::<Scripted>::clone(&scripted), clock.clone());
        let (repository, tag, request) = ("a/b".parse().unwrap(), "1".parse().unwrap(), request());
        for _ in 0..50 {
            let head = breaker.head_manifest(&repository, &tag, Patience::Short, &request);
            assert!(head.await.unwrap_err().is_away());
        }
        assert_eq!(scripted.total(), 3);
        let error = breaker
            .tags(&repository, &Page::default(), Patience::Long, &request)
            .await;
        let error = error.unwrap_err();
        assert!(error.detail.contains("refused"), "{error}");
        assert!(error.retry_after().unwrap() <= Duration::from_secs(6));
        scripted.heal();
        clock.advance(Duration::from_secs(6));
        // Even "no such repository" is an answer.
        let tags = breaker
            .tags(&repository, &Page::default(), Patience::Long, &request)
            .await;
        assert_eq!(tags.unwrap_err().kind, Kind::Gone);
        assert_eq!(scripted.total(), 4);
        let _ = breaker
            .tags(&repository, &Page::default(), Patience::Long, &request)
            .await;
        assert_eq!(scripted.total(), 5);
    }
}
