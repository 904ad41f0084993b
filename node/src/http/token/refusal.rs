//! Why there is no token, in both shapes that token clients read: the registry's `errors` and OAuth's `error`.
//!
//! Wrong credentials are 401, too many of them 429 with `Retry-After` (here and nowhere else), right ones without a role 403, the
//! rest is about the form of the request. Nothing of what was sent is repeated.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use identity::error::Error;
use serde_json::{Value, json};
use wire::oci_error::{Code, OciError};

use super::super::{
    admit::{Refused, unavailable},
    error,
};

/// Why there is no token.
pub(super) enum Refusal {
    /// The address is not let in.
    Network(Box<Refused>),
    /// The credentials are wrong, were so too often, or cannot be checked.
    Error(Error),
    /// Somebody known, by this name, who has no role here.
    NoRole(String),
    /// The request makes no sense: what is wrong with it.
    Request(String),
    /// A grant that is not taken: which ones are.
    Grant(&'static str),
    /// The body is no form.
    MediaType,
    /// The target that was asked for is another.
    Target,
    /// The form, or a token in it, is longer than so many bytes.
    TooLong(usize),
    /// The form did not come in time.
    Late,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Refusal {
    /// The answer of the node that is called `login_server`.
    pub(super) fn into_response(self, login_server: &str) -> Response {
        match self {
            Self::Network(refused) => refused.into_response(),
            Self::Error(Error::Unavailable { what, source }) => {
                let refused = unavailable(what, source.as_ref());
                let body = both(&refused.error, "temporarily_unavailable");
                with_body(refused.into_response(), &body)
            }
            Self::Error(error) => of_credentials(&error, login_server),
            Self::NoRole(who) => said_twice(
                StatusCode::FORBIDDEN,
                Code::Denied,
                "access_denied",
                &format!(
                    "{who} has no role on this node, so there is nothing to give a token for: the role repository-reader is missing"
                ),
            ),
            Self::Request(said) => invalid(StatusCode::BAD_REQUEST, Code::Unsupported, &said),
            Self::Grant(said) => said_twice(
                StatusCode::BAD_REQUEST,
                Code::Unsupported,
                "unsupported_grant_type",
                said,
            ),
            Self::MediaType => {
                let said = "the body is a form: application/x-www-form-urlencoded";
                invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unsupported, said)
            }
            Self::Target => said_twice(
                StatusCode::BAD_REQUEST,
                Code::Unsupported,
                "invalid_target",
                &format!("this node is {login_server}, and gives tokens for itself alone"),
            ),
            Self::TooLong(most) => {
                let said = format!("the form, or a token in it, is longer than {most} bytes");
                invalid(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, &said)
            }
            Self::Late => {
                let said = "the form did not arrive in time";
                invalid(StatusCode::REQUEST_TIMEOUT, Code::Unsupported, said)
            }
        }
    }
}

fn of_credentials(error: &Error, login_server: &str) -> Response {
    let said = error.to_string();
    if let Error::TooOften { retry_after } = error {
        let (status, code) = (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests);
        let mut response = said_twice(status, code, "slow_down", &said);
        let seconds = retry_after.as_millis().div_ceil(1000).clamp(1, 300);
        let seconds = HeaderValue::from(u64::try_from(seconds).unwrap_or(300));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        return response;
    }
    let mut response = said_twice(
        StatusCode::UNAUTHORIZED,
        Code::Unauthorized,
        "invalid_grant",
        &said,
    );
    if let Ok(basic) = HeaderValue::from_str(&format!("Basic realm=\"{login_server}\"")) {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, basic);
    }
    response
}

fn invalid(status: StatusCode, code: Code, said: &str) -> Response {
    said_twice(status, code, "invalid_request", said)
}

/// An error in both shapes that token clients read.
fn said_twice(status: StatusCode, code: Code, oauth: &str, said: &str) -> Response {
    let error = OciError::new(code, said);
    with_body(error::oci(status, &error), &both(&error, oauth))
}

/// The registry's `errors` and OAuth's `error`.
fn both(error: &OciError, oauth: &str) -> Value {
    let mut body = json!({
        "errors": [{ "code": error.code.as_str(), "message": error.message }],
        "error": oauth,
        "error_description": error.message,
    });
    if let Some(detail) = &error.detail {
        body["errors"][0]["detail"] = detail.clone();
    }
    body
}

fn with_body(mut response: Response, body: &Value) -> Response {
    let body = body.to_string();
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
    response
}
