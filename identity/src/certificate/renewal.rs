//! When certificates begin, end, are renewed, and are worth nothing before their end. All pure.

use std::time::Duration;

use wire::time::WallTime;

/// How long a node's certificate lasts.
pub const LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How far a certificate is backdated, since clocks differ.
const BACKDATE: Duration = Duration::from_secs(60);

/// When a certificate issued `now` begins, in whole seconds: a minute ago, but after the last revocation of that node.
#[must_use]
pub fn begins(now: WallTime, revoked: Option<WallTime>) -> WallTime {
    let backdated = now.minus(BACKDATE).seconds();
    let after = revoked.map_or(i64::MIN, |at| at.seconds().saturating_add(1));
    WallTime(backdated.max(after).saturating_mul(1_000))
}

/// Whether a certificate that began at `begins` fell to the revocation of its node at `revoked`.
#[must_use]
pub fn is_revoked(begins: WallTime, revoked: Option<WallTime>) -> bool {
    revoked.is_some_and(|at| begins < at)
}

/// When to renew a certificate: at half of its life, ten percent earlier or later; `random` is uniform in `[0, 1)`.
#[must_use]
pub fn renew_at(begins: WallTime, ends: WallTime, random: f64) -> WallTime {
    let life = Duration::from_millis(u64::try_from(ends.0.saturating_sub(begins.0)).unwrap_or(0));
    let share = 0.45
        + 0.1
            * if random.is_nan() {
                0.5
            } else {
                random.clamp(0.0, 1.0)
            };
    begins.plus(life.mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_given_after_a_revocation_outlives_it_and_an_older_one_does_not() {
        let revoked = WallTime(1_000_500);
        let cases = [
            (1_000_000, true),  // issued half a second before
            (1_000_500, true), // backdated certificates of that very moment, issued without knowing
            (1_060_000, true), // a minute later, still without knowing
            (1_062_000, false), // began after it by itself
        ];
        for (issued, expected) in cases {
            let unaware = begins(WallTime(issued), None);
            assert_eq!(is_revoked(unaware, Some(revoked)), expected, "{issued}");
            let aware = begins(WallTime(issued), Some(revoked));
            assert!(!is_revoked(aware, Some(revoked)), "{issued}");
        }
        assert!(!is_revoked(WallTime(0), None));
    }

    #[test]
    fn renewal_is_at_half_life_give_or_take_ten_percent() {
        let ends = WallTime(100_000);
        for (random, at) in [
            (0.0, 45_000),
            (0.5, 50_000),
            (1.0, 55_000),
            (f64::NAN, 50_000),
            (7.0, 55_000),
        ] {
            assert_eq!(
                renew_at(WallTime(0), ends, random),
                WallTime(at),
                "{random}"
            );
        }
        assert_eq!(
            renew_at(ends, WallTime(0), 0.5),
            ends,
            "a life that ends before it begins"
        );
    }
}
