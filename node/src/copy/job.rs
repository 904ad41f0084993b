//! What becomes of a copy job after a try; pure.
//!
//! Jobs are tried for ever, with growing delays, and say why they are not done. Only a job whose repository no rule covers any
//! more is given up. What the upstream does not have is not asked for at every turn but when the tag is next checked.

use std::time::Duration;

use runtime::Backoff;
use topology::model::Rule;
use uuid::Uuid;
use wire::{digest::Digest, name::RuleName, time::WallTime};

use super::transfer::Error;
use crate::store::metadata::{Job, JobId};

/// When a job is looked at again that only waits for what the upstream lacks.
pub const LACKING: Duration = Duration::from_secs(60 * 60);
/// When a job is looked at again whose rule is not in force.
pub const PARKED: Duration = Duration::from_secs(5 * 60);
/// How soon a check of the tag may ask again for what the upstream did not have.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);
/// The most of an error that is kept, in characters.
const MAX_ERROR: usize = 500;

/// What to do with a job, by the rules in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Work on it.
    Run,
    /// Keep it: its rule is switched off, or another rule fills the repository now.
    Park(&'static str),
    /// Delete it: no rule covers the repository.
    Drop,
}

/// What the rule that covers the job's repository, if any, means for it.
#[must_use]
pub fn standing(job_rule: &RuleName, covering: Option<&Rule>) -> Standing {
    match covering {
        None => Standing::Drop,
        Some(rule) if !rule.enabled => Standing::Park("its rule is disabled"),
        Some(rule) if rule.name != *job_rule => {
            Standing::Park("another rule covers its repository now")
        }
        Some(_) => Standing::Run,
    }
}

/// Whether it is to be tried. A time further away than any delay is from a clock that was wrong.
#[must_use]
pub fn is_due(job: &Job, now: WallTime) -> bool {
    job.due_at <= now || job.due_at > now.plus(LACKING * 2)
}

/// The job after a try that failed; `random` is uniform in `[0, 1)`.
#[must_use]
pub fn failed(
    job: Job,
    error: &str,
    retry_after: Option<Duration>,
    now: WallTime,
    backoff: Backoff,
    random: f64,
) -> Job {
    let delay = backoff.delay(job.attempts, 0.5 + random / 2.0);
    let delay = delay.max(retry_after.unwrap_or_default());
    Job {
        attempts: job.attempts.saturating_add(1),
        due_at: now.plus(delay),
        last_error: Some(cut(error)),
        ..job
    }
}

/// The job while its rule is not in force: no try was made.
#[must_use]
pub fn parked(job: Job, why: &str, now: WallTime) -> Job {
    Job {
        due_at: now.plus(PARKED),
        last_error: Some(cut(why)),
        ..job
    }
}

/// The job of a manifest that the upstream lacks something for. Its age is that of the answer.
#[must_use]
pub fn lacking(job: Job, missing: Vec<Digest>, now: WallTime) -> Job {
    let last_error = Some(format!(
        "the upstream does not have {} of its parts",
        missing.len()
    ));
    Job {
        missing,
        last_error,
        attempts: 0,
        created_at: now,
        due_at: now.plus(LACKING),
        ..job
    }
}

/// What is left of a job whose image is complete, to fetch later what it still lacks: no tag waits for it.
#[must_use]
pub fn rest(job: Job, id: Uuid) -> Job {
    Job {
        id: JobId(id),
        tags: Vec::new(),
        ..job
    }
}

/// The job after its tag was checked at `now`, if that is a reason to ask again.
#[must_use]
pub fn asked_again(job: Job, now: WallTime) -> Option<Job> {
    let settled = job.created_at.age(now).is_some_and(|age| age >= ASK_AGAIN);
    let waits = !job.missing.is_empty() && job.due_at > now && settled;
    waits.then_some(Job { due_at: now, ..job })
}

/// Whether the failure that was a job's `attempts`-th is told as an event: one that lasts, one of our own store sooner, and wrong
/// bytes at once.
pub(super) fn alarms(attempts: u32, lasting: u32, error: &Error) -> bool {
    let soon = match error {
        Error::Wrong(_) => 1,
        Error::Store(_) | Error::NoRoom(_) => 2,
        Error::Upstream(_) | Error::Other(_) => lasting,
    };
    attempts == soon || attempts == lasting
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metadata::record::RequestInfo;

    const NOW: WallTime = WallTime(1_000_000_000);

    fn job() -> Job {
        Job {
            id: JobId(Uuid::nil()),
            repository: "mirror/app".parse().unwrap(),
            rule: "mirror".parse().unwrap(),
            root: Digest::sha256(b"root"),
            tags: vec!["1".parse().unwrap()],
            platform: None,
            attempts: 0,
            due_at: NOW,
            created_at: NOW,
            last_error: None,
            missing: Vec::new(),
            request: RequestInfo::default(),
        }
    }

    #[test]
    fn failures_are_tried_again_later_and_later_up_to_a_limit_and_for_ever() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            max: Duration::from_secs(300),
        };
        let cases = [
            (0, None, 0.0, 500),
            (0, None, 1.0, 1_000),
            (3, None, 0.0, 4_000),
            (30, None, 1.0, 300_000),
            (u32::MAX, None, 0.0, 150_000),
            (0, Some(7), 0.5, 7_000),
            (30, Some(7), 1.0, 300_000),
        ];
        for (attempts, retry_after, random, ms) in cases {
            let tried = Job { attempts, ..job() };
            let after = failed(
                tried,
                "no",
                retry_after.map(Duration::from_secs),
                NOW,
                backoff,
                random,
            );
            assert_eq!(after.due_at.0 - NOW.0, ms, "{attempts} {retry_after:?}");
            assert_eq!(
                (after.attempts, after.last_error.as_deref()),
                (attempts.saturating_add(1), Some("no"))
            );
        }
        assert_eq!(
            failed(job(), &"x".repeat(9000), None, NOW, backoff, 0.0)
                .last_error
                .unwrap()
                .len(),
            MAX_ERROR
        );
    }

    #[test]
    fn due_is_what_was_due_before_and_what_no_sane_clock_wrote() {
        let cases = [
            (0, true),
            (-5, true),
            (1, false),
            (3_600_000, false),
            (7_200_001, true),
        ];
        for (ahead, due) in cases {
            assert_eq!(
                is_due(
                    &Job {
                        due_at: WallTime(NOW.0 + ahead),
                        ..job()
                    },
                    NOW
                ),
                due,
                "{ahead}"
            );
        }
    }

    #[test]
    fn what_the_upstream_lacked_is_asked_for_again_when_the_tag_is_checked_but_not_at_every_check()
    {
        let waiting = lacking(job(), vec![Digest::sha256(b"a")], NOW);
        assert!(!is_due(&waiting, NOW));
        assert_eq!(
            asked_again(waiting.clone(), NOW.plus(Duration::from_secs(9))),
            None
        );
        let again = asked_again(waiting, NOW.plus(ASK_AGAIN)).unwrap();
        assert!(is_due(&again, NOW.plus(ASK_AGAIN)));
        let failing = Job {
            due_at: NOW.plus(PARKED),
            ..job()
        };
        assert_eq!(
            asked_again(failing, NOW.plus(ASK_AGAIN)),
            None,
            "back-off is not cut short"
        );
    }
}
