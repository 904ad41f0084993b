//! A look at the way to the registry: step by step as far as TLS, then `GET /v2/` without a credential.
//!
//! Nothing of any repository is asked for, so nothing is counted against a rate and a node further up asks nobody for it.

use http::{Method, header};
use runtime::egress;
use url::Url;
use wire::{refusal::Refusal, time::WallTime};

use super::{Remote, body, send::cause};
use crate::upstream::reach::{Blocked, Certificate, Reach, Step};

/// How much of a refusal is read.
const MAX_REFUSAL: usize = 4096;

pub(super) async fn reach(remote: &Remote) -> Reach {
    let origin = &remote.config.origin;
    let at = format!("{}:{}", origin.host, origin.port);
    let Ok(url) = Url::parse(&format!("{origin}/v2/")) else {
        return Reach::blocked(at, Step::Rule, "its address is not a URL");
    };
    let way = match remote.parts.client.probe(&url).await {
        Ok(way) => way,
        Err(blocked) => return Reach::blocked(at, step(blocked.step), blocked.reason),
    };
    let found = Reach {
        at,
        addresses: way.addresses,
        certificate: way.certificate.map(certificate),
        ..Reach::default()
    };
    match answer(remote, &url).await {
        Ok(response) => judged(remote, response, found).await,
        Err(why) => Reach {
            blocked: Some(Blocked {
                step: Step::Answer,
                why,
            }),
            ..found
        },
    }
}

fn certificate(shown: egress::Certificate) -> Certificate {
    let ends = WallTime(shown.ends_ms);
    Certificate {
        ends,
        life: WallTime(shown.begins_ms).age(ends).unwrap_or_default(),
        renews_itself: shown.is_workloads,
    }
}

async fn answer(remote: &Remote, url: &Url) -> Result<reqwest::Response, String> {
    let request = remote.parts.client.request(Method::GET, url);
    let request = request.map_err(|refused| refused.to_string())?;
    let (clock, limit) = (&remote.parts.clock, remote.config.deadlines.long);
    let began = clock.now();
    let sent = clock.timeout(limit, request.send()).await;
    let answered = sent.as_ref().ok().and_then(|sent| sent.as_ref().ok());
    let code = answered.map(|response| response.status().as_u16());
    let observer = &remote.parts.observer;
    observer.answered(&remote.config.name, "GET", code, clock.now() - began);
    match sent {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(cause(&error.without_url())),
        Err(_) => Err(format!("none within {}", super::seconds(limit))),
    }
}

async fn judged(remote: &Remote, response: reqwest::Response, found: Reach) -> Reach {
    let status = response.status().as_u16();
    let date = response.headers().get(header::DATE);
    let date = date.and_then(|date| date.to_str().ok());
    let ahead_ms = date.and_then(|date| ahead(date, remote.parts.clock.wall_ms()));
    let blocked = match status {
        403 => {
            let body = body::beginning(remote, response, MAX_REFUSAL).await;
            let refused = Refusal::said(&body) == Some(Refusal::NetworkRefused);
            refused.then(|| Blocked {
                step: Step::LetIn,
                why: format!("403 {}", Refusal::NetworkRefused),
            })
        }
        500..=599 => Some(Blocked {
            step: Step::Answer,
            why: format!("GET /v2/ is answered with {status}"),
        }),
        _ => None,
    };
    Reach {
        status: Some(status),
        ahead_ms,
        blocked,
        ..found
    }
}

/// How far a `Date` is ahead of `now_ms`. It tells whole seconds, so within one there is no difference.
fn ahead(date: &str, now_ms: i64) -> Option<i64> {
    let date = httpdate::parse_http_date(date).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let date_ms = i64::try_from(since.as_millis()).ok()?;
    Some(match date_ms.saturating_sub(now_ms) {
        -1999..=999 => 0,
        ahead => ahead,
    })
}

fn step(step: egress::Step) -> Step {
    match step {
        egress::Step::Name => Step::Name,
        egress::Step::Policy => Step::Policy,
        egress::Step::Connect => Step::Connect,
        egress::Step::Tls => Step::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_by_whole_seconds_and_not_by_what_a_date_leaves_out() {
        let date = "Sat, 21 Nov 2026 00:00:00 GMT";
        let at = 1_795_219_200_000;
        let cases = [
            (at, 0),
            (at + 1_999, 0),
            (at - 999, 0),
            (at + 60_000, -60_000),
        ];
        for (now, expected) in cases {
            assert_eq!(ahead(date, now), Some(expected), "{now}");
        }
        assert_eq!(ahead("yesterday", at), None);
    }
}
