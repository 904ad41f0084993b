//! Lists: tags, referrers, the catalog. `Link` always leads back to this node.

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use wire::{
    digest::Digest, media_type, page, page::Page, repository::RepositoryName, route::Route,
};

use super::{
    Answered, Http,
    header::{self as headers, OCI_FILTERS_APPLIED, set},
};
use crate::{
    registry::{Error, Provenance},
    request::Request,
};

pub(super) async fn tags(
    http: &Http,
    repository: &RepositoryName,
    page: &Page,
    request: &Request,
) -> Result<Answered, Error> {
    let answer = http.registry.tags(repository, page, request).await?;
    let body = serde_json::json!({"name": repository, "tags": answer.tags}).to_string();
    let next = answer.next.map(|last| Route::Tags {
        repository: repository.clone(),
        page: page.after(&last),
    });
    Ok(list(
        body.into(),
        "application/json",
        next.as_ref(),
        answer.provenance,
    ))
}

pub(super) async fn referrers(
    http: &Http,
    repository: &RepositoryName,
    digest: &Digest,
    artifact_type: Option<&str>,
    page: &Page,
    request: &Request,
) -> Result<Answered, Error> {
    let answer = http
        .registry
        .referrers(repository, digest, artifact_type, page, request)
        .await?;
    let next = answer.next.map(|last| Route::Referrers {
        repository: repository.clone(),
        digest: digest.clone(),
        artifact_type: artifact_type.map(ToOwned::to_owned),
        page: page.after(&last),
    });
    let mut answered = list(
        answer.index,
        media_type::OCI_INDEX,
        next.as_ref(),
        answer.provenance,
    );
    if answer.filtered {
        answered.response.headers_mut().insert(
            OCI_FILTERS_APPLIED,
            HeaderValue::from_static("artifactType"),
        );
    }
    Ok(answered)
}

pub(super) async fn catalog(
    http: &Http,
    page: &Page,
    may_see: impl Fn(&RepositoryName) -> bool + Send,
) -> Result<Answered, Error> {
    let answer = http.registry.catalog(page, may_see).await?;
    let body = serde_json::json!({"repositories": answer.repositories}).to_string();
    let next = answer.next.map(|last| Route::Catalog {
        page: page.after(&last),
    });
    Ok(list(
        body.into(),
        "application/json",
        next.as_ref(),
        Provenance::local(),
    ))
}

fn list(
    body: bytes::Bytes,
    content_type: &'static str,
    next: Option<&Route>,
    provenance: Provenance,
) -> Answered {
    let length = body.len() as u64;
    let mut response = Response::new(Body::from(body));
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(next) = next {
        set(map, header::LINK, &page::link(&next.path_and_query()));
    }
    headers::provenance(map, &provenance);
    Answered::content(response, provenance, None, Some(length))
}
