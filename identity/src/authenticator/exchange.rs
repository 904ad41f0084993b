//! An identity's token for registry tokens, at nodes and ACRs: `/oauth2/exchange` once, then `/oauth2/token` for each scope.
//!
//! The exchange gives a refresh token, which is kept; whatever scopes wait for it, one exchange is under way. A refresh token that is not
//! taken any more costs one new exchange, and a proof that is refused one fresh proof of its source, if it has one and if that could help
//! (`meaning`). The proof goes to the origin of the realm that passed the realm check, in the body of a POST, and nowhere else. Source: `spec/identity.md` "Calling an
//! upstream", `reference/protocols.md` 1.6, 1.8, 3.1.

mod meaning;

use std::sync::Arc;

use http::{Method, StatusCode};
use runtime::Secret;
use url::Url;
use wire::refusal::Refusal;

use self::meaning::Meaning;
use super::{
    Error, Inner,
    call::{self, Answer},
    docker,
    reply::{self, Granted},
    tokens::Key,
};
use crate::token_source::{Presented, Proof};

/// What an exchange gave.
#[derive(Debug, Clone)]
pub(super) struct Login {
    /// Of the proof that was taken.
    version: u64,
    refresh: Secret,
}

/// Where a login came from.
enum Found {
    /// It was in hand: should it not be taken, an exchange may help.
    Kept(Login),
    /// An exchange gave it just now.
    Fresh(Login),
}

/// What came of asking for a token.
enum Asked {
    Granted(Granted),
    Refused(Answer),
}

/// A token for `key`, and the key that it is for: another version where the proof was refused and its source had another one.
pub(super) async fn fetch(
    inner: &Arc<Inner>,
    key: &Key,
    proof: Secret,
) -> Result<(Key, Granted), Error> {
    call::in_time(inner, rounds(inner, key, proof)).await
}

async fn rounds(inner: &Arc<Inner>, key: &Key, proof: Secret) -> Result<(Key, Granted), Error> {
    let login = match find(inner, key, proof.clone()).await? {
        Found::Fresh(login) => login,
        Found::Kept(login) => {
            let own = key.of(login.version);
            match token(inner, &own, &login.refresh).await? {
                Asked::Granted(granted) => return Ok((own, granted)),
                Asked::Refused(_) => inner.tokens.drop_refresh_token(&own, &login.refresh),
            }
            let (Found::Kept(login) | Found::Fresh(login)) = find(inner, key, proof).await?;
            login
        }
    };
    let own = key.of(login.version);
    match token(inner, &own, &login.refresh).await? {
        Asked::Granted(granted) => Ok((own, granted)),
        Asked::Refused(answer) => {
            let scopes = own.scopes.join(" ");
            let what = format!("the token service refuses the rule's identity for '{scopes}'");
            Err(answer.refused(inner, &what, &[&login.refresh]))
        }
    }
}

/// The refresh token in hand, or that of the one exchange for all who wait.
async fn find(inner: &Arc<Inner>, key: &Key, proof: Secret) -> Result<Found, Error> {
    if let Some(login) = in_hand(inner, key) {
        return Ok(Found::Kept(login));
    }
    let (own, key) = (Arc::clone(inner), key.login());
    let exchanged = inner.exchanges.run(key.clone(), || async move {
        // Whoever looked before the last exchange ended, and asks after it.
        match in_hand(&own, &key) {
            Some(login) => Ok(login),
            None => call::in_time(&own, exchange(&own, key, proof)).await,
        }
    });
    let login = exchanged
        .await
        .unwrap_or_else(|error| Err(Error::from(error)));
    login.map(Found::Fresh)
}

fn in_hand(inner: &Inner, key: &Key) -> Option<Login> {
    let refresh = inner.tokens.refresh_token(key)?;
    let version = key.version;
    Some(Login { version, refresh })
}

/// One exchange, and one more where the proof was refused and its source has another.
async fn exchange(inner: &Inner, key: Key, proof: Secret) -> Result<Login, Error> {
    let refused = match offer(inner, &key, &proof).await? {
        Ok(login) => return Ok(login),
        Err(refused) => refused,
    };
    inner.source.refused(key.version).await;
    match inner.source.proof().await? {
        Presented {
            proof: Proof::Token(another),
            version,
        } if version != key.version => offer(inner, &key.of(version), &another).await?,
        _ => Err(refused),
    }
}

/// Shows the proof; the inner error is that the upstream does not take it, and may take another.
async fn offer(inner: &Inner, key: &Key, proof: &Secret) -> Result<Result<Login, Error>, Error> {
    let realm = docker::realm(key)?;
    let service = key.service.clone().unwrap_or_else(|| host(&realm));
    let form = [
        ("grant_type", "access_token"),
        ("service", service.as_str()),
        ("access_token", proof.expose()),
    ];
    let request = call::begin(inner, Method::POST, &at(&realm))?.form(&form);
    let answer = call::ask(inner, request).await?;
    if answer.is_refusal() {
        return about(inner, &answer, proof).map(Err);
    }
    if answer.status != StatusCode::OK {
        return Err(answer.away(&[proof]));
    }
    let refresh = reply::refresh_token(&answer.body).ok_or_else(docker::no_token)?;
    inner.tokens.keep_refresh_token(key, refresh.clone());
    let version = key.version;
    Ok(Ok(Login { version, refresh }))
}

/// What a refusal is about; the outer error is one that no other proof can mend.
fn about(inner: &Inner, answer: &Answer, proof: &Secret) -> Result<Error, Error> {
    let shown = [proof];
    let what = "the upstream does not take the token of the rule's identity";
    match meaning::of(answer.status.as_u16(), &answer.body) {
        Meaning::Proof => Ok(answer.refused(inner, what, &shown)),
        Meaning::Caller(Refusal::UpstreamDenied) => {
            let what = "the upstream lets the rule's identity do nothing";
            Err(answer.refused_as(Refusal::UpstreamDenied, what, &shown))
        }
        Meaning::Caller(_) => Err(answer.refused(inner, what, &shown)),
        Meaning::NotOurs => Err(answer.away(&shown)),
    }
}

async fn token(inner: &Inner, key: &Key, refresh: &Secret) -> Result<Asked, Error> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.expose().as_str()),
    ];
    let answer = call::ask(inner, docker::post(inner, key, &form)?).await?;
    if answer.status == StatusCode::OK {
        let granted = reply::read(&answer.body, inner.clock.wall_ms());
        return granted.map(Asked::Granted).ok_or_else(docker::no_token);
    }
    if answer.is_refusal() {
        return Ok(Asked::Refused(answer));
    }
    Err(answer.away(&[refresh]))
}

/// Where the exchange of a realm is: at its origin, whatever its path and query.
fn at(realm: &Url) -> Url {
    let mut url = realm.clone();
    url.set_path("/oauth2/exchange");
    url.set_query(None);
    url.set_fragment(None);
    url
}

fn host(realm: &Url) -> String {
    let host = realm.host_str().unwrap_or_default();
    realm
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
