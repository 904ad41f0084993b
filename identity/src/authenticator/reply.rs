//! What a token service answers, read without trusting it; pure.
//!
//! `token` and `access_token` mean the same, a missing `expires_in` is looked up in the token itself, and a life is counted from
//! receipt, because clocks differ. Source: `reference/protocols.md` 1.2, 1.7 point 5.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use runtime::Secret;
use serde::Deserialize;
use serde_json::Value;

/// The life of a token about which nothing is known.
pub(crate) const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A token that was granted.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) token: Secret,
    /// From receipt.
    pub(crate) life: Duration,
    pub(crate) refresh: Option<Secret>,
}

#[derive(Deserialize)]
struct Body {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
}

/// The token in a body of status 200; `None` when there is none that fits into a header.
pub(crate) fn read(body: &[u8], now_ms: i64) -> Option<Granted> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let token = [body.token, body.access_token]
        .into_iter()
        .flatten()
        .find(|token| is_fit(token))?;
    let stated = seconds(&body.expires_in).filter(|life| !life.is_zero());
    let life = stated
        .or_else(|| life_of_jwt(&token, now_ms))
        .unwrap_or(DEFAULT_LIFE)
        .min(LONGEST_LIFE);
    let refresh = body.refresh_token.filter(|token| is_fit(token));
    Some(Granted {
        token: Secret::new(token),
        life,
        refresh: refresh.map(Secret::new),
    })
}

/// The refresh token that an exchange answered with; `None` when there is none that may be sent on.
pub(super) fn refresh_token(body: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Exchanged {
        refresh_token: String,
    }
    let exchanged: Exchanged = serde_json::from_slice(body).ok()?;
    let token = Secret::new(exchanged.refresh_token);
    is_fit(token.expose()).then_some(token)
}

/// When a token of this life is renewed, counted from receipt: at half of it, at the latest 30 s before its end.
pub(crate) fn renew_after(life: Duration) -> Duration {
    let half = life / 2;
    match life.checked_sub(Duration::from_secs(30)) {
        Some(early) if !early.is_zero() => half.min(early),
        _ => half,
    }
}

fn is_fit(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| matches!(b, b'!'..=b'~'))
}

/// A number, or a number written as text (seen at token services of appliances).
fn seconds(value: &Value) -> Option<Duration> {
    let number = value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))?;
    Duration::try_from_secs_f64(number.floor()).ok()
}

fn life_of_jwt(token: &str, now_ms: i64) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split('.');
    let payload = parts.nth(1)?;
    // The signature is not ours to check: the token is the registry's own.
    parts.next()?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of wall time fit a double"
    )]
    let left = claims.exp - now_ms as f64 / 1000.0;
    Duration::try_from_secs_f64(left.floor())
        .ok()
        .filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_is_found_and_its_life_known() {
        let acr = jwt(r#"{"exp":1800004500}"#);
        let stale = jwt(r#"{"exp":1}"#);
        let cases = [
            (
                r#"{"token":"t","expires_in":300,"issued_at":"2020-01-01T00:00:00Z"}"#.to_owned(),
                Some(("t", 300)),
            ),
            (
                r#"{"access_token":"a","expires_in":"90"}"#.to_owned(),
                Some(("a", 90)),
            ),
            (
                r#"{"token":"","access_token":"a"}"#.to_owned(),
                Some(("a", 60)),
            ),
            (
                r#"{"token":"t","access_token":"a"}"#.to_owned(),
                Some(("t", 60)),
            ),
            (
                r#"{"token":"t","expires_in":0}"#.to_owned(),
                Some(("t", 60)),
            ),
            (
                r#"{"token":"t","expires_in":-5}"#.to_owned(),
                Some(("t", 60)),
            ),
            (
                r#"{"token":"t","expires_in":1e99}"#.to_owned(),
                Some(("t", 60)),
            ),
            (
                r#"{"token":"t","expires_in":20}"#.to_owned(),
                Some(("t", 20)),
            ),
            (
                r#"{"token":"t","expires_in":99999999}"#.to_owned(),
                Some(("t", 86_400)),
            ),
            (
                format!(r#"{{"access_token":"{acr}"}}"#),
                Some((acr.as_str(), 4500)),
            ),
            (
                format!(r#"{{"access_token":"{stale}"}}"#),
                Some((stale.as_str(), 60)),
            ),
            (r#"{"token":"with space"}"#.to_owned(), None),
            (r#"{"token":"line\r\nbreak"}"#.to_owned(), None),
            (r#"{"expires_in":300}"#.to_owned(), None),
            ("<html>".to_owned(), None),
            (String::new(), None),
        ];
        for (body, wanted) in cases {
            let got = read(body.as_bytes(), NOW);
            let got = got
                .as_ref()
                .map(|g| (g.token.expose().as_str(), g.life.as_secs()));
            assert_eq!(got, wanted, "{body}");
        }
    }

    #[test]
    fn renewal_comes_before_the_end() {
        for (life, wanted) in [
            (300, 150),
            (60, 30),
            (40, 10),
            (30, 15),
            (2, 1),
            (86_400, 43_200),
        ] {
            assert_eq!(
                renew_after(Duration::from_secs(life)),
                Duration::from_secs(wanted),
                "{life}"
            );
        }
    }
}
