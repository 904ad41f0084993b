//! What an answer that is not what was asked for means: not allowed, gone, cannot be asked, or wrong; pure.
//!
//! Only the registry itself can say *gone* for good or *not allowed*; storage behind a redirect can only be away or not have it.
//! Source: `reference/protocols.md` 1.8; `reference/faults.md` section 1.

use std::time::Duration;

use identity::authenticator;
use wire::{digest::Digest, oci_error::Said, refusal::Refusal};

use crate::upstream::{
    Error,
    error::{Kind, clamp},
    profile::Profile,
};

/// An answer that is no content.
#[derive(Debug, Default)]
pub(super) struct Refusing {
    pub(super) status: u16,
    /// The upstream's words, already free of secrets.
    pub(super) said: Said,
    pub(super) retry_after: Option<Duration>,
    /// The node that says it failed, in the answer of another node.
    pub(super) failed: Option<String>,
    /// What was recalled, when a node refuses it because of that.
    pub(super) recalled: Option<Digest>,
    /// Whether a node does not let our address in.
    pub(super) kept_out: bool,
    /// Whether it says that the token lacks rights.
    pub(super) insufficient_scope: bool,
    /// Whether it came from where a redirect led.
    pub(super) elsewhere: bool,
}

/// What the answer means. `upstream` is the upstream's name.
pub(super) fn error(refusing: &Refusing, profile: &Profile, upstream: &str) -> Error {
    let ambiguous = refusing.status == 401
        && profile.unauthorized_may_mean_missing
        && !(refusing.insufficient_scope || refusing.elsewhere);
    let perhaps = if ambiguous {
        " (not allowed, or it does not exist)"
    } else {
        ""
    };
    let told = told(refusing, upstream);
    let detail = format!("{told}{}{perhaps}", words(refusing));
    classified(refusing, ambiguous, detail)
        .with_status(refusing.status)
        .with_failed_at(refusing.failed.clone().filter(|_| !refusing.elsewhere))
        .telling(told + perhaps)
}

fn classified(refusing: &Refusing, ambiguous: bool, detail: String) -> Error {
    let status = refusing.status;
    if refusing.elsewhere {
        return elsewhere(refusing, &detail);
    }
    let away = || {
        let retry_after = refusing.retry_after.map(clamp);
        Error::new(
            Kind::Away { retry_after },
            Refusal::UpstreamUnavailable,
            &detail,
        )
    };
    if let (403, Some(digest)) = (status, &refusing.recalled) {
        return Error::recalled(digest.clone(), detail);
    }
    match status {
        401 if refusing.insufficient_scope => Error::denied(detail),
        401 if ambiguous => Error::denied(detail),
        401 => Error::new(Kind::Denied, Refusal::UpstreamUnauthorized, detail),
        403 if refusing.kept_out => Error::new(Kind::Denied, Refusal::NetworkRefused, detail),
        403 | 451 => Error::denied(detail),
        404 | 410 => Error::gone(detail),
        429 => Error::rate_limited(refusing.retry_after, detail),
        508 => Error::looped(detail),
        // So a node says that what came there was not what was asked for, which asking again later does not mend. By its
        // status and not its code, because a HEAD has no code.
        502 if refusing.failed.is_some() => Error::wrong(detail),
        407 | 408 | 425 | 500..=599 => away(),
        _ => Error::wrong(detail),
    }
}

fn elsewhere(refusing: &Refusing, detail: &str) -> Error {
    match refusing.status {
        404 | 410 => Error::gone(detail),
        429 => Error::rate_limited(refusing.retry_after, detail),
        401 | 403 | 500..=599 => {
            let retry_after = refusing.retry_after.map(clamp);
            Error::new(
                Kind::Away { retry_after },
                Refusal::UpstreamUnavailable,
                detail,
            )
        }
        _ => Error::wrong(detail),
    }
}

/// What anybody may be told: who answers what, and where it failed.
fn told(refusing: &Refusing, upstream: &str) -> String {
    let who = if refusing.elsewhere {
        format!("the storage behind {upstream}")
    } else {
        upstream.to_owned()
    };
    let mut told = format!("{who} answers {}", refusing.status);
    if let Some(node) = &refusing.failed {
        told.push_str(&format!(" (failed at {node})"));
    }
    told
}

/// The upstream's own, for the log, the rule's status, `explain` and `doctor`.
fn words(refusing: &Refusing) -> String {
    let said = refusing.said.to_string();
    // Whether a 404 has words depends on whether HEAD or GET was asked, and so on what is stored here: nobody is told by that.
    let is_absence = matches!(refusing.status, 404 | 410);
    match said.is_empty() || is_absence {
        true => String::new(),
        false => format!(": {said}"),
    }
}

/// Whether asking once more may help: the fault is right here, and nobody asked for patience.
pub(super) fn is_worth_a_retry(status: u16, failed_at_a_node: bool, says_when: bool) -> bool {
    matches!(status, 500..=599) && status != 508 && status != 501 && !failed_at_a_node && !says_when
}

/// What it means that no authorization can be had.
pub(super) fn unauthorized(error: authenticator::Error) -> Error {
    let with = |kind, refusal, detail: &str, status: Option<u16>| {
        let error = Error::new(kind, refusal, detail);
        match status {
            Some(status) => error.with_status(status),
            None => error,
        }
    };
    match error {
        authenticator::Error::Away {
            refusal,
            detail,
            retry_after,
            status,
        } => {
            let retry_after = retry_after.map(clamp);
            with(Kind::Away { retry_after }, refusal, &detail, status)
        }
        authenticator::Error::Refused {
            refusal,
            detail,
            status,
        } => with(Kind::Denied, refusal, &detail, status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Refusal::{
        NetworkRefused, UpstreamDenied, UpstreamNotFound, UpstreamRateLimited,
        UpstreamUnauthorized, UpstreamUnavailable,
    };

    fn hub() -> Profile {
        Profile {
            unauthorized_may_mean_missing: true,
            ..Profile::default()
        }
    }

    #[test]
    fn every_status_has_its_class_and_its_name() {
        let away = Kind::Away { retry_after: None };
        let told = Kind::Away {
            retry_after: Some(Duration::from_secs(7)),
        };
        let plain = Profile::default();
        let of = |status| Refusing {
            status,
            ..Refusing::default()
        };
        let patient = |status| Refusing {
            retry_after: Some(Duration::from_secs(7)),
            ..of(status)
        };
        let scope = Refusing {
            insufficient_scope: true,
            ..of(401)
        };
        let passed_on = Refusing {
            failed: Some("dev".into()),
            ..of(502)
        };
        let recalled = Refusing {
            recalled: Some(Digest::sha256(b"recalled")),
            ..of(403)
        };
        let kept_out = Refusing {
            kept_out: true,
            ..of(403)
        };
        let elsewhere = |status| Refusing {
            elsewhere: true,
            ..of(status)
        };
        let cases = [
            (of(401), &plain, Kind::Denied, UpstreamUnauthorized),
            (scope, &plain, Kind::Denied, UpstreamDenied),
            (of(401), &hub(), Kind::Denied, UpstreamDenied),
            (of(403), &plain, Kind::Denied, UpstreamDenied),
            (recalled, &plain, Kind::Recalled, UpstreamDenied),
            (kept_out, &plain, Kind::Denied, NetworkRefused),
            (of(404), &plain, Kind::Gone, UpstreamNotFound),
            (of(410), &plain, Kind::Gone, UpstreamNotFound),
            (of(429), &plain, away, UpstreamRateLimited),
            (patient(429), &plain, told, UpstreamRateLimited),
            (of(500), &plain, away, UpstreamUnavailable),
            (patient(503), &plain, told, UpstreamUnavailable),
            (of(504), &plain, away, UpstreamUnavailable),
            (of(508), &plain, Kind::Loop, UpstreamUnavailable),
            (of(400), &plain, Kind::Wrong, UpstreamUnavailable),
            (of(416), &plain, Kind::Wrong, UpstreamUnavailable),
            (of(204), &plain, Kind::Wrong, UpstreamUnavailable),
            (of(502), &plain, away, UpstreamUnavailable),
            (passed_on, &plain, Kind::Wrong, UpstreamUnavailable),
            (elsewhere(403), &plain, away, UpstreamUnavailable),
            (elsewhere(401), &hub(), away, UpstreamUnavailable),
            (elsewhere(404), &plain, Kind::Gone, UpstreamNotFound),
            (elsewhere(508), &plain, away, UpstreamUnavailable),
        ];
        for (refusing, profile, kind, refusal) in cases {
            let got = error(&refusing, profile, "registry.test");
            assert_eq!((got.kind, got.refusal), (kind, refusal), "{refusing:?}");
            assert_eq!(got.status, Some(refusing.status));
        }
    }

    #[test]
    fn only_the_one_next_to_the_fault_tries_again() {
        let cases = [
            (500, false, false, true),
            (503, false, false, true),
            (503, false, true, false),
            (503, true, false, false),
            (508, false, false, false),
            (404, false, false, false),
            (429, false, false, false),
        ];
        for (status, failed, says_when, wanted) in cases {
            assert_eq!(
                is_worth_a_retry(status, failed, says_when),
                wanted,
                "{status}"
            );
        }
    }

    #[test]
    fn the_detail_says_who_and_what() {
        let refusing = Refusing {
            status: 503,
            said: Said::parse(br#"{"errors":[{"code":"UNAVAILABLE","message":"later"}]}"#),
            failed: Some("hub".into()),
            ..Refusing::default()
        };
        let got = error(&refusing, &Profile::default(), "prod");
        assert_eq!(
            got.detail,
            "prod answers 503 (failed at hub): UNAVAILABLE: later"
        );
        assert_eq!(got.told, "prod answers 503 (failed at hub)");
        let absent = Refusing {
            status: 404,
            ..refusing
        };
        let got = error(&absent, &Profile::default(), "prod");
        assert_eq!(got.detail, "prod answers 404 (failed at hub)");
    }
}
