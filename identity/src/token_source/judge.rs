//! What an answer that holds no token means: refused, or cannot be asked now; pure.
//!
//! Entra says why in `error`, `error_codes` and `error_description`, others in `error` alone, appliances in HTML. What is said is shown,
//! because it is all that a user has to go by, but cut, cleaned, and without what it repeats of the secrets that it was sent. What
//! surprises: a federated credential that does not match is "cannot be asked", because Entra says so for minutes after it was made.
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

/// Entra's numbers for what heals by itself: no matching federated credential (yet), transient faults, throttling.
const PASSING: [u32; 9] = [
    70_021, 700_211, 700_212, 700_213, 90_033, 90_025, 50_196, 90_010, 900_501,
];
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
    let refused = matches!(answer.status, 400 | 401 | 403) && !heals(&answer.body);
    if refused {
        return Error::Refused { detail };
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

/// Whether the answer is one that passes without anybody doing anything.
fn heals(body: &[u8]) -> bool {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let named = body
        .error
        .as_str()
        .is_some_and(|error| AWAY.contains(&error));
    let coded = body.error_codes.iter().any(|code| {
        let code = code.as_u64().or_else(|| code.as_str()?.parse().ok());
        code.is_some_and(|code| PASSING.iter().any(|known| u64::from(*known) == code))
    });
    let described = body.error_description.as_str().is_some_and(|text| {
        let number = text
            .strip_prefix("AADSTS")
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        number
            .and_then(|digits| digits.parse().ok())
            .is_some_and(|code: u32| PASSING.contains(&code))
    });
    named || coded || described
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
            (400, young, false),
            (401, newer, false),
            (401, wrong, true),
            (400, unknown, true),
            (400, r#"{"error":"invalid_grant"}"#, true),
            (403, "<html>no</html>", true),
            (400, r#"{"error":"temporarily_unavailable"}"#, false),
            (429, r#"{"error":"slow_down"}"#, false),
            (503, "", false),
            (404, "", false),
            (302, "", false),
            (200, "{}", false),
        ];
        for (status, body, refused) in cases {
            let judged = judge("Entra", &answer(status, body), &[]);
            assert_eq!(
                matches!(judged, Error::Refused { .. }),
                refused,
                "{status} {body}"
            );
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
