//! `/oauth2/token` and `/oauth2/exchange`: a principal's proof in, tokens of this node out.
//!
//! GET with Basic or nothing, POST with a form, as every client of the last ten years does it. A missing right is no error:
//! the token says what remains, perhaps nothing, and the registry refuses later, with the role that is missing. Who has no role at
//! all gets no session beside it, and so nothing from an exchange. The answer to
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

mod exchange;
mod form;
mod refusal;

use exchange::{ACCESS_TOKEN, TOKEN_EXCHANGE};
use form::Form;
use refusal::Refusal;

/// The answer to a token request, and whom it was given to.
pub struct Answered {
    /// The answer.
    pub response: Response,
    /// Who asked, when it was found out.
    pub proven: Option<Proven>,
}

/// Answers a request to the token service. `route` is one of its three.
pub async fn serve(view: &View, route: &Route, parts: &Parts, body: Body) -> Answered {
    by(&view.access, route, parts, body).await
}

async fn by(access: &Access, route: &Route, parts: &Parts, body: Body) -> Answered {
    let (mut response, proven) = match answer(access, route, parts, body).await {
        Ok((given, proven)) => (given.into_response(), Some(proven)),
        Err(refusal) => (refusal.into_response(&access.login_server), None),
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answered { response, proven }
}

async fn answer(
    access: &Access,
    route: &Route,
    parts: &Parts,
    body: Body,
) -> Result<(Given, Proven), Refusal> {
    let peer = parts.extensions.get::<Peer>();
    let mesh_peer = access.mesh_peer(peer);
    let origin = access
        .origin(peer, mesh_peer.as_ref(), &parts.headers)
        .map_err(Refusal::Network)?;
    if let Route::TokenGet = route {
        let (proven, wanted) = get(access, parts, origin).await?;
        return Ok((give(access, &proven, &wanted).await?, proven));
    }
    let form = form::read(access.authenticate.clock(), &parts.headers, body).await?;
    if let Route::TokenPost = route {
        let (proven, wanted) = post(access, &form, origin).await?;
        return Ok((give(access, &proven, &wanted).await?, proven));
    }
    let proven = exchange::proven(access, &form, origin).await?;
    // An exchange has nothing else to give, so there is nothing that remains without a role.
    let Some(token) = session(access, &proven).await? else {
        return Err(Refusal::NoRole(proven.principal.to_string()));
    };
    let body = Map::from_iter([("refresh_token".to_owned(), token)]);
    Ok((Given::new(body), proven))
}

/// What a token is wanted for.
struct Wanted {
    scopes: Vec<Scope>,
    /// A refresh token too.
    offline: bool,
    /// Answered as RFC 8693 has it.
    exchanged: bool,
}

async fn get(
    access: &Access,
    parts: &Parts,
    origin: Origin<'_>,
) -> Result<(Proven, Wanted), Refusal> {
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
    let wanted = Wanted {
        scopes: scopes(query.all("scope")),
        offline: query.first("offline_token") == Some("true"),
        exchanged: false,
    };
    Ok((proven, wanted))
}

async fn post(
    access: &Access,
    form: &Form,
    origin: Origin<'_>,
) -> Result<(Proven, Wanted), Refusal> {
    let (authenticate, local) = (&access.authenticate, access.local());
    let grant = form.required("grant_type")?;
    let proven = match grant {
        "password" => {
            let user = form.required("username")?;
            let secret = Secret::from(form.required("password")?);
            authenticate.prove(local, user, &secret, origin).await?
        }
        "refresh_token" => {
            let token = Secret::from(form.required("refresh_token")?);
            authenticate.refreshed(local, &token, origin).await?
        }
        TOKEN_EXCHANGE => exchange::subject(access, form).await?,
        _ => {
            return Err(Refusal::Grant(
                "the grants taken here are password, refresh_token and token exchange (RFC 8693)",
            ));
        }
    };
    let wanted = Wanted {
        scopes: scopes(form.all("scope")),
        offline: form.first("access_type") == Some("offline"),
        exchanged: grant == TOKEN_EXCHANGE,
    };
    Ok((proven, wanted))
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

async fn give(access: &Access, proven: &Proven, wanted: &Wanted) -> Result<Given, Refusal> {
    let bound = access.grant(&proven.principal, proven.bound.as_ref(), &wanted.scopes);
    let scope = Scope::write_list(&bound.scopes());
    // Claims of any length travel in no header; the refresh token stands for all of them.
    let bearer = access.assignments.essence(&proven.principal);
    let issued = (access.authenticate).issue_as(access.local(), proven, &bearer, bound)?;
    let token = issued.token.expose().as_str();
    let mut body = Map::new();
    let mut say = |name: &str, value: Value| body.insert(name.to_owned(), value);
    say("token", token.into());
    say("access_token", token.into());
    say("token_type", "Bearer".into());
    say("expires_in", issued.expires_in_seconds().into());
    say("issued_at", issued.issued_at.to_string().into());
    say("scope", scope.into());
    if wanted.exchanged {
        say("issued_token_type", ACCESS_TOKEN.into());
    }
    if wanted.offline
        && let Some(token) = session(access, proven).await?
    {
        say("refresh_token", token);
    }
    Ok(Given::new(body))
}

/// A refresh token; none for whoever may do nothing here, since anybody whom a declared issuer knows could fill the store by it.
async fn session(access: &Access, proven: &Proven) -> Result<Option<Value>, Error> {
    if access.assignments.any(&proven.principal).is_empty() {
        return Ok(None);
    }
    let issued = (access.authenticate).issue_refresh(access.local(), proven);
    let token = issued.await?;
    Ok(token.map(|token| token.expose().as_str().into()))
}

/// A body with tokens in it.
struct Given(Bytes);

impl Given {
    fn new(body: Map<String, Value>) -> Self {
        Self(Value::Object(body).to_string().into())
    }

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
