//! Manifests: HEAD where it tells enough, GET and the hash where it does not.
//!
//! HEAD and GET carry the same `Accept`, so that a tag means the same to both. A registry whose HEAD says no digest, or refuses, is
//! asked by GET from then on; a HEAD's 404 is confirmed by one GET once per registry, because some answer it for everything, and a
//! HEAD's 403 by one GET for the words it has no body for. Bytes that are no manifest, or not the one asked for, are `Wrong`.
//! Source: `reference/protocols.md` 1.9; T21, T23, T24.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use tokio::time::Instant;
use wire::{
    digest::{Algorithm, Digest},
    manifest::{MAX_BYTES, Manifest},
    media_type,
    reference::Reference,
    repository::RepositoryName,
    route::{ContentVerb, Route},
};

use super::{Remote, answer::Answer, body, send::Ask};
use crate::{
    request::Request,
    upstream::{Error, ManifestBody, ManifestHead, Patience, error::Kind},
};

const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

/// What a HEAD told.
enum Told {
    Head(ManifestHead),
    /// GET has to be asked instead: for good, if it answers.
    TooLittle,
    /// GET has to be asked whether that is so.
    Perhaps(Error),
}

pub(super) async fn head(
    remote: &Remote,
    repository: &RepositoryName,
    reference: &Reference,
    until: Instant,
    request: &Request,
) -> Result<ManifestHead, Error> {
    let by_tag = matches!(reference, Reference::Tag(_));
    if by_tag && remote.asks_by_get() {
        return get(remote, repository, reference, until, request)
            .await
            .map(with_body);
    }
    match told(remote, repository, reference, until, request).await? {
        Told::Head(head) => Ok(head),
        Told::TooLittle => {
            remote.ask_by_get_from_now_on();
            let body = get(remote, repository, reference, until, request).await?;
            Ok(with_body(body))
        }
        Told::Perhaps(error) => match get(remote, repository, reference, until, request).await {
            Ok(body) => {
                remote.ask_by_get_from_now_on();
                Ok(with_body(body))
            }
            Err(gone) if gone.kind == Kind::Gone => {
                remote.head_knows_absence.store(true, Ordering::Relaxed);
                Err(gone)
            }
            Err(_) => Err(error),
        },
    }
}

/// What a GET told in the place of a HEAD, so that nobody has to ask for the bytes again.
fn with_body(body: ManifestBody) -> ManifestHead {
    ManifestHead {
        body: Some(body.bytes),
        ..body.head
    }
}

async fn told(
    remote: &Remote,
    repository: &RepositoryName,
    reference: &Reference,
    until: Instant,
    request: &Request,
) -> Result<Told, Error> {
    let repository = remote.config.profile.repository(repository);
    let ask = ask(Method::HEAD, &repository, reference, until, request);
    let answer = remote.send(&ask).await?;
    match answer.status().as_u16() {
        200 => {
            let head = read_head(&answer, reference)?;
            Ok(head.map_or(Told::TooLittle, Told::Head))
        }
        405 | 501 => Ok(Told::TooLittle),
        // A node means it, and says in a header where it failed: asking for its words would be asked again at each tier.
        403 | 404 if answer.failed_at_a_node() => Err(remote.refusal(answer).await),
        404 if !answer.elsewhere && !remote.head_knows_absence.load(Ordering::Relaxed) => {
            Ok(Told::Perhaps(remote.refusal(answer).await))
        }
        403 if !answer.elsewhere => reason(remote, &ask, answer).await,
        _ => Err(remote.refusal(answer).await),
    }
}

/// What a HEAD's 403 means: by one GET, the way it was asked.
async fn reason(remote: &Remote, ask: &Ask<'_>, answer: Answer) -> Result<Told, Error> {
    let get = Ask {
        method: Method::GET,
        target: ask.target.clone(),
        ..*ask
    };
    let Ok(reason) = remote.send_again_as(&get, &answer).await else {
        return Err(remote.refusal(answer).await);
    };
    match reason.status() {
        StatusCode::OK => Ok(Told::TooLittle),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
            Err(remote.refusal(reason).await)
        }
        _ => Err(remote.refusal(answer).await),
    }
}

fn ask<'a>(
    method: Method,
    repository: &'a RepositoryName,
    reference: &Reference,
    until: Instant,
    request: &'a Request,
) -> Ask<'a> {
    let route = Route::Manifest {
        repository: repository.clone(),
        reference: reference.clone(),
        verb: ContentVerb::Get,
    };
    Ask {
        method,
        target: route.path_and_query(),
        repository,
        accept: media_type::ACCEPT_MANIFESTS,
        range: None,
        until: Some(until),
        request,
    }
}

/// What the headers of a 200 say; `None` when they leave out what is needed.
fn read_head(answer: &Answer, reference: &Reference) -> Result<Option<ManifestHead>, Error> {
    let media_type = media_type(answer)?;
    let stated = stated_digest(answer)?;
    let digest = match (reference, stated) {
        (Reference::Digest(asked), Some(stated))
            if stated.algorithm() == asked.algorithm() && stated != *asked =>
        {
            let detail = format!("asked for {asked}, the answer is about {stated}");
            return Err(Error::wrong(detail));
        }
        (Reference::Digest(asked), _) => asked.clone(),
        (Reference::Tag(_), Some(stated)) => stated,
        (Reference::Tag(_), None) => return Ok(None),
    };
    let length = answer.header(header::CONTENT_LENGTH);
    let Some(size) = length.and_then(|text| text.trim().parse().ok()) else {
        return Ok(None);
    };
    Ok(Some(ManifestHead {
        digest,
        media_type,
        size,
        age: answer.age(),
        cache_status: answer.cache_status(),
        warning: answer.warning(),
        body: None,
    }))
}

/// `Docker-Content-Digest`, if there is one; one that is no digest that we know is no answer.
fn stated_digest(answer: &Answer) -> Result<Option<Digest>, Error> {
    let Some(value) = answer.headers().get(DOCKER_CONTENT_DIGEST) else {
        return Ok(None);
    };
    let digest = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let wrong = || Error::wrong("Docker-Content-Digest is not a digest of a known algorithm");
    digest.map(Some).ok_or_else(wrong)
}

/// The type of a manifest's answer: what is compressed or a web page is none.
fn media_type(answer: &Answer) -> Result<String, Error> {
    refuse_encoding(answer)?;
    let essence = media_type::essence(answer.header(header::CONTENT_TYPE).unwrap_or_default());
    if essence == "text/html" {
        return Err(Error::wrong("a web page instead of a manifest"));
    }
    Ok(essence)
}

/// Bytes in another encoding than asked for are other bytes.
pub(super) fn refuse_encoding(answer: &Answer) -> Result<(), Error> {
    match answer.header(header::CONTENT_ENCODING) {
        None | Some("" | "identity") => Ok(()),
        Some(other) => Err(Error::wrong(format!("the answer is encoded as {other}"))),
    }
}

pub(super) async fn get(
    remote: &Remote,
    repository: &RepositoryName,
    reference: &Reference,
    until: Instant,
    request: &Request,
) -> Result<ManifestBody, Error> {
    let repository = remote.config.profile.repository(repository);
    let ask = ask(Method::GET, &repository, reference, until, request);
    match fetch(remote, &ask, reference).await {
        Err(error) if error.kind == Kind::Broken => fetch(remote, &ask, reference).await,
        other => other,
    }
}

async fn fetch(
    remote: &Remote,
    ask: &Ask<'_>,
    reference: &Reference,
) -> Result<ManifestBody, Error> {
    let answer = remote.send(ask).await?;
    if answer.status() != StatusCode::OK {
        return Err(remote.refusal(answer).await);
    }
    let essence = media_type(&answer)?;
    let stated = stated_digest(&answer)?;
    let head = ManifestHead {
        digest: Digest::sha256(b""),
        media_type: essence,
        size: 0,
        age: answer.age(),
        cache_status: answer.cache_status(),
        warning: answer.warning(),
        body: None,
    };
    let bytes = body::whole(remote, answer.response, MAX_BYTES, Patience::Long).await?;
    verified(head, bytes, reference, stated)
}

/// The manifest, if the bytes are one and the one asked for.
fn verified(
    head: ManifestHead,
    bytes: Bytes,
    reference: &Reference,
    stated: Option<Digest>,
) -> Result<ManifestBody, Error> {
    let wanted = match reference {
        Reference::Digest(asked) => Some(asked.clone()),
        Reference::Tag(_) => stated,
    };
    let algorithm = wanted.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let digest = Digest::of(algorithm, &bytes);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
        let length = bytes.len();
        let detail = format!("{wanted} was promised, {length} bytes of {digest} came");
        return Err(Error::wrong(detail));
    }
    let manifest = Manifest::parse(&bytes, Some(&head.media_type));
    let manifest = manifest.map_err(|error| Error::wrong(error.to_string()))?;
    let head = ManifestHead {
        digest,
        media_type: manifest.media_type,
        size: bytes.len() as u64,
        ..head
    };
    Ok(ManifestBody { head, bytes })
}
