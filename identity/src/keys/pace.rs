//! When an issuer is asked for its keys; pure.
//!
//! A set lives as long as its `Cache-Control` says, 5 minutes to 24 hours; in its last fifth it is renewed while it is in use, so that
//! nobody waits. One that is over is waited for once; when that fails it goes on being used, and the issuer is asked again once a
//! minute beside the requests. Source: `spec/identity.md` "OIDC".

use std::time::Duration;

use http::{HeaderMap, header};
use tokio::time::Instant;

/// Within these the issuer's word counts.
pub(super) const SHORTEST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Between two tries while there are keys; also for a key that is unknown.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Between two tries while there are none.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the keys of a file are believed without a look.
pub(super) const FILE: Duration = Duration::from_secs(10);

/// What is known about asking.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// The keys that are held, if any are.
    pub(super) held: Option<Held>,
    /// When the last try ended, and whether it brought keys.
    pub(super) tried: Option<(Instant, bool)>,
}

/// Keys in hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Since when, by this process; `None` when they were kept by an earlier one.
    pub(super) since: Option<Instant>,
    pub(super) life: Duration,
}

/// What to do for somebody who wants keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// They are there.
    Use,
    /// They are there; ask for others meanwhile.
    Renew,
    /// Ask, and wait for the answer.
    Wait,
    /// There are none, and asking failed a moment ago.
    Away,
}

/// What to do for somebody who wants keys now.
pub(super) fn next(facts: &Facts, now: Instant) -> Next {
    let since_try = facts.tried.map(|(at, _)| now.saturating_duration_since(at));
    let Some(held) = facts.held else {
        let waits = since_try.is_none_or(|since| since >= AGAIN);
        return if waits { Next::Wait } else { Next::Away };
    };
    let pause = since_try.is_some_and(|since| since < MINUTE.min(held.life / 5));
    let age = held.since.map(|since| now.saturating_duration_since(since));
    let failed = facts.tried.is_some_and(|(_, brought)| !brought);
    match age {
        Some(age) if age < held.life - held.life / 5 => Next::Use,
        _ if pause => Next::Use,
        Some(age) if age < held.life => Next::Renew,
        _ if failed => Next::Renew,
        _ => Next::Wait,
    }
}

/// Whether the issuer may be asked because of a key that is unknown.
pub(super) fn may_ask(facts: &Facts, most_often: Duration, now: Instant) -> bool {
    facts
        .tried
        .is_none_or(|(at, _)| now.saturating_duration_since(at) >= most_often)
}

/// How long a set may be used that came with these headers.
pub(super) fn life(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let ages = directives.filter_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let is = name.trim().eq_ignore_ascii_case("max-age");
        is.then(|| value.trim().trim_matches('"').parse().ok())?
    });
    let stated = ages.min().map_or(SHORTEST, Duration::from_secs);
    stated.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_what_the_issuer_says_within_bounds() {
        let cases: [(&[&str], u64); 9] = [
            (&[], 300),
            (&["no-store"], 300),
            (&["max-age=0"], 300),
            (&["public, max-age=3600, must-revalidate"], 3600),
            (&["Public", "Max-Age=\"600\""], 600),
            (&["max-age=600", "max-age=900"], 600),
            (&["s-maxage=600"], 300),
            (&["max-age=99999999"], 86400),
            (
                &["max-age=-1, max-age=x, max-age=184467440737095516160"],
                300,
            ),
        ];
        for (lines, seconds) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CACHE_CONTROL, line.parse().unwrap());
            }
            assert_eq!(life(&headers).as_secs(), seconds, "{lines:?}");
        }
    }

    #[test]
    fn nobody_waits_who_need_not_and_nobody_asks_too_often() {
        let start = runtime::Clock::manual(0).now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let held = |since: Option<u64>| {
            Some(Held {
                since: since.map(at),
                life: Duration::from_secs(1000),
            })
        };
        let cases = [
            // held, last try, now, what
            (None, None, 0, Next::Wait),
            (None, Some((0, false)), 9, Next::Away),
            (None, Some((0, false)), 10, Next::Wait),
            (held(Some(0)), Some((0, true)), 799, Next::Use),
            (held(Some(0)), Some((0, true)), 800, Next::Renew),
            (held(Some(0)), Some((800, false)), 859, Next::Use),
            (held(Some(0)), Some((800, false)), 860, Next::Renew),
            (held(Some(0)), Some((0, true)), 1000, Next::Wait),
            (held(Some(0)), Some((990, false)), 1010, Next::Use),
            (held(Some(0)), Some((900, false)), 1010, Next::Renew),
            (held(None), None, 0, Next::Wait),
            (held(None), Some((0, false)), 59, Next::Use),
            (held(None), Some((0, false)), 60, Next::Renew),
        ];
        for (held, tried, now, expected) in cases {
            let tried = tried.map(|(seconds, brought)| (at(seconds), brought));
            let facts = Facts { held, tried };
            assert_eq!(next(&facts, at(now)), expected, "{facts:?} at {now}");
        }
        let tried = Facts {
            held: held(Some(0)),
            tried: Some((at(0), true)),
        };
        assert!(!may_ask(&tried, MINUTE, at(59)));
        assert!(may_ask(&tried, MINUTE, at(60)));
        assert!(may_ask(&Facts::default(), MINUTE, at(0)));
    }
}
