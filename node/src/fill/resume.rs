//! Whether and how a broken transfer goes on; pure.
//!
//! A break is continued from the next byte, a bounded number of times. An error status was retried by the upstream's own
//! code already and is the end: otherwise every tier would multiply the requests of the one below. Source:
//! `spec/pull-through.md` step 5 "Resume" and "Time and failure, in numbers".

use std::time::Duration;

use runtime::Backoff;

use super::Error;
use crate::upstream::{self, error::Kind};

/// The longest that a transfer waits for an upstream that asks for patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often, and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) resumes: u32,
    pub(super) backoff: Backoff,
}

/// What to do about a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the rest after this time.
    Continue { after: Duration },
    /// End with the error.
    GiveUp,
}

/// Decides after a transfer broke, or could not be continued, `resumed` times so far; `random` is uniform in `[0, 1)`.
pub(super) fn after(error: &upstream::Error, resumed: u32, policy: Policy, random: f64) -> Step {
    if resumed >= policy.resumes {
        return Step::GiveUp;
    }
    let delay = policy.backoff.delay(resumed, random);
    match error.kind {
        Kind::Broken => Step::Continue { after: delay },
        Kind::Away { retry_after } if error.status.is_none() => match retry_after {
            Some(wait) if wait > PATIENCE => Step::GiveUp,
            Some(wait) => Step::Continue {
                after: delay.max(wait),
            },
            None => Step::Continue { after: delay },
        },
        Kind::Away { .. }
        | Kind::Gone
        | Kind::Denied
        | Kind::Recalled
        | Kind::Wrong
        | Kind::Loop => Step::GiveUp,
    }
}

/// Checks an answer to a request for the bytes from `start` on: how many of its bytes come before `start` and are to be
/// skipped (all of them when the upstream ignored the range).
///
/// # Errors
/// `Size` when it is not as long as was known before, `Upstream` when it begins behind `start`.
pub(super) fn skip(start: u64, offset: u64, size: u64, known: Option<u64>) -> Result<u64, Error> {
    if let Some(expected) = known.filter(|known| *known != size) {
        return Err(Error::Size {
            expected,
            got: size,
        });
    }
    start.checked_sub(offset).ok_or_else(|| {
        let detail = format!("asked for the bytes from {start}, got those from {offset}");
        Error::Upstream(upstream::Error::wrong(detail))
    })
}

/// How much of a leftover of `length` bytes is used. Never all of it: the upstream is asked for at least a byte, which is also
/// how this rule's right to the content is confirmed. Little is not worth it.
pub(super) fn usable(length: u64, known: Option<u64>, small: u64) -> u64 {
    let fits = known.is_none_or(|size| length <= size);
    if fits && length > small {
        length - 1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::refusal::Refusal;

    const POLICY: Policy = Policy {
        resumes: 5,
        backoff: Backoff {
            base: Duration::from_secs(1),
            max: Duration::from_secs(4),
        },
    };

    fn error(kind: Kind, status: Option<u16>) -> upstream::Error {
        upstream::Error {
            kind,
            refusal: Refusal::UpstreamUnavailable,
            detail: String::new(),
            told: String::new(),
            status,
            failed_at: None,
            recalled: None,
        }
    }

    #[test]
    fn breaks_are_continued_a_bounded_number_of_times_and_answers_are_final() {
        let away = |seconds: Option<u64>| Kind::Away {
            retry_after: seconds.map(Duration::from_secs),
        };
        let wait = |ms| Step::Continue {
            after: Duration::from_millis(ms),
        };
        let cases = [
            (error(Kind::Broken, None), 0, wait(500)),
            (error(Kind::Broken, Some(206)), 1, wait(1000)),
            (error(Kind::Broken, None), 4, wait(2000)),
            (error(Kind::Broken, None), 5, Step::GiveUp),
            (error(away(None), None), 0, wait(500)),
            (error(away(Some(3)), None), 0, wait(3000)),
            (error(away(Some(31)), None), 0, Step::GiveUp),
            (error(away(None), Some(503)), 0, Step::GiveUp),
            (error(away(Some(1)), Some(429)), 0, Step::GiveUp),
            (error(Kind::Gone, Some(404)), 0, Step::GiveUp),
            (error(Kind::Denied, Some(403)), 0, Step::GiveUp),
            (error(Kind::Wrong, Some(416)), 0, Step::GiveUp),
            (error(Kind::Loop, None), 0, Step::GiveUp),
        ];
        for (error, resumed, expected) in cases {
            assert_eq!(
                after(&error, resumed, POLICY, 0.5),
                expected,
                "{error:?} after {resumed}"
            );
        }
    }

    #[test]
    fn an_answer_that_ignores_the_range_is_skipped_into() {
        let cases = [
            (0, 0, 100, None, Some(0)),
            (40, 40, 100, Some(100), Some(0)),
            (40, 0, 100, Some(100), Some(40)),
            (40, 30, 100, Some(100), Some(10)),
            (40, 41, 100, Some(100), None),
            (40, 40, 101, Some(100), None),
        ];
        for (start, offset, size, known, expected) in cases {
            assert_eq!(
                skip(start, offset, size, known).ok(),
                expected,
                "{start} {offset} {size} {known:?}"
            );
        }
    }

    #[test]
    fn a_leftover_is_used_up_to_its_last_byte_when_it_fits() {
        let cases = [
            (0, None, 0),
            (10, None, 0),
            (11, None, 10),
            (11, Some(11), 10),
            (12, Some(11), 0),
            (50, Some(100), 49),
        ];
        for (length, known, expected) in cases {
            assert_eq!(usable(length, known, 10), expected, "{length} of {known:?}");
        }
    }
}
