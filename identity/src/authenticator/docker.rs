//! The Docker token protocol: one token for one key, over the network.
//!
//! A kept refresh token is tried first (POST), then user name and password by GET with Basic, the way that every token service
//! knows; a service that has no GET is asked by POST. No redirect is followed, an answer is read to 1 MiB, and what a service says
//! about a refusal is cleaned before anybody sees it. Source: `reference/protocols.md` 1.2, 1.7, 1.8.

use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use runtime::{Clock, egress};
use url::Url;
use wire::{oci_error::Said, refusal::Refusal};

use super::{
    Error, Inner, basic,
    reply::{self, Granted},
    retry_after, scrub,
    tokens::Key,
};
use crate::token_source::Proof;

/// The longest answer read.
const MAX_BODY: usize = 1024 * 1024;
const CLIENT_ID: &str = "regmesh";

/// What a token service answered.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: BytesMut,
}

pub(super) async fn fetch(inner: &Inner, key: &Key, proof: &Proof) -> Result<Granted, Error> {
    let asked = inner
        .clock
        .timeout(inner.config.timeout, rounds(inner, key, proof));
    match asked.await {
        Ok(result) => result,
        Err(_) => {
            let seconds = inner.config.timeout.as_secs_f32();
            let detail = format!("the token service did not answer within {seconds} s");
            Err(Error::away(Refusal::UpstreamUnavailable, detail))
        }
    }
}

async fn rounds(inner: &Inner, key: &Key, proof: &Proof) -> Result<Granted, Error> {
    if let Some(granted) = by_refresh_token(inner, key, proof).await? {
        return Ok(granted);
    }
    let answer = ask(inner, get(inner, key, proof)?).await?;
    let has_no_get = matches!(answer.status.as_u16(), 404 | 405);
    if let Proof::Password { username, password } = proof
        && has_no_get
    {
        let form = [
            ("grant_type", "password"),
            ("username", username.expose()),
            ("password", password.expose()),
            ("access_type", "offline"),
        ];
        let answer = ask(inner, post(inner, key, &form)?).await?;
        return granted(inner, key, proof, &answer);
    }
    granted(inner, key, proof, &answer)
}

/// `None` when there is no refresh token, or it is not taken (any more).
async fn by_refresh_token(
    inner: &Inner,
    key: &Key,
    proof: &Proof,
) -> Result<Option<Granted>, Error> {
    let Some(refresh) = inner.tokens.refresh_token(key) else {
        return Ok(None);
    };
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.expose()),
    ];
    let answer = ask(inner, post(inner, key, &form)?).await?;
    if answer.status == StatusCode::OK
        && let Some(granted) = reply::read(&answer.body, inner.clock.wall_ms())
    {
        return Ok(Some(granted));
    }
    if answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS {
        inner.tokens.drop_refresh_token(key);
        return Ok(None);
    }
    Err(answer.away(proof))
}

fn get(inner: &Inner, key: &Key, proof: &Proof) -> Result<RequestBuilder, Error> {
    let mut url = realm(key)?;
    let present = |url: &Url, name: &str, value: &str| {
        url.query_pairs().any(|(k, v)| k == name && v == value)
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if let Some(service) = &key.service {
        wanted.push(("service", service));
    }
    wanted.extend(key.scopes.iter().map(|scope| ("scope", scope.as_str())));
    wanted.push(("client_id", CLIENT_ID));
    // The realm's own parameters stay; ours that it has already are not doubled.
    wanted.retain(|(name, value)| !present(&url, name, value));
    url.query_pairs_mut().extend_pairs(wanted);
    if let Proof::Password { username, .. } = proof {
        url.query_pairs_mut()
            .append_pair("account", username.expose());
    }
    let request = begin(inner, Method::GET, &url)?;
    Ok(match basic(proof) {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    })
}

fn post(inner: &Inner, key: &Key, form: &[(&str, &str)]) -> Result<RequestBuilder, Error> {
    let scope = key.scopes.join(" ");
    let mut form = form.to_vec();
    form.push(("client_id", CLIENT_ID));
    form.push(("scope", &scope));
    if let Some(service) = &key.service {
        form.push(("service", service));
    }
    Ok(begin(inner, Method::POST, &realm(key)?)?.form(&form))
}

fn begin(inner: &Inner, method: Method, url: &Url) -> Result<RequestBuilder, Error> {
    inner
        .client
        .request(method, url)
        .map_err(|refused| address_refused(&refused))
}

fn realm(key: &Key) -> Result<Url, Error> {
    let bad = |_| Error::away(Refusal::UpstreamUnavailable, "the realm is not a URL");
    Url::parse(&key.realm).map_err(bad)
}

fn address_refused(refused: &egress::Refused) -> Error {
    Error::Refused {
        refusal: Refusal::UpstreamRealmRefused,
        detail: format!("the token service may not be asked: {refused}"),
        status: None,
    }
}

async fn ask(inner: &Inner, request: RequestBuilder) -> Result<Answer, Error> {
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let retry_after = told_to_wait(&response, &inner.clock);
    let body = read(response).await?;
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

async fn read(mut response: Response) -> Result<BytesMut, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BODY {
            let detail = "the token service's answer is longer than 1 MiB";
            return Err(Error::away(Refusal::UpstreamUnavailable, detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> Error {
    if let Some(refused) = egress::refused(&error) {
        return address_refused(refused);
    }
    // Without the URL: a realm's query may carry an account.
    let detail = format!(
        "the token service cannot be asked: {}",
        cause(&error.without_url())
    );
    Error::away(Refusal::UpstreamUnavailable, detail)
}

/// The innermost cause, which is the one that says something.
fn cause(error: &reqwest::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// Seconds or a date; what is neither is none.
fn told_to_wait(response: &Response, clock: &Clock) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    retry_after::parse(value, clock.wall_ms())
}

fn granted(inner: &Inner, key: &Key, proof: &Proof, answer: &Answer) -> Result<Granted, Error> {
    if answer.status == StatusCode::OK {
        let granted = reply::read(&answer.body, inner.clock.wall_ms());
        return granted.ok_or_else(|| {
            let detail = "the token service answered 200 without a token";
            Error::away(Refusal::UpstreamUnavailable, detail)
        });
    }
    if !matches!(answer.status.as_u16(), 400 | 401 | 403) {
        return Err(answer.away(proof));
    }
    let whom = match proof {
        Proof::Password { .. } => "the rule's credential",
        Proof::Token(_) => "the rule's identity",
        Proof::None => "an anonymous token",
    };
    let scopes = key.scopes.join(" ");
    let said = answer.said(proof);
    let mut detail = format!("the token service refuses {whom} for '{scopes}': {said}");
    let mut refusal = Refusal::UpstreamUnauthorized;
    if inner.config.refusal_may_mean_missing {
        detail.push_str(" (not allowed, or there is no such repository)");
        refusal = Refusal::UpstreamDenied;
    }
    Err(Error::Refused {
        refusal,
        detail,
        status: Some(answer.status.as_u16()),
    })
}

impl Answer {
    /// Its status and words, without what it may have repeated of the proof.
    fn said(&self, proof: &Proof) -> String {
        let said = Said::parse(&self.body).to_string();
        if said.is_empty() {
            return self.status.to_string();
        }
        let said = match proof {
            Proof::Password { username, password } => scrub(&said, [username, password]),
            Proof::Token(token) => scrub(&said, [token]),
            Proof::None => said,
        };
        format!("{}: {said}", self.status.as_u16())
    }

    fn away(&self, proof: &Proof) -> Error {
        let refusal = if self.status == StatusCode::TOO_MANY_REQUESTS {
            Refusal::UpstreamRateLimited
        } else {
            Refusal::UpstreamUnavailable
        };
        let detail = if self.status.is_redirection() {
            let status = self.status.as_u16();
            format!(
                "the token service answers {status} (redirects of token calls are not followed)"
            )
        } else {
            format!("the token service answers {}", self.said(proof))
        };
        Error::Away {
            refusal,
            detail,
            retry_after: self.retry_after,
            status: Some(self.status.as_u16()),
        }
    }
}
