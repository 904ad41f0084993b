//! `/oauth2/token`: a principal's proof in, a token of this node out. `/oauth2/exchange` answers what it will take.
//!
//! GET with Basic or nothing, POST with a form, as every client of the last ten years does it. A missing right is no error:
//! the token says what remains, perhaps nothing, and the registry refuses later, with the role that is missing. The answer to
//! a POST carries OAuth's `error` beside the registry's `errors`, because clients read the one or the other. Source:
//! `reference/protocols.md` 1.2, 1.4, 1.6.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use identity::{
    authenticate::{Credentials, Origin, Proven},
    error::{Error, Refused as Wrong},
};
use runtime::{Secret, listener::Peer};
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use wire::{
    oci_error::{Code, OciError},
    query::Query,
    route::Route,
    scope::{MAX_SCOPES, Scope},
};

use super::{
    View,
    admit::{Access, Refused, credentials, grant, unavailable},
    error,
};

/// The longest form read, in bytes.
const MAX_FORM: usize = 64 * 1024;
/// How many of its fields are read.
const MAX_FIELDS: usize = 256;
/// How long a form may take to arrive.
const FORM_DEADLINE: Duration = Duration::from_secs(10);
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Answers a request to the token service. `route` is one of its three.
pub async fn serve(view: &View, route: &Route, parts: &Parts, body: Body) -> Response {
    by(&view.access, route, parts, body).await
}

async fn by(access: &Access, route: &Route, parts: &Parts, body: Body) -> Response {
    let mut response = match answer(access, route, parts, body).await {
        Ok(given) => given.into_response(),
        Err(refusal) => refusal.into_response(&access.login_server),
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn answer(
    access: &Access,
    route: &Route,
    parts: &Parts,
    body: Body,
) -> Result<Given, Refusal> {
    let peer = parts.extensions.get::<Peer>();
    let origin = access
        .origin(peer, &parts.headers)
        .map_err(Refusal::Network)?;
    match route {
        Route::TokenGet => get(access, parts, origin).await,
        Route::TokenPost => {
            let form = read(access, &parts.headers, body).await?;
            post(access, &Form::parse(&form)?, origin).await
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the caller sends the routes of the token service alone; anything else would be refused like an exchange"
        )]
        _ => Err(Refusal::Grant(
            "this node exchanges no tokens of issuers and no rule grants; use /oauth2/token with an account",
        )),
    }
}

async fn get(access: &Access, parts: &Parts, origin: Origin<'_>) -> Result<Given, Refusal> {
    let query =
        Query::parse(parts.uri.query()).map_err(|error| Refusal::Request(error.to_string()))?;
    let proven = match credentials(&parts.headers).map_err(Error::from)? {
        None => Proven::anonymous(),
        Some(Credentials::Basic { user, secret }) => {
            access
                .authenticate
                .prove(access.local(), &user, &secret, origin)
                .await?
        }
        Some(Credentials::Bearer(_)) => return Err(Error::from(Wrong::Scheme).into()),
    };
    let scopes = scopes(query.all("scope"));
    give(
        access,
        &proven,
        &scopes,
        query.first("offline_token") == Some("true"),
    )
    .await
}

async fn post(access: &Access, form: &Form, origin: Origin<'_>) -> Result<Given, Refusal> {
    let field = |name: &'static str| {
        let missing = || Refusal::Request(format!("the field {name} is missing"));
        form.first(name).ok_or_else(missing)
    };
    let proven = match field("grant_type")? {
        "password" => {
            let (user, secret) = (field("username")?, Secret::from(field("password")?));
            access
                .authenticate
                .prove(access.local(), user, &secret, origin)
                .await?
        }
        "refresh_token" => {
            let token = Secret::from(field("refresh_token")?);
            access
                .authenticate
                .refreshed(access.local(), &token, origin)
                .await?
        }
        TOKEN_EXCHANGE => {
            return Err(Refusal::Grant(
                "this node exchanges no tokens of issuers; use an account's password or a refresh token",
            ));
        }
        _ => {
            return Err(Refusal::Grant(
                "the grants taken here are password and refresh_token",
            ));
        }
    };
    let scopes = scopes(form.all("scope"));
    give(
        access,
        &proven,
        &scopes,
        form.first("access_type") == Some("offline"),
    )
    .await
}

/// All scopes of all parameters, without doubled ones.
fn scopes<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    for scope in values.take(MAX_SCOPES).flat_map(Scope::parse_list) {
        if scopes.len() < MAX_SCOPES && !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

async fn give(
    access: &Access,
    proven: &Proven,
    scopes: &[Scope],
    offline: bool,
) -> Result<Given, Refusal> {
    let bound = grant(access, &proven.principal, proven.bound.as_ref(), scopes);
    let scope = Scope::write_list(&bound.scopes());
    let access_token = access.authenticate.issue(access.local(), proven, bound)?;
    let refresh_token = match offline {
        true => {
            access
                .authenticate
                .issue_refresh(access.local(), proven)
                .await?
        }
        false => None,
    };
    let mut body = Map::new();
    body.insert("token".into(), access_token.token.expose().as_str().into());
    body.insert(
        "access_token".into(),
        access_token.token.expose().as_str().into(),
    );
    body.insert("token_type".into(), "Bearer".into());
    body.insert(
        "expires_in".into(),
        access_token.expires_in_seconds().into(),
    );
    body.insert(
        "issued_at".into(),
        access_token.issued_at.to_string().into(),
    );
    body.insert("scope".into(), scope.into());
    if let Some(token) = refresh_token {
        body.insert("refresh_token".into(), token.expose().as_str().into());
    }
    Ok(Given(Value::Object(body).to_string().into()))
}

/// A body with tokens in it.
struct Given(Bytes);

impl Given {
    fn into_response(self) -> Response {
        let length = self.0.len();
        let mut response = Response::new(Body::from(self.0));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// Reads a form's body, chunked or not.
async fn read(access: &Access, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = essence
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::MediaType);
    }
    let read = access
        .authenticate
        .clock()
        .timeout(FORM_DEADLINE, to_bytes(body, MAX_FORM));
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(Refusal::TooLong),
        Ok(Err(_)) => Err(Refusal::Request("the form did not arrive whole".to_owned())),
        Err(_) => Err(Refusal::Late),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// A form's fields. Not `Debug`: there are secrets in it.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields: Vec<_> = form_urlencoded::parse(bytes)
            .into_owned()
            .take(MAX_FIELDS + 1)
            .collect();
        if fields.len() > MAX_FIELDS {
            return Err(Refusal::Request(format!(
                "the form has more than {MAX_FIELDS} fields"
            )));
        }
        Ok(Self(fields))
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn first(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }
}

/// Why there is no token.
enum Refusal {
    Network(Box<Refused>),
    Error(Error),
    Request(String),
    Grant(&'static str),
    MediaType,
    TooLong,
    Late,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Refusal {
    fn into_response(self, login_server: &str) -> Response {
        match self {
            Self::Network(refused) => refused.into_response(),
            Self::Error(Error::Unavailable { what, source }) => {
                unavailable(what, source.as_ref()).into_response()
            }
            Self::Error(Error::Refused(wrong)) => {
                let said = wrong.to_string();
                let mut response = said_twice(
                    StatusCode::UNAUTHORIZED,
                    Code::Unauthorized,
                    "invalid_grant",
                    &said,
                );
                let basic = format!("Basic realm=\"{login_server}\"");
                if let Ok(value) = HeaderValue::from_str(&basic) {
                    response
                        .headers_mut()
                        .insert(header::WWW_AUTHENTICATE, value);
                }
                response
            }
            Self::Error(error @ Error::TooOften { retry_after }) => {
                let (status, code) = (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests);
                let mut response = said_twice(status, code, "slow_down", &error.to_string());
                let seconds = retry_after.as_millis().div_ceil(1000).clamp(1, 300);
                let seconds = u64::try_from(seconds).unwrap_or(300);
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Self::Request(said) => said_twice(
                StatusCode::BAD_REQUEST,
                Code::Unsupported,
                "invalid_request",
                &said,
            ),
            Self::Grant(said) => said_twice(
                StatusCode::BAD_REQUEST,
                Code::Unsupported,
                "unsupported_grant_type",
                said,
            ),
            Self::MediaType => {
                let said = "the body is a form: application/x-www-form-urlencoded";
                said_twice(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Code::Unsupported,
                    "invalid_request",
                    said,
                )
            }
            Self::TooLong => {
                let said = format!("the form is longer than {MAX_FORM} bytes");
                said_twice(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    Code::SizeInvalid,
                    "invalid_request",
                    &said,
                )
            }
            Self::Late => {
                let said = "the form did not arrive in time";
                said_twice(
                    StatusCode::REQUEST_TIMEOUT,
                    Code::Unsupported,
                    "invalid_request",
                    said,
                )
            }
        }
    }
}

/// An error in both shapes that token clients read.
fn said_twice(status: StatusCode, code: Code, oauth: &str, said: &str) -> Response {
    let mut response = error::oci(status, &OciError::new(code, said));
    let body = json!({
        "errors": [{ "code": code.as_str(), "message": said }],
        "error": oauth,
        "error_description": said,
    });
    let body = body.to_string();
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
    response
}

#[cfg(test)]
mod tests;
