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
use bytes::Bytes;
use rand::Rng;
use runtime::Clock;
use tokio::time::Instant;
use wire::{
    digest::Digest, page::Page, reference::Reference, refusal::Refusal, repository::RepositoryName,
};

use super::{
    BlobBody, BlobRange, Error, ManifestBody, ManifestHead, Patience, TagPage, Upstream,
    error::Kind,
};
use crate::request::Request;

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

/// The circuit; pure.
#[derive(Debug, Clone)]
pub enum Circuit {
    /// Everything passes; so many failures in a row so far.
    Closed(u32),
    /// Nothing passes before the next probe.
    Open {
        /// When one may pass.
        probe_at: Instant,
        /// What was seen last.
        last: Error,
    },
}

/// Whether a call may pass.
#[derive(Debug, Clone)]
pub enum Admission {
    /// It may.
    Pass,
    /// It may not, for this reason.
    Refused(Error),
}

impl Circuit {
    /// Decides about one call. A probe that is let through moves the time of the next one.
    pub fn admit(&mut self, config: &Config, now: Instant, random: f64) -> Admission {
        let Self::Open { probe_at, last } = self else {
            return Admission::Pass;
        };
        if *probe_at > now {
            let wait = super::error::clamp(*probe_at - now);
            return Admission::Refused(last.while_open(wait));
        }
        *probe_at = now + jittered(config.probe_every, random);
        Admission::Pass
    }

    /// Takes note of how a call ended.
    pub fn note(
        &mut self,
        config: &Config,
        outcome: Result<(), &Error>,
        now: Instant,
        random: f64,
    ) {
        let error = match outcome {
            Err(error) if counts(error) => error,
            Err(error) if error.is_away() || error.kind == Kind::Broken => return,
            Ok(()) | Err(_) => {
                *self = Self::Closed(0);
                return;
            }
        };
        let opens = match self {
            Self::Closed(failures) => {
                *failures += 1;
                *failures >= config.failures
            }
            Self::Open { last, .. } => {
                last.clone_from(error);
                false
            }
        };
        if opens {
            let probe_at = now + jittered(config.probe_every, random);
            let last = error.clone();
            *self = Self::Open { probe_at, last };
        }
    }
}

/// Whether an error says something about the upstream's reachability.
fn counts(error: &Error) -> bool {
    error.is_away()
        && matches!(
            error.refusal,
            Refusal::UpstreamUnavailable | Refusal::UpstreamRateLimited
        )
}

/// `random` is uniform in [0, 1).
fn jittered(base: Duration, random: f64) -> Duration {
    base.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
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
    ) -> Result<u64, Error> {
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
        request: &Request,
    ) -> Result<TagPage, Error> {
        self.admit()?;
        self.noted(self.inner.tags(repository, page, request).await)
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        request: &Request,
    ) -> Result<Bytes, Error> {
        self.admit()?;
        self.noted(self.inner.referrers(repository, subject, request).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        conformance::request,
        scripted::{Scripted, Verb},
    };

    const CONFIG: Config = Config {
        failures: 3,
        probe_every: Duration::from_secs(5),
    };

    fn passes(circuit: &mut Circuit, now: Instant) -> bool {
        matches!(circuit.admit(&CONFIG, now, 0.5), Admission::Pass)
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_in_an_interval_passes() {
        let clock = Clock::manual(0);
        let mut circuit = Circuit::Closed(0);
        let away = Error::away("refused");
        for _ in 0..3 {
            assert!(passes(&mut circuit, clock.now()));
            circuit.note(&CONFIG, Err(&away), clock.now(), 0.5);
        }
        assert!(!passes(&mut circuit, clock.now()));
        clock.advance(Duration::from_millis(4999));
        assert!(!passes(&mut circuit, clock.now()));
        clock.advance(Duration::from_millis(1));
        // The probe, and nobody beside it.
        assert!(passes(&mut circuit, clock.now()));
        assert!(!passes(&mut circuit, clock.now()));
        circuit.note(&CONFIG, Err(&away), clock.now(), 0.5);
        assert!(!passes(&mut circuit, clock.now()));
        clock.advance(Duration::from_secs(5));
        assert!(passes(&mut circuit, clock.now()));
        circuit.note(&CONFIG, Ok(()), clock.now(), 0.5);
        assert!(passes(&mut circuit, clock.now()));
        assert!(matches!(circuit, Circuit::Closed(0)));
    }

    #[test]
    fn answers_of_any_kind_close_it_and_what_was_not_asked_says_nothing() {
        let now = Clock::manual(0).now();
        let secret = Error::new(
            Kind::Away { retry_after: None },
            Refusal::SecretUnavailable,
            "",
        );
        let cases = [
            (Error::gone(""), 0),
            (Error::denied(""), 0),
            (Error::wrong(""), 0),
            (Error::looped(""), 0),
            (secret, 2),
            (Error::broken(""), 2),
        ];
        for (error, left) in cases {
            let mut circuit = Circuit::Closed(2);
            circuit.note(&CONFIG, Err(&error), now, 0.5);
            assert!(
                matches!(circuit, Circuit::Closed(n) if n == left),
                "{error}"
            );
        }
    }

    #[test]
    fn jitter_spreads_probes_by_a_fifth_either_way() {
        let base = Duration::from_secs(5);
        assert_eq!(jittered(base, 0.0), Duration::from_secs(4));
        assert_eq!(jittered(base, 1.0), Duration::from_secs(6));
    }

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
        let error = breaker.tags(&repository, &Page::default(), &request).await;
        let error = error.unwrap_err();
        assert!(error.detail.contains("refused"), "{error}");
        assert!(error.retry_after().unwrap() <= Duration::from_secs(6));
        scripted.heal();
        clock.advance(Duration::from_secs(6));
        // Even "no such repository" is an answer.
        let tags = breaker.tags(&repository, &Page::default(), &request).await;
        assert_eq!(tags.unwrap_err().kind, Kind::Gone);
        assert_eq!(scripted.total(), 4);
        let _ = breaker.tags(&repository, &Page::default(), &request).await;
        assert_eq!(scripted.total(), 5);
    }
}
