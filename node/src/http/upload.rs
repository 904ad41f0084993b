//! Uploads: begin, mount, chunk, finish, status, cancel. Source: OCI distribution-spec 1.1.1 "Push", and its main branch.

use axum::{body::Body, response::Response};
use futures_util::TryStreamExt;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use wire::{
    digest::{Algorithm, Digest},
    oci_error::Code,
    range::{self, Span},
    repository::RepositoryName,
    route::UploadId,
};

use super::{
    Answered, Http,
    header::{DOCKER_CONTENT_DIGEST, UPLOAD_UUID, set},
};
use crate::{
    registry::{Error, Mount, Upload, UploadStart, UploadStarted},
    request::Request,
};

/// What `POST /blobs/uploads/` asks for.
pub(super) struct Start {
    /// A blob to mount.
    pub(super) mount: Option<Mount>,
    /// The body is the whole blob.
    pub(super) digest: Option<Digest>,
    /// The announced algorithm.
    pub(super) algorithm: Option<Algorithm>,
}

pub(super) async fn start(
    http: &Http,
    repository: &RepositoryName,
    start: Start,
    body: Body,
    request: &Request,
) -> Result<Answered, Error> {
    if let Some(digest) = &start.digest {
        let digest = http
            .registry
            .push_blob(repository, digest, chunks(http, body))
            .await?;
        return Ok(created(repository, digest));
    }
    let algorithm = start.algorithm.unwrap_or_default();
    match http
        .registry
        .start_upload(
            repository,
            UploadStart {
                mount: start.mount,
                algorithm,
            },
            request,
        )
        .await?
    {
        UploadStarted::Mounted(digest) => Ok(created(repository, digest)),
        UploadStarted::Upload(upload) => Ok(progress(repository, &upload, StatusCode::ACCEPTED)),
    }
}

pub(super) async fn patch(
    http: &Http,
    repository: &RepositoryName,
    id: UploadId,
    given: &HeaderMap,
    body: Body,
) -> Result<Answered, Error> {
    let expected = expected(given)?;
    let upload = http
        .registry
        .append_upload(id.0, repository, expected, chunks(http, body))
        .await?;
    Ok(progress(repository, &upload, StatusCode::ACCEPTED))
}

pub(super) async fn put(
    http: &Http,
    repository: &RepositoryName,
    id: UploadId,
    digest: &Digest,
    given: &HeaderMap,
    body: Body,
) -> Result<Answered, Error> {
    let empty = given
        .get(header::CONTENT_LENGTH)
        .is_some_and(|v| v.as_bytes() == b"0");
    let expected = if empty { None } else { expected(given)? };
    let digest = http
        .registry
        .finish_upload(id.0, repository, digest, expected, chunks(http, body))
        .await?;
    Ok(created(repository, digest))
}

pub(super) async fn status(
    http: &Http,
    repository: &RepositoryName,
    id: UploadId,
) -> Result<Answered, Error> {
    let upload = http.registry.upload_status(id.0, repository).await?;
    Ok(progress(repository, &upload, StatusCode::NO_CONTENT))
}

pub(super) async fn cancel(
    http: &Http,
    repository: &RepositoryName,
    id: UploadId,
) -> Result<Answered, Error> {
    http.registry.cancel_upload(id.0, repository).await?;
    Ok(Answered::status(StatusCode::NO_CONTENT))
}

/// The body as it arrives; a client that sends nothing for too long is cut off, one that sends slowly is not.
fn chunks(
    http: &Http,
    body: Body,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, String>> + Send + use<> {
    let (clock, silence) = (http.clock.clone(), http.settings.upload_silence);
    futures_util::stream::try_unfold(body, move |mut body| {
        let clock = clock.clone();
        async move {
            loop {
                let frame = match clock.timeout(silence, body.frame()).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(frame)) => frame.map_err(|error| error.to_string())?,
                    Err(_) => return Err(format!("no byte came for {} s", silence.as_secs())),
                };
                if let Ok(data) = frame.into_data() {
                    return Ok(Some((data, body)));
                }
            }
        }
    })
    .into_stream()
}

/// The place of a chunk, where the client says one.
fn expected(given: &HeaderMap) -> Result<Option<Span>, Error> {
    let Some(value) = given.get(header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    range::parse_upload(text)
        .map(Some)
        .map_err(|error| Error::Invalid {
            code: Code::BlobUploadInvalid,
            message: format!("Content-Range: {error}"),
            detail: serde_json::json!({"contentRange": text.chars().take(100).collect::<String>()}),
        })
}

fn progress(repository: &RepositoryName, upload: &Upload, status: StatusCode) -> Answered {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(
        headers,
        header::LOCATION,
        &format!("/v2/{repository}/blobs/uploads/{}", UploadId(upload.id)),
    );
    set(
        headers,
        header::RANGE,
        &range::upload_progress(upload.length),
    );
    set(headers, UPLOAD_UUID, &UploadId(upload.id).to_string());
    if status != StatusCode::NO_CONTENT {
        set(headers, header::CONTENT_LENGTH, "0");
    }
    Answered::local(response, None)
}

fn created(repository: &RepositoryName, digest: Digest) -> Answered {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    set(
        headers,
        header::LOCATION,
        &format!("/v2/{repository}/blobs/{digest}"),
    );
    set(headers, DOCKER_CONTENT_DIGEST, digest.as_str());
    set(headers, header::CONTENT_LENGTH, "0");
    Answered::local(response, Some(digest))
}
