//! Delays between attempts: exponential with full jitter, as pure arithmetic.
//!
//! The random number is an argument, so that a table can test it; who waits, how often and with what budget is the caller's
//! affair. Full jitter (anything from nothing up to the ceiling) spreads a crowd best, at the price of an occasional early retry.

use std::time::Duration;

/// How long to wait before trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling before the first retry; it doubles from there.
    pub base: Duration,
    /// No ceiling is higher than this.
    pub max: Duration,
}

impl Backoff {
    /// The delay before retry number `attempt` (counted from 0); `random` is uniform in `[0, 1)` and clamped into it.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let share = if random.is_nan() {
            1.0
        } else {
            random.clamp(0.0, 1.0)
        };
        self.ceiling(attempt).mul_f64(share)
    }

    /// The longest delay before retry number `attempt`.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(doubled).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_its_limit_and_jitter_fills_what_is_below() {
        let backoff = Backoff {
            base: Duration::from_millis(100),
            max: Duration::from_secs(30),
        };
        let cases = [
            (0, 1.0, 100),
            (0, 0.5, 50),
            (0, 0.0, 0),
            (1, 1.0, 200),
            (3, 0.25, 200),
            (8, 1.0, 25_600),
            (9, 1.0, 30_000),
            (31, 1.0, 30_000),
            (u32::MAX, 0.5, 15_000),
            (0, -3.0, 0),
            (0, 7.0, 100),
            (0, f64::NAN, 100),
        ];
        for (attempt, random, ms) in cases {
            assert_eq!(
                backoff.delay(attempt, random),
                Duration::from_millis(ms),
                "attempt {attempt}, random {random}"
            );
        }
    }
}
