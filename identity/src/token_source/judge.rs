//! What an answer that holds no token means: refused, or cannot be asked now; pure.
//!
//! Entra says why in `error`, `error_codes` and `error_description`, others in `error` alone, appliances in HTML. What is said is shown,
//! because it is all that a user has to go by, but cut, cleaned, and without what it repeats of the secrets that it was sent. What
//! surprises: that no federated credential matches is marked (`unheard`), because Entra says so for minutes after one was made, too;
//! how long that is believed is `held`'s.
//! Source: `reference/protocols.md` 1.8, 4.1.

use std::time::Duration;

use bytes::Bytes;
use runtime::Secret;
use serde::Deserialize;
use wire::oci_error::Said;

use super::Error;
use crate::authenticator::scrub;

/// What was answered, or that nothing was.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// Entra's numbers for what heals by itself: transient faults, throttling.
const PASSING: [u32; 5] = [90_033, 90_025, 50_196, 90_010, 900_501];
/// Its numbers for no federated credential that matches: there is none, or none yet.
const UNHEARD: [u32; 4] = [70_021, 700_211, 700_212, 700_213];
/// Errors of OAuth for what heals by itself.
const AWAY: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: serde_json::Value,
    error_codes: Vec<serde_json::Value>,
    error_description: serde_json::Value,
}

/// Judges an answer of `who` (in words: `Entra (login.microsoftonline.com)`), which was sent these secrets.
pub(crate) fn judge(who: &str, answer: &Answer, secrets: &[&Secret]) -> Error {
    let detail = format!("{who} answers {}", said(answer, secrets));
    let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
    if matches!(answer.status, 400 | 401 | 403) && !body.heals() {
        let unheard = body.has(&UNHEARD);
        return Error::Refused { detail, unheard };
    }
    Error::Away {
        detail,
        retry_after: answer.retry_after,
    }
}

/// Its status and words, fit to be shown.
pub(crate) fn said(answer: &Answer, secrets: &[&Secret]) -> String {
    let status = answer.status;
    if (300..400).contains(&status) {
        return format!("{status} (redirects of token calls are not followed)");
    }
    // Before it is cut: half a secret is no match any more.
    let whole = scrub(
        &String::from_utf8_lossy(&answer.body),
        secrets.iter().copied(),
    );
    let said = Said::parse(whole.as_bytes()).to_string();
    match status {
        200..300 => format!("{status} without a token"),
        _ if said.is_empty() => status.to_string(),
        _ => format!("{status}: {said}"),
    }
}

impl Body {
    /// Whether it is what passes without anybody doing anything.
    fn heals(&self) -> bool {
        let error = self.error.as_str();
        error.is_some_and(|error| AWAY.contains(&error)) || self.has(&PASSING)
    }

    /// Whether it gives one of these numbers of Entra's.
    fn has(&self, known: &[u32]) -> bool {
        let known = |code: u64| known.iter().any(|known| u64::from(*known) == code);
        let coded = self.error_codes.iter().any(|code| {
            let code = code.as_u64().or_else(|| code.as_str()?.parse().ok());
            code.is_some_and(known)
        });
        let described = self.error_description.as_str().and_then(|text| {
            let number = text.strip_prefix("AADSTS")?;
            let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        coded || described.is_some_and(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: Some(Duration::from_secs(7)),
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn a_refusal_and_what_passes_are_told_apart() {
        let young = r#"{"error":"unauthorized_client","error_description":"AADSTS70021: No matching federated identity record found for presented assertion.","error_codes":[70021]}"#;
        let newer = r#"{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found for presented assertion subject 'mesh:a'. Trace ID: 1"}"#;
        let wrong = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}"#;
        let unknown = r#"{"error":"unauthorized_client","error_description":"AADSTS700016: Application was not found","error_codes":[700016]}"#;
        let cases = [
            (400, young, Some(true)),
            (401, newer, Some(true)),
            (401, wrong, Some(false)),
            (400, unknown, Some(false)),
            (400, r#"{"error":"invalid_grant"}"#, Some(false)),
            (403, "<html>no</html>", Some(false)),
            (400, r#"{"error":"temporarily_unavailable"}"#, None),
            (
                400,
                r#"{"error":"server_error","error_codes":[90033]}"#,
                None,
            ),
            (429, r#"{"error":"slow_down"}"#, None),
            (503, "", None),
            (404, "", None),
            (302, "", None),
            (200, "{}", None),
        ];
        for (status, body, refused) in cases {
            let judged = judge("Entra", &answer(status, body), &[]);
            let got = if let Error::Refused { unheard, .. } = judged {
                Some(unheard)
            } else {
                None
            };
            assert_eq!(got, refused, "{status} {body}");
        }
    }

    #[test]
    fn what_is_said_is_shown_without_the_secrets_it_repeats() {
        let canary = Secret::from("canary-assertion-1234567890");
        let body = format!(
            r#"{{"error":"invalid_client","error_description":"{} I do not like {} or {}"}}"#,
            "x".repeat(200),
            canary.expose(),
            canary.expose()
        );
        let text = judge("Entra", &answer(401, &body), &[&canary]).to_string();
        assert!(text.contains("Entra answers 401: invalid_client"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
