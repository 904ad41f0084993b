//! The Docker token protocol: one token for one key, for a password or for nobody.
//!
//! A kept refresh token is tried first (POST), then user name and password by GET with Basic, the way that every token service
//! knows; a service that has no GET is asked by POST. An identity's token never comes here: `exchange` has its own protocol. Source:
//! `reference/protocols.md` 1.2, 1.7, 1.8.

use http::{Method, StatusCode, header};
use reqwest::RequestBuilder;
use runtime::Secret;
use url::Url;
use wire::refusal::Refusal;

use super::{
    Error, Inner, basic,
    call::{self, Answer, CLIENT_ID},
    reply::{self, Granted},
    tokens::Key,
};
use crate::token_source::Proof;

pub(super) async fn fetch(inner: &Inner, key: &Key, proof: &Proof) -> Result<Granted, Error> {
    call::in_time(inner, rounds(inner, key, proof)).await
}

async fn rounds(inner: &Inner, key: &Key, proof: &Proof) -> Result<Granted, Error> {
    if let Some(granted) = by_refresh_token(inner, key, proof).await? {
        return Ok(granted);
    }
    let answer = call::ask(inner, get(inner, key, proof)?).await?;
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
        let answer = call::ask(inner, post(inner, key, &form)?).await?;
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
    let answer = call::ask(inner, post(inner, key, &form)?).await?;
    if answer.status == StatusCode::OK
        && let Some(granted) = reply::read(&answer.body, inner.clock.wall_ms())
    {
        return Ok(Some(granted));
    }
    if answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS {
        inner.tokens.drop_refresh_token(key, &refresh);
        return Ok(None);
    }
    let mut shown = secrets(proof);
    shown.push(&refresh);
    Err(answer.away(&shown))
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
    let request = call::begin(inner, Method::GET, &url)?;
    Ok(match basic(proof) {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    })
}

/// A call at the realm by form: what `form` says, and who asks for which scopes of which service.
pub(super) fn post(
    inner: &Inner,
    key: &Key,
    form: &[(&str, &str)],
) -> Result<RequestBuilder, Error> {
    let scope = key.scopes.join(" ");
    let mut form = form.to_vec();
    form.push(("client_id", CLIENT_ID));
    form.push(("scope", &scope));
    if let Some(service) = &key.service {
        form.push(("service", service));
    }
    Ok(call::begin(inner, Method::POST, &realm(key)?)?.form(&form))
}

/// The realm of a key.
pub(super) fn realm(key: &Key) -> Result<Url, Error> {
    let bad = |_| Error::away(Refusal::UpstreamUnavailable, "the realm is not a URL");
    Url::parse(&key.realm).map_err(bad)
}

fn granted(inner: &Inner, key: &Key, proof: &Proof, answer: &Answer) -> Result<Granted, Error> {
    if answer.status == StatusCode::OK {
        return reply::read(&answer.body, inner.clock.wall_ms()).ok_or_else(no_token);
    }
    if !answer.is_refusal() {
        return Err(answer.away(&secrets(proof)));
    }
    let whom = match proof {
        Proof::Password { .. } => "the rule's credential",
        Proof::Token(_) | Proof::None => "an anonymous token",
    };
    let what = format!(
        "the token service refuses {whom} for '{}'",
        key.scopes.join(" ")
    );
    Err(answer.refused(inner, &what, &secrets(proof)))
}

/// That an answer of status 200 has no token in it.
pub(super) fn no_token() -> Error {
    let detail = "the token service answered 200 without a token";
    Error::away(Refusal::UpstreamUnavailable, detail)
}

fn secrets(proof: &Proof) -> Vec<&Secret> {
    match proof {
        Proof::Password { username, password } => vec![username, password],
        Proof::Token(token) => vec![token],
        Proof::None => Vec::new(),
    }
}
