//! What a client gets when an upstream did not simply answer. Pure and total: no other file chooses.
//!
//! The three answers that are never mixed up: *not allowed any more* (403), *gone* (404), *cannot be asked* (stale, or 503).
//! A digest that is stored never comes here, because nobody is asked for it. Source: `reference/faults.md` section 1, whose
//! rows are the rows of the test below; `spec/pull-through.md` step 4.

use std::time::Duration;

use topology::model::rule::{Allowance, Rule, WhenGone};
use wire::time::WallTime;

use crate::{
    store::metadata::{TagRecord, Version},
    upstream::error::Kind,
};

/// Why a stored version is served although the upstream did not agree to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It cannot be asked.
    Away,
    /// It no longer has the tag, and the rule keeps those.
    Gone,
    /// It refuses us, but not for longer than `deniedGrace`.
    Denied,
    /// It sent something else than it announced.
    Wrong,
}

impl Why {
    /// The word for `detail` in `Cache-Status`.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Away => "serve-stale",
            Self::Gone => "gone-kept",
            Self::Denied => "denied-grace",
            Self::Wrong => "wrong-content",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// 200 with `Warning: 299` and `Age`.
    Serve {
        /// What of it.
        version: &'a Version,
        /// For the warning.
        why: Why,
        /// Whether a newer version is known that is not complete here.
        newer: bool,
    },
    /// 404.
    NotFound,
    /// 403.
    Denied,
    /// 403: recalled further up. Whatever is stored, since the recall is in force here in a moment.
    Recalled,
    /// 503 with `Retry-After`.
    Away,
    /// 502.
    Wrong,
    /// 508.
    Loop,
}

/// What was asked for and what is known.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What the upstream did.
    pub answer: Kind,
    /// The tag's record, when a version of it is stored; none for digests, which are asked for only when they are not.
    pub stored: Option<&'a TagRecord>,
    /// Since when the upstream has refused us this repository.
    pub denied_since: Option<WallTime>,
    /// Whether the upstream did tell another digest before it failed.
    pub moved: bool,
}

/// Decides. `now` is wall time; a last check in the future counts as one of this moment, so that a clock set back expires
/// nothing in mass.
#[must_use]
pub fn decide<'a>(case: &Case<'a>, rule: &Rule, now: WallTime) -> Verdict<'a> {
    let serve = |record: &'a TagRecord, why| serve(record, why, case.moved);
    match (case.answer, case.stored) {
        (Kind::Loop, _) => Verdict::Loop,
        (Kind::Recalled, _) => Verdict::Recalled,
        (Kind::Gone, None) => Verdict::NotFound,
        (Kind::Gone, Some(record)) => match rule.when_gone {
            WhenGone::Keep => serve(record, Why::Gone),
            WhenGone::Deny => Verdict::NotFound,
        },
        (Kind::Denied, None) => Verdict::Denied,
        (Kind::Denied, Some(record)) => {
            if is_within_grace(case.denied_since, rule.freshness.denied_grace, now) {
                serve(record, Why::Denied)
            } else {
                Verdict::Denied
            }
        }
        (Kind::Away { .. } | Kind::Broken, None) => Verdict::Away,
        (Kind::Away { .. } | Kind::Broken, Some(record)) => {
            if may_be_stale(record, rule.freshness.serve_stale, now) {
                serve(record, Why::Away)
            } else {
                Verdict::Away
            }
        }
        (Kind::Wrong, None) => Verdict::Wrong,
        (Kind::Wrong, Some(record)) => {
            if may_be_stale(record, rule.freshness.serve_stale, now) {
                serve(record, Why::Wrong)
            } else {
                Verdict::Wrong
            }
        }
    }
}

/// The last complete version, else the last one whose manifest is here.
fn serve(record: &TagRecord, why: Why, moved: bool) -> Verdict<'_> {
    let version = record.complete.as_ref().unwrap_or(&record.current);
    let newer = moved || *version != record.current;
    Verdict::Serve {
        version,
        why,
        newer,
    }
}

fn may_be_stale(record: &TagRecord, allowance: Allowance, now: WallTime) -> bool {
    let age = record.checked_at.age(now).unwrap_or_default();
    match allowance {
        Allowance::Forever => true,
        Allowance::For(limit) => age <= limit,
        Allowance::Never => false,
    }
}

fn is_within_grace(since: Option<WallTime>, grace: Duration, now: WallTime) -> bool {
    let denied_for = since.unwrap_or(now).age(now).unwrap_or_default();
    denied_for < grace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metadata::Origin;
    use topology::model::rule::{
        Authentication, Freshness, Platforms, Referrers, Source, UpstreamRef,
    };
    use wire::digest::Digest;

    const NOW: WallTime = WallTime(1_000_000_000);

    fn version(name: &str) -> Version {
        Version {
            digest: Digest::sha256(name.as_bytes()),
            media_type: "t".into(),
            size: 1,
        }
    }

    fn record(complete: Option<Version>, checked_secs_ago: i64) -> TagRecord {
        TagRecord {
            repository: "r".parse().unwrap(),
            tag: "1".parse().unwrap(),
            current: version("current"),
            complete,
            checked_at: WallTime(NOW.0 - checked_secs_ago * 1000),
            observed_at: WallTime(0),
            origin: Origin::Filled("rule".parse().unwrap()),
        }
    }

    fn rule(serve_stale: Allowance, when_gone: WhenGone, grace_secs: u64) -> Rule {
        let denied_grace = Duration::from_secs(grace_secs);
        Rule {
            name: "rule".parse().unwrap(),
            source: Source {
                upstream: UpstreamRef::Host("h".into()),
                repositories: "s".parse().unwrap(),
            },
            target: "r".parse().unwrap(),
            authentication: Authentication::Anonymous,
            freshness: Freshness {
                serve_stale,
                denied_grace,
                ..Freshness::default()
            },
            when_gone,
            platforms: Platforms::default(),
            referrers: Referrers::default(),
            origins: [].into(),
            enabled: true,
        }
    }

    /// What is stored: nothing, a complete tag, one with a newer incomplete version, one never complete.
    #[derive(Debug, Clone, Copy)]
    enum Stored {
        Nothing,
        Complete,
        NewerIncomplete,
        NeverComplete,
    }

    impl Stored {
        fn record(self) -> Option<TagRecord> {
            match self {
                Self::Nothing => None,
                Self::Complete => Some(record(Some(version("current")), 100)),
                Self::NewerIncomplete => Some(record(Some(version("old")), 100)),
                Self::NeverComplete => Some(record(None, 100)),
            }
        }
    }

    #[derive(Debug, PartialEq)]
    enum Expected {
        Serve(&'static str, Why, bool),
        NotFound,
        Denied,
        Recalled,
        Away,
        Wrong,
        Loop,
    }

    fn check(
        row: &str,
        kind: Kind,
        stored: Stored,
        rule: &Rule,
        denied_secs_ago: i64,
        expected: &Expected,
    ) {
        let record = stored.record();
        let denied_since = Some(WallTime(NOW.0 - denied_secs_ago * 1000));
        let case = Case {
            answer: kind,
            stored: record.as_ref(),
            denied_since,
            moved: false,
        };
        let expected_version = if let Expected::Serve(name, ..) = expected {
            version(name)
        } else {
            version("-")
        };
        let expected = match expected {
            Expected::Serve(_, why, newer) => Verdict::Serve {
                version: &expected_version,
                why: *why,
                newer: *newer,
            },
            Expected::NotFound => Verdict::NotFound,
            Expected::Denied => Verdict::Denied,
            Expected::Recalled => Verdict::Recalled,
            Expected::Away => Verdict::Away,
            Expected::Wrong => Verdict::Wrong,
            Expected::Loop => Verdict::Loop,
        };
        assert_eq!(decide(&case, rule, NOW), expected, "{row}");
    }

    #[test]
    fn every_row_of_the_table_of_faults() {
        use Stored::{Complete, NeverComplete, NewerIncomplete, Nothing};
        let usual = rule(Allowance::Forever, WhenGone::Keep, 600);
        let deny = rule(Allowance::Forever, WhenGone::Deny, 0);
        let short = rule(Allowance::For(Duration::from_secs(99)), WhenGone::Keep, 600);
        let long = rule(
            Allowance::For(Duration::from_secs(100)),
            WhenGone::Keep,
            600,
        );
        let never = rule(Allowance::Never, WhenGone::Keep, 600);
        let away = Kind::Away { retry_after: None };
        let rows = [
            (
                "404, nothing stored",
                Kind::Gone,
                Nothing,
                &usual,
                0,
                Expected::NotFound,
            ),
            (
                "404, whenGone: keep",
                Kind::Gone,
                Complete,
                &usual,
                0,
                Expected::Serve("current", Why::Gone, false),
            ),
            (
                "404, keep beyond serveStale",
                Kind::Gone,
                Complete,
                &never,
                0,
                Expected::Serve("current", Why::Gone, false),
            ),
            (
                "404, whenGone: deny",
                Kind::Gone,
                Complete,
                &deny,
                0,
                Expected::NotFound,
            ),
            (
                "recalled further up, though it is stored",
                Kind::Recalled,
                Complete,
                &usual,
                0,
                Expected::Recalled,
            ),
            (
                "403, nothing stored",
                Kind::Denied,
                Nothing,
                &usual,
                0,
                Expected::Denied,
            ),
            (
                "403, within the grace",
                Kind::Denied,
                Complete,
                &usual,
                599,
                Expected::Serve("current", Why::Denied, false),
            ),
            (
                "403, after the grace: never stale",
                Kind::Denied,
                Complete,
                &usual,
                600,
                Expected::Denied,
            ),
            (
                "403, no grace",
                Kind::Denied,
                Complete,
                &deny,
                0,
                Expected::Denied,
            ),
            (
                "503, nothing stored",
                away,
                Nothing,
                &usual,
                0,
                Expected::Away,
            ),
            (
                "503, stored",
                away,
                Complete,
                &usual,
                0,
                Expected::Serve("current", Why::Away, false),
            ),
            (
                "503, a newer one not complete",
                away,
                NewerIncomplete,
                &usual,
                0,
                Expected::Serve("old", Why::Away, true),
            ),
            (
                "503, never complete",
                away,
                NeverComplete,
                &usual,
                0,
                Expected::Serve("current", Why::Away, false),
            ),
            (
                "503, beyond serveStale",
                away,
                Complete,
                &short,
                0,
                Expected::Away,
            ),
            (
                "503, just within serveStale",
                away,
                Complete,
                &long,
                0,
                Expected::Serve("current", Why::Away, false),
            ),
            (
                "503, serveStale: never",
                away,
                Complete,
                &never,
                0,
                Expected::Away,
            ),
            (
                "broken off, stored",
                Kind::Broken,
                Complete,
                &usual,
                0,
                Expected::Serve("current", Why::Away, false),
            ),
            (
                "broken off, nothing stored",
                Kind::Broken,
                Nothing,
                &usual,
                0,
                Expected::Away,
            ),
            (
                "wrong bytes, nothing stored",
                Kind::Wrong,
                Nothing,
                &usual,
                0,
                Expected::Wrong,
            ),
            (
                "wrong bytes, stored",
                Kind::Wrong,
                Complete,
                &usual,
                0,
                Expected::Serve("current", Why::Wrong, false),
            ),
            (
                "wrong bytes, serveStale: never",
                Kind::Wrong,
                Complete,
                &never,
                0,
                Expected::Wrong,
            ),
            (
                "a loop, nothing stored",
                Kind::Loop,
                Nothing,
                &usual,
                0,
                Expected::Loop,
            ),
            (
                "a loop, stored",
                Kind::Loop,
                Complete,
                &usual,
                0,
                Expected::Loop,
            ),
        ];
        for (row, kind, stored, rule, denied_secs_ago, expected) in rows {
            check(row, kind, stored, rule, denied_secs_ago, &expected);
        }
    }

    #[test]
    fn a_version_that_was_announced_and_could_not_be_had_is_told() {
        let record = record(Some(version("current")), 1);
        let case = Case {
            answer: Kind::Wrong,
            stored: Some(&record),
            denied_since: None,
            moved: true,
        };
        let usual = rule(Allowance::Forever, WhenGone::Keep, 600);
        let expected = Verdict::Serve {
            version: &record.current,
            why: Why::Wrong,
            newer: true,
        };
        assert_eq!(decide(&case, &usual, NOW), expected);
    }

    #[test]
    fn a_clock_set_back_expires_nothing() {
        let record = record(Some(version("current")), -7200);
        let case = Case {
            answer: Kind::Broken,
            stored: Some(&record),
            denied_since: None,
            moved: false,
        };
        let strict = rule(Allowance::For(Duration::from_secs(60)), WhenGone::Keep, 600);
        assert!(matches!(decide(&case, &strict, NOW), Verdict::Serve { .. }));
    }
}
