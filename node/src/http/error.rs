//! The one table from a registry's error to a status; the envelope comes from the error itself.
//!
//! Here, once, the chain of causes is logged. 503 always says when to come back, and never is an upstream's 401 or 429 handed
//! to a client. Source: `reference/clients-and-peers.md` section 3.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use wire::{
    name::NodeName,
    oci_error::{Code, OciError},
    range,
    route::RouteError,
};

use super::header::{FAILED, RECALLED, set};
use crate::{registry, store};

/// The status of an error.
#[must_use]
pub fn status(error: &registry::Error) -> StatusCode {
    use registry::Error;
    match error {
        Error::NameUnknown { .. }
        | Error::ManifestUnknown { .. }
        | Error::BlobUnknown { .. }
        | Error::ChildrenMissing { .. }
        | Error::UploadUnknown => StatusCode::NOT_FOUND,
        Error::Denied(_) | Error::Recalled { .. } => StatusCode::FORBIDDEN,
        Error::Wrong(_) => StatusCode::BAD_GATEWAY,
        Error::Loop { .. } => StatusCode::LOOP_DETECTED,
        Error::FilledByRule { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Error::Invalid { .. } | Error::UploadInvalid { .. } => StatusCode::BAD_REQUEST,
        Error::UploadOutOfOrder { .. } | Error::RangeNotSatisfiable { .. } => {
            StatusCode::RANGE_NOT_SATISFIABLE
        }
        Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Store(store::Error::Full) => StatusCode::INSUFFICIENT_STORAGE,
        Error::Away(_) | Error::Store(_) | Error::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The answer for an error of the registry; `id` is the request's, for whoever looks into the log.
#[must_use]
pub(super) fn response(error: &registry::Error, node: &NodeName, id: &str) -> Response {
    let status = status(error);
    let mut envelope = error.envelope();
    if let Some(detail) = envelope
        .detail
        .as_mut()
        .and_then(serde_json::Value::as_object_mut)
    {
        detail.insert("id".to_owned(), id.into());
    }
    let mut response = oci(status, &envelope);
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    // The tier next to the fault names itself, those below pass its name on: only it tries again.
    match error.trouble() {
        Some(trouble) => {
            let failed_at = trouble.failed_at.as_deref().unwrap_or(node.as_str());
            set(headers, FAILED, failed_at);
        }
        None if status.is_server_error() => set(headers, FAILED, node.as_str()),
        None => {}
    }
    if let registry::Error::Recalled { digest, .. } = error {
        set(headers, RECALLED, digest.as_str());
    }
    if let registry::Error::FilledByRule { .. } = error {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, DELETE"));
    }
    if let registry::Error::RangeNotSatisfiable { size } = error {
        set(headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
    }
    if let registry::Error::UploadOutOfOrder { length } = error {
        set(headers, header::RANGE, &range::upload_progress(*length));
    }
    response
}

/// The answer for a request that is no route.
#[must_use]
pub(super) fn no_route(error: &RouteError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = oci(status, &error.to_oci());
    if let RouteError::MethodNotAllowed(methods) = error {
        set(response.headers_mut(), header::ALLOW, &methods.join(", "));
    }
    response
}

/// 503 for a node that cannot take the request now, for the reason said.
#[must_use]
pub(super) fn unavailable(why: &str, after: Duration, node: &NodeName) -> Response {
    let mut response = oci(
        StatusCode::SERVICE_UNAVAILABLE,
        &OciError::new(Code::Unavailable, why),
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
    set(response.headers_mut(), FAILED, node.as_str());
    response
}

/// An error body.
#[must_use]
pub(super) fn oci(status: StatusCode, error: &OciError) -> Response {
    let body = error.to_body();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
    response
}

/// Whole seconds, at least one and at most five minutes.
fn seconds(after: Duration) -> u64 {
    after
        .as_millis()
        .div_ceil(1000)
        .clamp(1, 300)
        .try_into()
        .unwrap_or(300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_zero_and_never_long() {
        for (after, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (10_000_000, 300)] {
            assert_eq!(seconds(Duration::from_millis(after)), expected);
        }
    }

    #[test]
    fn an_unknown_method_names_those_there_are() {
        let response = no_route(&RouteError::MethodNotAllowed(&["GET", "HEAD"]));
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }
}
