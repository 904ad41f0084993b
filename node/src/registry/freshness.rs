//! May this tag record be served at `now` without asking the upstream? Pure.
//!
//! What a record may not do by age it may still do when the upstream cannot be asked: that is `verdict`'s. A caller who
//! forces the check does not come here at all.

use std::time::Duration;

use topology::model::rule::{Check, Freshness as Policy};
use wire::time::WallTime;

use crate::store::metadata::TagRecord;

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Serve it.
    Serve {
        /// For how long it stays so; `None` for ever.
        ttl: Option<Duration>,
    },
    /// Ask the upstream first.
    Check,
}

/// Decides whether a stored tag record may be served without asking the upstream.
///
/// `record.checked_at` and `now` are wall time; a check in the future counts as none. `policy.check` is `always`, `never` or
/// a duration; `policy.immutable` globs apply once the copy is complete. Tags of the `sha256-…` scheme name what changes
/// beside an immutable digest (signatures), so only `never` keeps them from being checked. Never fails. Source:
/// `spec/pull-through.md` step 4, `spec/topology.md` `freshness`, `reference/clients-and-peers.md` section 4.
#[must_use]
pub fn decide(record: &TagRecord, policy: &Policy, now: WallTime) -> Freshness {
    if policy.check == Check::Never {
        return Freshness::Serve { ttl: None };
    }
    if record.tag.is_digest_scheme() {
        return Freshness::Check;
    }
    let complete = record.complete.as_ref() == Some(&record.current);
    if complete
        && policy
            .immutable
            .iter()
            .any(|glob| glob.matches(record.tag.as_str()))
    {
        return Freshness::Serve { ttl: None };
    }
    match policy.check {
        Check::Never => Freshness::Serve { ttl: None },
        Check::Always => Freshness::Check,
        Check::After(limit) => within(record.checked_at, limit, now),
    }
}

fn within(checked_at: WallTime, limit: Duration, now: WallTime) -> Freshness {
    match checked_at.age(now).and_then(|age| limit.checked_sub(age)) {
        Some(left) if !left.is_zero() => Freshness::Serve { ttl: Some(left) },
        Some(_) | None => Freshness::Check,
    }
}

/// How long a record stays fresh that was checked at `checked_at`, for `ttl` in `Cache-Status`; `None` when for ever, zero
/// or less when it must be checked on every pull.
#[must_use]
pub fn ttl(policy: &Policy, checked_at: WallTime, now: WallTime) -> Option<i64> {
    match policy.check {
        Check::Never => None,
        Check::Always => Some(0),
        Check::After(limit) => Some(
            checked_at
                .plus(limit)
                .0
                .saturating_sub(now.0)
                .div_euclid(1000),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metadata::{Origin, Version};
    use wire::digest::Digest;

    const NOW: WallTime = WallTime(1_000_000_000);

    fn record(tag: &str, complete: bool, checked_secs_ago: i64) -> TagRecord {
        let current = Version {
            digest: Digest::sha256(b"a"),
            media_type: "t".into(),
            size: 1,
        };
        TagRecord {
            repository: "r".parse().unwrap(),
            tag: tag.parse().unwrap(),
            complete: complete.then(|| current.clone()),
            current,
            checked_at: WallTime(NOW.0 - checked_secs_ago * 1000),
            observed_at: WallTime(0),
            origin: Origin::Filled("rule".parse().unwrap()),
        }
    }

    fn policy(check: Check, immutable: &[&str]) -> Policy {
        let immutable = immutable.iter().map(|glob| glob.parse().unwrap()).collect();
        Policy {
            check,
            immutable,
            ..Policy::default()
        }
    }

    #[test]
    fn a_record_is_served_as_long_as_its_rule_allows() {
        let after = |secs| Check::After(Duration::from_secs(secs));
        let serve = |secs| Freshness::Serve {
            ttl: Some(Duration::from_secs(secs)),
        };
        let forever = Freshness::Serve { ttl: None };
        let check = Freshness::Check;
        let signature = "sha256-abc.sig";
        let cases = [
            (
                "always asks, however young",
                record("1", true, 0),
                policy(Check::Always, &[]),
                check,
            ),
            (
                "never asks again",
                record("1", false, 1 << 20),
                policy(Check::Never, &[]),
                forever,
            ),
            (
                "never, checked in the future",
                record("1", false, -60),
                policy(Check::Never, &[]),
                forever,
            ),
            (
                "younger than the duration",
                record("1", false, 10),
                policy(after(30), &[]),
                serve(20),
            ),
            (
                "just as old",
                record("1", true, 30),
                policy(after(30), &[]),
                check,
            ),
            (
                "older",
                record("1", true, 31),
                policy(after(30), &[]),
                check,
            ),
            (
                "checked in the future",
                record("1", true, -1),
                policy(after(30), &[]),
                check,
            ),
            (
                "immutable and complete",
                record("v1", true, 1 << 20),
                policy(Check::Always, &["v*"]),
                forever,
            ),
            (
                "immutable, not complete",
                record("v1", false, 1),
                policy(Check::Always, &["v*"]),
                check,
            ),
            (
                "immutable, not complete, young",
                record("v1", false, 1),
                policy(after(30), &["v*"]),
                serve(29),
            ),
            (
                "another tag than the immutable ones",
                record("w1", true, 1),
                policy(Check::Always, &["v*"]),
                check,
            ),
            (
                "a signature, young",
                record(signature, true, 1),
                policy(after(30), &[]),
                check,
            ),
            (
                "a signature, immutable",
                record(signature, true, 1),
                policy(after(30), &["*"]),
                check,
            ),
            (
                "a signature, never",
                record(signature, true, 1),
                policy(Check::Never, &[]),
                forever,
            ),
        ];
        for (case, record, policy, expected) in cases {
            assert_eq!(decide(&record, &policy, NOW), expected, "{case}");
        }
    }

    #[test]
    fn an_immutable_tag_whose_newer_version_is_not_complete_is_checked() {
        let mut record = record("v1", true, 1);
        record.current.digest = Digest::sha256(b"b");
        assert_eq!(
            decide(&record, &policy(Check::Always, &["v*"]), NOW),
            Freshness::Check
        );
    }

    #[test]
    fn the_parents_age_counts_as_ours() {
        // The parent said Age: 20, so the record was entered as checked 20 s before its HEAD began.
        let record = record("1", true, 20);
        let expected = Freshness::Serve {
            ttl: Some(Duration::from_secs(10)),
        };
        assert_eq!(
            decide(
                &record,
                &policy(Check::After(Duration::from_secs(30)), &[]),
                NOW
            ),
            expected
        );
    }

    #[test]
    fn the_ttl_is_what_is_left() {
        let after = Check::After(Duration::from_secs(30));
        for (check, secs_ago, expected) in [
            (after, 2, Some(28)),
            (after, 40, Some(-10)),
            (Check::Always, 0, Some(0)),
            (Check::Never, 9, None),
        ] {
            assert_eq!(
                ttl(&policy(check, &[]), WallTime(NOW.0 - secs_ago * 1000), NOW),
                expected
            );
        }
    }
}
