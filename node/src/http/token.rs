//! `/oauth2/token`: a principal's proof in, a token of this node out. `/oauth2/exchange` answers what it will take.
//!
//! GET with Basic or nothing, POST with a form, as every client of the last ten years does it. A missing right is no error:
//! the token says what remains, perhaps nothing, and the registry refuses later, with the role that is missing. The answer to
//! a POST carries OAuth's `error` beside the registry's `errors`, because clients read the one or the other. Source:
//! `reference/protocols.md` 1.2, 1.4, 1.6.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header, request::Parts};
use identity::{
    authenticate::{Credentials, Origin, Proven},
    error::{Error, Refused as Wrong},
};
use runtime::{Secret, listener::Peer};
use serde_json::{Map, Value};
use wire::{
    query::Query,
    route::Route,
    scope::{MAX_SCOPES, Scope},
};

use super::{
    View,
    admit::{Access, credentials},
};

mod form;
mod refusal;

use form::Form;
use refusal::Refusal;

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
    let mesh_peer = access.mesh_peer(peer);
    let origin = access
        .origin(peer, mesh_peer.as_ref(), &parts.headers)
        .map_err(Refusal::Network)?;
    if let Route::TokenGet = route {
        return get(access, parts, origin).await;
    }
    if let Route::TokenPost = route {
        let form = form::read(access.authenticate.clock(), &parts.headers, body).await?;
        return post(access, &form, origin).await;
    }
    Err(Refusal::Grant(
        "this node exchanges no tokens of issuers and no rule grants; use /oauth2/token with an account",
    ))
}

async fn get(access: &Access, parts: &Parts, origin: Origin<'_>) -> Result<Given, Refusal> {
    let query =
        Query::parse(parts.uri.query()).map_err(|error| Refusal::Request(error.to_string()))?;
    let proven = match credentials(&parts.headers).map_err(Error::from)? {
        None => Proven::by_connection(origin),
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
    let bound = access.grant(&proven.principal, proven.bound.as_ref(), scopes);
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

#[cfg(test)]
mod tests;
