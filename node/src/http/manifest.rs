//! Manifests: GET, HEAD, PUT, DELETE.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use wire::{
    manifest::MAX_BYTES,
    oci_error::Code,
    reference::{Reference, Tag},
    repository::RepositoryName,
    route::ContentVerb,
};

use super::{
    Answered, Http,
    header::{self as headers, OCI_SUBJECT, OCI_TAG, set},
};
use crate::{registry::Error, request::Request};

pub(super) async fn get(
    http: &Http,
    repository: &RepositoryName,
    reference: &Reference,
    verb: ContentVerb,
    conditions: &HeaderMap,
    request: &Request,
) -> Result<Answered, Error> {
    let answer = http
        .registry
        .manifest(repository, reference, verb, request)
        .await?;
    let mut response = Response::new(Body::empty());
    let unchanged = headers::unchanged(conditions, &answer.digest);
    let map = response.headers_mut();
    headers::content(map, &answer.digest, &answer.media_type, answer.size);
    headers::provenance(map, &answer.provenance);
    if unchanged {
        map.remove(header::CONTENT_LENGTH);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if let Some(bytes) = answer.bytes {
        *response.body_mut() = Body::from(bytes);
    }
    let sent = if unchanged || verb == ContentVerb::Head {
        0
    } else {
        answer.size
    };
    Ok(Answered::content(
        response,
        answer.provenance,
        Some(answer.digest),
        Some(sent),
    ))
}

pub(super) async fn put(
    http: &Http,
    repository: &RepositoryName,
    reference: &Reference,
    tags: &[Tag],
    given: &HeaderMap,
    body: Body,
    request: &Request,
) -> Result<Answered, Error> {
    let content_type = given
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let bytes = whole(body).await?;
    let put = http
        .registry
        .put_manifest(repository, reference, tags, content_type, bytes, request)
        .await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let map = response.headers_mut();
    set(
        map,
        header::LOCATION,
        &format!("/v2/{repository}/manifests/{}", put.digest),
    );
    set(map, headers::DOCKER_CONTENT_DIGEST, put.digest.as_str());
    if let Some(subject) = &put.subject {
        set(map, OCI_SUBJECT, subject.as_str());
    }
    for tag in &put.tags {
        if let Ok(value) = HeaderValue::from_str(tag.as_str()) {
            map.append(OCI_TAG, value);
        }
    }
    Ok(Answered::local(response, Some(put.digest)))
}

pub(super) async fn delete(
    http: &Http,
    repository: &RepositoryName,
    reference: &Reference,
    request: &Request,
) -> Result<Answered, Error> {
    http.registry
        .delete_manifest(repository, reference, request)
        .await?;
    Ok(Answered::status(StatusCode::ACCEPTED))
}

/// The whole body of a push, at most as long as a manifest may be.
async fn whole(body: Body) -> Result<Bytes, Error> {
    match Limited::new(body, MAX_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge {
            limit: MAX_BYTES as u64,
        }),
        Err(error) => Err(Error::Invalid {
            code: Code::ManifestInvalid,
            message: format!("the manifest did not arrive whole: {error}"),
            detail: serde_json::json!({}),
        }),
    }
}
