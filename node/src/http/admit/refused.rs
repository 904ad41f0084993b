//! The answers to requests that may not go on: 401 with a challenge, 403, 503; their words, and how much they say.
//!
//! A 401 names the scope that this very request needs. Somebody known who may not read gets one sentence, whether or not
//! there is anything; somebody who may read is told the role they lack. Never a 429 here: containerd would ask dozens of
//! times more. Source: `reference/clients-and-peers.md` section 3, `reference/protocols.md` 1.4.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use identity::{
    authenticate::Caller,
    decide::{Decision, Denied},
    error::{ACCOUNT_PASSWORD, Error, Refused as Wrong},
    principal::Principal,
};
use serde_json::json;
use wire::{
    challenge::{Bearer, TokenError},
    oci_error::{Code, OciError},
    refusal::Refusal,
    route::Needs,
};

use super::{super::error, Access, Admitted};
use crate::registry::Outcome;

/// When to come back if something of ours could not be read.
const RETRY: Duration = Duration::from_secs(5);
/// When to come back to a node that was cut off for too long.
const CUT_OFF: Duration = Duration::from_secs(30);

/// Not the bare "authentication required" of docker-registry: docker takes that, without a detail, for an error of the moment, and
/// tries a push again for 50 seconds.
const SIGN_IN: &str = "authentication required: sign in to this node first";

/// What is to be refused: a request for this, by somebody of these.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) access: &'a Access,
    pub(super) needs: &'a Needs,
    pub(super) mesh_peer: bool,
}

impl Asked<'_> {
    /// The answer to a decision; none where the request goes on.
    pub(super) fn answer(self, caller: &Caller, decision: Decision) -> Option<Box<Refused>> {
        match decision {
            Decision::Allow => None,
            Decision::Challenge => Some(self.challenge(None, SIGN_IN)),
            Decision::InsufficientScope => {
                let said =
                    "the token does not cover this; ask for one with the scope of the challenge";
                Some(self.challenge(Some(TokenError::InsufficientScope), said))
            }
            Decision::Deny(denied) => Some(deny(self.needs, &caller.principal, denied)),
        }
    }

    /// The answer to credentials that gave no principal. Too many tries look like wrong ones here: a 429 would make containerd
    /// ask dozens of times more, and only the token endpoint says it.
    pub(super) fn refused(self, error: &Error) -> Box<Refused> {
        match error {
            Error::Refused(wrong @ Wrong::Token) => {
                self.challenge(Some(TokenError::InvalidToken), &wrong.to_string())
            }
            Error::Refused(wrong) => self.challenge(None, &wrong.to_string()),
            Error::TooOften { retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let said = format!("too many wrong credentials from here, again in {seconds} s");
                self.challenge(None, &said)
            }
            Error::Unavailable { what, source } => unavailable(what, source.as_ref()),
        }
    }

    fn challenge(self, error: Option<TokenError>, said: &str) -> Box<Refused> {
        let scopes = self.needs.scopes();
        let bearer = Bearer {
            realm: self.access.realm(self.mesh_peer),
            service: &self.access.login_server,
            scopes: &scopes,
            error,
        };
        Box::new(Refused {
            status: StatusCode::UNAUTHORIZED,
            challenge: HeaderValue::from_str(&bearer.to_string()).ok(),
            error: OciError::new(Code::Unauthorized, said),
            retry_after: None,
            caller: None,
        })
    }
}

fn deny(needs: &Needs, principal: &Principal, denied: Denied) -> Box<Refused> {
    let what = match needs {
        Needs::Action { repository, .. } | Needs::Mount { repository, .. } => {
            format!("to {repository} ")
        }
        Needs::Nothing | Needs::Session | Needs::Catalog => String::new(),
    };
    let error = match denied {
        Denied::Hidden => OciError::new(
            Code::Denied,
            format!("{principal} has no access {what}on this node"),
        ),
        Denied::Missing(role) => {
            let role = json!(role);
            let name = role.as_str().unwrap_or_default();
            let message = format!(
                "{principal} has no such access {what}on this node: the role {name} is missing"
            );
            OciError::new(Code::Denied, message).with_detail(json!({ "role": role }))
        }
    };
    Box::new(Refused {
        status: StatusCode::FORBIDDEN,
        error,
        challenge: None,
        retry_after: None,
        caller: None,
    })
}

/// We could not find out: never an answer about the caller. The cause is said here, to the log alone.
pub(in crate::http) fn unavailable(
    what: &str,
    source: &(dyn std::error::Error + 'static),
) -> Box<Refused> {
    tracing::warn!(what, error = source, "a caller could not be authenticated");
    let message = format!("{what} cannot be read now; try again");
    let error = OciError::new(Code::Unavailable, message);
    let error = match what == ACCOUNT_PASSWORD {
        true => error.with_detail(json!({ "refusal": Refusal::SecretUnavailable.as_str() })),
        false => error,
    };
    Box::new(Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error,
        challenge: None,
        retry_after: Some(RETRY),
        caller: None,
    })
}

/// Whether the caller still has the right cannot be asked (`control.maxOffline`): no answer about them, and none about what is here.
pub(super) fn cut_off(away: Duration) -> Box<Refused> {
    let message = format!(
        "this node has not reached its control plane for {} s; until it does, it grants only what anonymous callers may do (control.maxOffline)",
        away.as_secs()
    );
    Box::new(Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error: OciError::new(Code::Unavailable, message),
        challenge: None,
        retry_after: Some(CUT_OFF),
        caller: None,
    })
}

/// The answer to a request that may not go on.
#[derive(Debug)]
pub struct Refused {
    /// 401, 403 or 503; 404 to somebody who may ask for it.
    pub status: StatusCode,
    /// The body.
    pub error: OciError,
    /// `WWW-Authenticate`; on every 401.
    pub challenge: Option<HeaderValue>,
    /// `Retry-After`; on every 503.
    pub retry_after: Option<Duration>,
    /// Who asked, where they had shown who they are: for the log.
    pub caller: Option<Caller>,
}

impl Refused {
    /// The answer to an address that is not let in.
    pub(super) fn network() -> Box<Self> {
        let error = OciError::new(
            Code::Denied,
            "this node does not take requests from your address",
        )
        .with_detail(json!({ "refusal": Refusal::NetworkRefused.as_str() }));
        Box::new(Refused {
            status: StatusCode::FORBIDDEN,
            error,
            challenge: None,
            retry_after: None,
            caller: None,
        })
    }

    /// The answer to somebody who may ask for it, and names a registry that no rule covers.
    pub(in crate::http) fn unknown(error: OciError, admitted: &Admitted) -> Box<Self> {
        Box::new(Refused {
            status: StatusCode::NOT_FOUND,
            error,
            challenge: None,
            retry_after: None,
            caller: Some(Caller {
                principal: admitted.principal.clone(),
                bound: None,
                via: admitted.via.clone(),
            }),
        })
    }

    /// Whether it refuses somebody known who may not even read.
    pub(in crate::http) fn hides(&self) -> bool {
        self.status == StatusCode::FORBIDDEN && self.error.detail.is_none()
    }

    /// The word for it in log and metrics.
    pub(in crate::http) fn outcome(&self) -> Outcome {
        match self.status {
            StatusCode::NOT_FOUND => Outcome::Error,
            _ => Outcome::Denied,
        }
    }

    /// The same as a response.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = error::oci(self.status, &self.error);
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(after) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(after.as_secs().max(1)),
            );
        }
        response
    }
}
