//! The one table from errors to problem documents (RFC 9457), and how one is answered.
//!
//! 400: not readable. 401, 403: who asks. 404, 405, 415: not here, not so, not in that form. 409: the request is well formed and the mesh
//! cannot follow it, as it is or as it would be; a topology with problems is the foremost case, each with its code, place and rendered
//! text. 412: published meanwhile. 422: JSON of another shape. 502, 503: an issuer, the store. What a cause says about our
//! insides goes to the log alone.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use topology::problem::{Problem as Found, Severity};
use wire::api::problem::{DocumentProblem, Problem};

use crate::{
    ask, ca, enrol,
    issuer::RevokeError,
    publish,
    sign_in::{self, device, oidc},
    signing_key, state,
};

/// How long a client should wait when the store cannot be used, in seconds.
const STORE_RETRY: u64 = 5;

/// How many problems of a topology are listed: nobody reads more, and each has its piece of the file.
const MOST: usize = 200;

impl From<publish::Error> for Problem {
    fn from(error: publish::Error) -> Self {
        use publish::Error as E;
        let text = error.to_string();
        match error {
            E::Invalid(found) => invalid(&text, &found),
            E::OtherMesh { .. } => Self::new(409, "other-mesh", text),
            E::NeedsPrune { .. } => Self::new(409, "needs-prune", text),
            E::Stale { .. } => Self::new(412, "stale", text),
            E::NotFound => Self::new(404, "not-found", text),
            E::Exists => Self::new(409, "exists", text),
            E::Bad(_) => Self::new(409, "refused", text),
            E::State(error) => error.into(),
        }
    }
}

impl From<state::Error> for Problem {
    fn from(error: state::Error) -> Self {
        match &error {
            state::Error::Moved { .. } => Self::new(412, "stale", error.to_string()),
            state::Error::Unavailable(why) | state::Error::Damaged(why) => {
                tracing::error!(why, "the control plane's store failed a request");
                Self::new(
                    503,
                    "store-unavailable",
                    "the control plane's store cannot be used; its log and `/readyz?verbose` say why; nothing was changed",
                )
            }
        }
    }
}

impl From<sign_in::Error> for Problem {
    fn from(error: sign_in::Error) -> Self {
        match error {
            sign_in::Error::Token => Self::new(401, "invalid-token", error.to_string()),
            sign_in::Error::Password(error) => password(&error),
            sign_in::Error::Oidc(error) => error.into(),
            sign_in::Error::Device(error) => error.into(),
        }
    }
}

impl From<oidc::Error> for Problem {
    fn from(error: oidc::Error) -> Self {
        match &error {
            oidc::Error::Refused(why) => {
                tracing::info!(why, "an issuer's token is not believed");
                Self::new(401, "invalid-token", error.to_string())
            }
            oidc::Error::Person | oidc::Error::Audience { .. } => {
                Self::new(401, "invalid-token", error.to_string())
            }
            oidc::Error::Away(why) => {
                tracing::warn!(why, "an issuer's keys cannot be had");
                Self::new(503, "issuer-away", error.to_string())
            }
        }
    }
}

impl From<device::Error> for Problem {
    fn from(error: device::Error) -> Self {
        let text = error.to_string();
        match error {
            device::Error::NoIssuer(_) => Self::new(404, "not-found", text),
            device::Error::TooMany => Self::new(429, "too-often", text),
            device::Error::Denied => Self::new(403, "sign-in-denied", text),
            device::Error::Ended => Self::new(404, "sign-in-ended", text),
            device::Error::State(error) => error.into(),
            // Why may name files and addresses of ours, and anybody may ask.
            device::Error::Away { issuer, .. } => {
                tracing::warn!(%text, "signing in with an issuer");
                let text = format!(
                    "the issuer '{issuer}' cannot be asked now, the control plane's log says why; try again later"
                );
                Self::new(503, "issuer-away", text)
            }
            device::Error::Refused { .. } => {
                tracing::warn!(%text, "signing in with an issuer");
                Self::new(502, "issuer-refused", text)
            }
        }
    }
}

/// A password that opened nothing.
pub(crate) fn password(error: &identity::error::Error) -> Problem {
    use identity::error::Error as E;
    match error {
        E::Refused(refused) => Problem::new(401, "unauthorized", refused.to_string()),
        E::TooOften { .. } => Problem::new(429, "too-often", error.to_string()),
        E::Unavailable { source, .. } => {
            tracing::warn!(why = %source, "{error}");
            Problem::new(503, "secret-unavailable", error.to_string())
        }
    }
}

impl From<ask::Error> for Problem {
    fn from(error: ask::Error) -> Self {
        match error {
            ask::Error::NotConnected(_) => Self::new(
                409,
                "node-not-connected",
                "the node is not connected to the control plane; `regmesh status` says since when",
            ),
            ask::Error::TimedOut(_) => Self::new(
                504,
                "node-timed-out",
                "the node is connected and did not answer in time",
            ),
            ask::Error::Refused(problem) => problem,
            ask::Error::State(error) => error.into(),
        }
    }
}

impl From<enrol::Error> for Problem {
    fn from(error: enrol::Error) -> Self {
        match error {
            enrol::Error::State(error) => error.into(),
            enrol::Error::Publish(error) => error.into(),
            enrol::Error::Ca(error) => error.into(),
            enrol::Error::Issuer(error) => error.into(),
            enrol::Error::Refused(_) | enrol::Error::Bad(_) => {
                Self::new(409, "refused", error.to_string())
            }
        }
    }
}

impl From<signing_key::Error> for Problem {
    fn from(error: signing_key::Error) -> Self {
        use signing_key::Error as E;
        match error {
            E::State(error) => error.into(),
            E::Rotating(_) | E::Contended => Self::new(409, "conflict", error.to_string()),
            E::Seal(_) | E::Damaged | E::Crypto => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the issuer's keys cannot be used"
                );
                let text = "the issuer's keys cannot be used; the log says why";
                Self::new(500, "internal", text)
            }
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Keys(error) => error.into(),
            RevokeError::Published(ref why) => {
                tracing::error!(
                    error = why as &dyn std::error::Error,
                    "revoked keys are not published yet"
                );
                Self::new(503, "store-unavailable", error.to_string())
            }
        }
    }
}

impl From<ca::Error> for Problem {
    fn from(error: ca::Error) -> Self {
        match error {
            ca::Error::State(error) => error.into(),
            ca::Error::Rotating(_) | ca::Error::Many | ca::Error::Contended => {
                Self::new(409, "conflict", error.to_string())
            }
            ca::Error::Seal(_) | ca::Error::Certificate(_) | ca::Error::Damaged(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the mesh CA cannot be used"
                );
                Self::new(
                    500,
                    "internal",
                    "the mesh CA cannot be used; the log says why",
                )
            }
        }
    }
}

/// A topology that cannot be: every problem of it.
fn invalid(text: &str, found: &[Found]) -> Problem {
    let first = found.iter().find(|problem| problem.is_error());
    let code = first.map_or("invalid-topology", |problem| problem.code);
    let mut problem = Problem::new(409, code, text);
    if let (Some(first), 1) = (first, found.iter().filter(|p| p.is_error()).count()) {
        problem.detail.clone_from(&first.message);
    }
    // Errors first: what is wrong must not be hidden by what is unwise.
    let (errors, warnings): (Vec<_>, Vec<_>) = found.iter().partition(|p| p.is_error());
    let all = errors.into_iter().chain(warnings);
    problem.problems = all.take(MOST).map(document).collect();
    if found.len() > MOST {
        let rest = found.len() - MOST;
        problem.detail = format!(
            "{}; the first {MOST} are listed, {rest} more are not",
            problem.detail
        );
    }
    problem
}

/// A problem of a document as the API shows it.
pub(crate) fn document(found: &Found) -> DocumentProblem {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let placed = found.line > 0;
    DocumentProblem {
        code: found.code.to_owned(),
        severity: severity.to_owned(),
        message: found.message.clone(),
        advice: Some(found.advice.clone()).filter(|text| !text.is_empty()),
        file: Some(found.file.clone()).filter(|text| !text.is_empty()),
        line: placed.then_some(found.line as u64),
        column: placed.then_some(found.column as u64),
        rendered: Some(found.render(false)),
    }
}

/// The answer that a problem is. `shown`: whether the caller showed something, which decides what a challenge says.
pub(crate) fn response(problem: &Problem, shown: bool) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).expect("plain values are always JSON");
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, kind);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = if shown {
            "Bearer realm=\"regmesh\", error=\"invalid_token\""
        } else {
            "Bearer realm=\"regmesh\""
        };
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    let retry = match problem.status {
        429 => Some(60),
        503 => Some(STORE_RETRY),
        _ => None,
    };
    if let Some(seconds) = retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_who_signs_in_learns_nothing_of_our_files() {
        let away = device::Error::Away {
            issuer: "corp".parse().unwrap(),
            why: "its client secret: file /run/secrets/corp: permission denied".to_owned(),
        };
        let problem = Problem::from(away);
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("'corp'"), "{problem:?}");
        assert!(!problem.detail.contains("/run"), "{problem:?}");
    }
}
