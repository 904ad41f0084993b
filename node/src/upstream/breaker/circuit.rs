//! The circuit's state machine; pure.

use std::time::Duration;

use tokio::time::Instant;
use wire::refusal::Refusal;

use super::Config;
use crate::upstream::{
    Error,
    error::{Kind, clamp},
};

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
            let wait = clamp(*probe_at - now);
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

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

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
}
