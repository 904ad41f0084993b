//! Blobs: GET, HEAD, ranges, DELETE.

use std::{io, sync::Arc};

use axum::{body::Body, response::Response};
use http::{HeaderMap, StatusCode, header};
use wire::{
    digest::Digest,
    range::{ByteRange, ContentRange},
    repository::RepositoryName,
    route::ContentVerb,
};

use super::{
    Answered, Http,
    body::{self, Meter},
    header as headers,
};
use crate::{
    registry::{BlobAnswer, BlobBody, Error},
    request::Request,
    store,
};

/// The type of every blob: what it is stands in the manifest.
const MEDIA_TYPE: &str = "application/octet-stream";

pub(super) async fn get(
    http: &Http,
    repository: &RepositoryName,
    digest: &Digest,
    verb: ContentVerb,
    given: &HeaderMap,
    request: &Request,
    meter: Arc<dyn Meter>,
) -> Result<Answered, Error> {
    if headers::unchanged(given, digest)
        && let Ok(answer) = http
            .registry
            .blob(repository, digest, ContentVerb::Head, None, request)
            .await
    {
        return Ok(unchanged(answer));
    }
    let range = given
        .get(header::RANGE)
        .and_then(|v| v.to_str().ok())
        .and_then(ByteRange::parse);
    let range =
        range.filter(|_| verb == ContentVerb::Get && headers::range_still_valid(given, digest));
    let answer = http
        .registry
        .blob(repository, digest, verb, range, request)
        .await?;
    let sent = answer.range();
    let length = sent.end.saturating_sub(sent.start);
    let mut response = Response::new(Body::empty());
    headers::content(response.headers_mut(), &answer.digest, MEDIA_TYPE, length);
    headers::provenance(response.headers_mut(), &answer.provenance);
    if let Some(span) = answer.part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = ContentRange::Part {
            span,
            length: Some(answer.size),
        };
        headers::set(
            response.headers_mut(),
            header::CONTENT_RANGE,
            &value.to_string(),
        );
    }
    let provenance = answer.provenance;
    let (body, counted) = match answer.body {
        BlobBody::None => (Body::empty(), Some(0)),
        BlobBody::Stored(content) => body::stored(content, sent, meter)
            .await
            .map_err(|error| unreadable(http, &error))?,
        BlobBody::Filling(fill) => (body::streamed(fill.read(sent), length, meter), None),
    };
    *response.body_mut() = body;
    Ok(Answered::content(
        response,
        provenance,
        Some(answer.digest),
        counted,
    ))
}

pub(super) async fn delete(
    http: &Http,
    repository: &RepositoryName,
    digest: &Digest,
    request: &Request,
) -> Result<Answered, Error> {
    http.registry
        .delete_blob(repository, digest, request)
        .await?;
    Ok(Answered::status(StatusCode::ACCEPTED))
}

/// 304, with the headers that the 200 would have had (RFC 9110 15.4.5).
fn unchanged(answer: BlobAnswer) -> Answered {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let map = response.headers_mut();
    headers::content(map, &answer.digest, MEDIA_TYPE, answer.size);
    map.remove(header::CONTENT_LENGTH);
    headers::provenance(map, &answer.provenance);
    Answered::content(response, answer.provenance, Some(answer.digest), Some(0))
}

fn unreadable(http: &Http, error: &io::Error) -> Error {
    let error = store::Error::from(io::Error::new(error.kind(), error.to_string()));
    http.store.report("read", &error);
    Error::Store(error)
}
