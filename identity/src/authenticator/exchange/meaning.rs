//! What it means that an exchange gives nothing: whose fault, under which name, and whether another proof would be taken; pure.
//!
//! | answer | name | another proof may help |
//! |---|---|---|
//! | 401, 400 | `UPSTREAM_UNAUTHORIZED` | yes |
//! | 403 | `UPSTREAM_UNAUTHORIZED`, with the code `DENIED` `UPSTREAM_DENIED` | no |
//! | 403 of a node that keeps our address out | `NETWORK_REFUSED` | no |
//! | 400 `invalid_target`, `unsupported_grant_type` | `UPSTREAM_UNAVAILABLE` | no |
//!
//! The last row is what another registry says than the one that was meant, behind a proxy that mixes them up: nothing about our rights.
//! Source: `reference/protocols.md` 1.8, RFC 6749 5.2, RFC 8693 2.2.2.

use serde::Deserialize;
use wire::{oci_error::Code, oci_error::Said, refusal::Refusal};

/// What an exchange's refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The proof itself: its source may have a better one.
    Proof,
    /// Whoever the proof names, or where it comes from.
    Caller(Refusal),
    /// Neither: this exchange is not the one that was meant.
    NotOurs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: serde_json::Value,
}

/// What an answer of 400, 401 or 403 is about.
pub(super) fn of(status: u16, body: &[u8]) -> Meaning {
    match status {
        403 if Refusal::said(body) == Some(Refusal::NetworkRefused) => {
            Meaning::Caller(Refusal::NetworkRefused)
        }
        403 if Said::parse(body).is(Code::Denied) => Meaning::Caller(Refusal::UpstreamDenied),
        403 => Meaning::Caller(Refusal::UpstreamUnauthorized),
        400 if is_misdirected(body) => Meaning::NotOurs,
        _ => Meaning::Proof,
    }
}

fn is_misdirected(body: &[u8]) -> bool {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    matches!(
        body.error.as_str(),
        Some("invalid_target" | "unsupported_grant_type")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_about_the_proof_the_caller_or_somebody_else() {
        use Meaning::{Caller, NotOurs, Proof};
        let network = r#"{"errors":[{"code":"DENIED","message":"no","detail":{"refusal":"NETWORK_REFUSED"}}]}"#;
        let denied =
            r#"{"errors":[{"code":"DENIED","message":"no role"}],"error":"access_denied"}"#;
        let target = r#"{"errors":[{"code":"UNSUPPORTED","message":"this node is dev"}],"error":"invalid_target"}"#;
        for (status, body, expected) in [
            (401, "", Proof),
            (401, network, Proof),
            (400, "{}", Proof),
            (400, r#"{"error":"invalid_grant"}"#, Proof),
            (400, target, NotOurs),
            (400, r#"{"error":"unsupported_grant_type"}"#, NotOurs),
            (403, "<html>", Caller(Refusal::UpstreamUnauthorized)),
            (403, denied, Caller(Refusal::UpstreamDenied)),
            (403, network, Caller(Refusal::NetworkRefused)),
        ] {
            assert_eq!(of(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
