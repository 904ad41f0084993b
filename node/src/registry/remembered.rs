//! What a registry keeps in mind for a short while, and forgets at a restart without harm.
//!
//! True 404s (10 s), forced checks (1 s), what was told of stale tags, since when an upstream refuses a repository. All of it
//! is bounded, and all times are the clock's, so that tests move them. Content never depends on it: what is forgotten is
//! asked for again.

use std::time::Duration;

use moka::sync::Cache;
use runtime::Clock;
use tokio::time::Instant;
use wire::{
    name::RuleName,
    reference::{Reference, Tag},
    repository::RepositoryName,
    time::WallTime,
};

use crate::upstream;

/// How long a 404 is remembered where a test does not care. Source of the default: `spec/pull-through.md` step 4.
#[cfg(test)]
pub(super) const ABSENT_FOR: Duration = Duration::from_secs(10);
/// How often a tag's check can be forced.
const FORCED_EVERY: Duration = Duration::from_secs(1);
/// How often serving one tag stale is told as an event.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// The most entries of each kind.
const ENTRIES: u64 = 10_000;

/// How an upstream was asked; the answers to one kind say nothing about another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    HeadManifest,
    GetManifest,
    HeadBlob,
    GetBlob,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Absent {
    rule: RuleName,
    source: RepositoryName,
    reference: Reference,
    asked: Asked,
}

/// All that is remembered.
pub(super) struct Remembered {
    clock: Clock,
    absent_for: Duration,
    absent: Cache<Absent, (Instant, upstream::Error)>,
    forced: Cache<(RepositoryName, Tag), Instant>,
    told: Cache<(RepositoryName, Tag), Instant>,
    denied: Cache<(RuleName, RepositoryName), WallTime>,
}

impl Remembered {
    pub(super) fn new(clock: Clock, absent_for: Duration) -> Self {
        Self {
            clock,
            absent_for,
            absent: Cache::new(ENTRIES),
            forced: Cache::new(ENTRIES),
            told: Cache::new(ENTRIES),
            denied: Cache::new(ENTRIES),
        }
    }

    /// The 404 that was the answer to the same question within the last 10 s.
    pub(super) fn absent(
        &self,
        rule: &RuleName,
        source: &RepositoryName,
        reference: &Reference,
        asked: Asked,
    ) -> Option<upstream::Error> {
        let key = absent_key(rule, source, reference, asked);
        let (until, error) = self.absent.get(&key)?;
        (self.clock.now() < until).then_some(error)
    }

    /// Remembers a 404; not of `sha256-…` tags, under which signatures appear at any moment.
    pub(super) fn is_absent(
        &self,
        rule: &RuleName,
        source: &RepositoryName,
        reference: &Reference,
        asked: Asked,
        error: &upstream::Error,
    ) {
        let appears_any_time = match reference {
            Reference::Tag(tag) => tag.is_digest_scheme(),
            Reference::Digest(_) => false,
        };
        if error.kind == upstream::error::Kind::Gone && !appears_any_time {
            let key = absent_key(rule, source, reference, asked);
            let until = self.clock.now() + self.absent_for;
            self.absent.insert(key, (until, error.clone()));
        }
    }

    /// Something was seen to exist after all, however it was asked for.
    pub(super) fn exists(&self, rule: &RuleName, source: &RepositoryName, reference: &Reference) {
        use Asked::{GetBlob, GetManifest, HeadBlob, HeadManifest};
        for asked in [HeadManifest, GetManifest, HeadBlob, GetBlob] {
            self.absent
                .invalidate(&absent_key(rule, source, reference, asked));
        }
    }

    /// Forgets every 404.
    pub(super) fn forget_absent(&self) {
        self.absent.invalidate_all();
    }

    /// Whether a check may be forced now; says yes at most once a second per tag.
    pub(super) fn may_force(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        self.is_due(&self.forced, repository, tag, FORCED_EVERY)
    }

    /// Whether serving this tag stale is to be told now; says yes at most once a minute per tag.
    pub(super) fn may_tell_stale(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        self.is_due(&self.told, repository, tag, TOLD_EVERY)
    }

    fn is_due(
        &self,
        times: &Cache<(RepositoryName, Tag), Instant>,
        repository: &RepositoryName,
        tag: &Tag,
        every: Duration,
    ) -> bool {
        let now = self.clock.now();
        // The upsert is atomic per key: of many that ask at once, one is told yes.
        let mut due = false;
        let key = (repository.clone(), tag.clone());
        times.entry(key).and_compute_with(|entry| match entry {
            Some(last) if now.saturating_duration_since(*last.value()) < every => {
                moka::ops::compute::Op::Nop
            }
            Some(_) | None => {
                due = true;
                moka::ops::compute::Op::Put(now)
            }
        });
        due
    }

    /// The upstream refuses a repository: since when it does.
    pub(super) fn denied_since(
        &self,
        rule: &RuleName,
        repository: &RepositoryName,
        now: WallTime,
    ) -> WallTime {
        let key = (rule.clone(), repository.clone());
        self.denied.entry(key).or_insert(now).into_value()
    }

    /// Since when the upstream refuses a repository, as far as that was noted.
    pub(super) fn known_denied(
        &self,
        rule: &RuleName,
        repository: &RepositoryName,
    ) -> Option<WallTime> {
        self.denied.get(&(rule.clone(), repository.clone()))
    }

    /// The upstream refuses a repository no longer.
    pub(super) fn allowed(&self, rule: &RuleName, repository: &RepositoryName) {
        self.denied.invalidate(&(rule.clone(), repository.clone()));
    }
}

fn absent_key(
    rule: &RuleName,
    source: &RepositoryName,
    reference: &Reference,
    asked: Asked,
) -> Absent {
    Absent {
        rule: rule.clone(),
        source: source.clone(),
        reference: reference.clone(),
        asked,
    }
}

#[cfg(test)]
mod tests {
    use wire::digest::Digest;

    use super::*;
    use crate::upstream::Error;

    fn names() -> (RuleName, RepositoryName) {
        ("rule".parse().unwrap(), "library/a".parse().unwrap())
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_true_404_is_remembered_for_ten_seconds_and_for_its_method() {
        let clock = Clock::manual(0);
        let remembered = Remembered::new(clock.clone(), ABSENT_FOR);
        let (rule, source) = names();
        let reference = Reference::Tag(tag("1"));
        let ask = |asked| {
            remembered
                .absent(&rule, &source, &reference, asked)
                .is_some()
        };
        for error in [
            Error::away("503"),
            Error::denied("403"),
            Error::wrong("html"),
        ] {
            remembered.is_absent(&rule, &source, &reference, Asked::HeadManifest, &error);
        }
        assert!(!ask(Asked::HeadManifest));
        let gone = Error::gone("404");
        remembered.is_absent(&rule, &source, &reference, Asked::HeadManifest, &gone);
        assert!(ask(Asked::HeadManifest) && !ask(Asked::GetManifest));
        clock.advance(Duration::from_millis(9_999));
        assert!(ask(Asked::HeadManifest));
        clock.advance(Duration::from_millis(1));
        assert!(!ask(Asked::HeadManifest));
    }

    #[test]
    fn what_becomes_known_clears_its_404() {
        let remembered = Remembered::new(Clock::manual(0), ABSENT_FOR);
        let (rule, source) = names();
        let reference = Reference::Digest(Digest::sha256(b"a"));
        let gone = Error::gone("404");
        remembered.is_absent(&rule, &source, &reference, Asked::GetBlob, &gone);
        remembered.exists(&rule, &source, &reference);
        assert!(
            remembered
                .absent(&rule, &source, &reference, Asked::GetBlob)
                .is_none()
        );
    }

    #[test]
    fn a_404_of_another_topology_counts_no_more() {
        let remembered = Remembered::new(Clock::manual(0), ABSENT_FOR);
        let (rule, source) = names();
        let reference = Reference::Tag(tag("1"));
        let gone = Error::gone("404");
        let ask = || {
            remembered
                .absent(&rule, &source, &reference, Asked::GetManifest)
                .is_some()
        };
        remembered.is_absent(&rule, &source, &reference, Asked::GetManifest, &gone);
        assert!(ask());
        remembered.forget_absent();
        assert!(!ask());
        remembered.is_absent(&rule, &source, &reference, Asked::GetManifest, &gone);
        assert!(ask());
    }

    #[test]
    fn a_signatures_absence_is_never_remembered() {
        let remembered = Remembered::new(Clock::manual(0), ABSENT_FOR);
        let (rule, source) = names();
        let reference = Reference::Tag(tag("sha256-abc.sig"));
        let gone = Error::gone("404");
        remembered.is_absent(&rule, &source, &reference, Asked::HeadManifest, &gone);
        assert!(
            remembered
                .absent(&rule, &source, &reference, Asked::HeadManifest)
                .is_none()
        );
    }

    #[test]
    fn a_check_is_forced_at_most_once_a_second_per_tag() {
        let clock = Clock::manual(0);
        let remembered = Remembered::new(clock.clone(), ABSENT_FOR);
        let (_, repository) = names();
        assert!(remembered.may_force(&repository, &tag("1")));
        assert!(remembered.may_force(&repository, &tag("2")));
        assert!(!remembered.may_force(&repository, &tag("1")));
        clock.advance(Duration::from_millis(999));
        assert!(!remembered.may_force(&repository, &tag("1")));
        clock.advance(Duration::from_millis(1));
        assert!(remembered.may_force(&repository, &tag("1")));
    }

    #[test]
    fn a_refusal_is_counted_from_its_beginning_until_it_ends() {
        let remembered = Remembered::new(Clock::manual(0), ABSENT_FOR);
        let (rule, repository) = names();
        assert_eq!(
            remembered.denied_since(&rule, &repository, WallTime(5)),
            WallTime(5)
        );
        assert_eq!(
            remembered.denied_since(&rule, &repository, WallTime(9)),
            WallTime(5)
        );
        remembered.allowed(&rule, &repository);
        assert_eq!(
            remembered.denied_since(&rule, &repository, WallTime(9)),
            WallTime(9)
        );
    }
}
