//! The headers of content: digest, length, type, ETag, and what an answer says about where it came from.
//!
//! Only what is set here leaves the node: nothing of an upstream's headers is copied. Source:
//! `spec/pull-through.md` "What the client sees", OCI distribution-spec 1.1.1.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use wire::{cache_status, digest::Digest};

use crate::registry::Provenance;

/// `Docker-Content-Digest`
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
/// `Docker-Distribution-Api-Version`, which old Docker clients look for.
pub(super) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
/// `Docker-Upload-UUID`
pub(super) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// `OCI-Namespace`
pub(super) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// `OCI-Subject`
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// `OCI-Tag`
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// `OCI-Filters-Applied`
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// `Cache-Status`
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Says which node failed, so that the tier below does not try again what was tried next to the fault.
pub(super) const FAILED: HeaderName = HeaderName::from_static("x-regmesh-failed");
/// What was recalled, on the refusal of it or of what contains it: so that a node below does not think it lost a right.
pub(super) const RECALLED: HeaderName = HeaderName::from_static("x-regmesh-recalled");
/// The request's id, as in log and errors.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sets a header to a text of ours; a text that is no header value is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The headers of a content as a whole: digest, ETag, type, `Accept-Ranges`. The length is that of what is sent.
pub(super) fn content(headers: &mut HeaderMap, digest: &Digest, media_type: &str, length: u64) {
    set(headers, DOCKER_CONTENT_DIGEST, digest.as_str());
    let mut quoted = String::with_capacity(digest.as_str().len() + 2);
    quoted.push('"');
    quoted.push_str(digest.as_str());
    quoted.push('"');
    set(headers, header::ETAG, &quoted);
    set(headers, header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

/// `Cache-Status`, `Age` and `Warning`.
pub(super) fn provenance(headers: &mut HeaderMap, provenance: &Provenance) {
    if let Some(cache) = &provenance.cache {
        set(
            headers,
            CACHE_STATUS,
            &cache.after(provenance.upstream_cache.as_deref()),
        );
    }
    if let Some(age) = provenance.age {
        headers.insert(header::AGE, HeaderValue::from(age));
    }
    if let Some(warning) = &provenance.warning {
        set(headers, header::WARNING, &cache_status::warning(warning));
    }
}

/// Whether `If-None-Match` names this content, so that 304 is the answer.
#[must_use]
pub(super) fn unchanged(headers: &HeaderMap, digest: &Digest) -> bool {
    let values = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == digest.as_str()
    })
}

/// Whether `If-Range`, where there is one, still means this content: only the strong ETag of its digest does.
#[must_use]
pub(super) fn range_still_valid(headers: &HeaderMap, digest: &Digest) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|v| {
        v.to_str()
            .is_ok_and(|v| v.trim().trim_matches('"') == digest.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conditional_request_compares_the_digest_whatever_the_quotes() {
        let digest = Digest::sha256(b"x");
        let cases = [
            (format!("\"{digest}\""), true),
            (format!("W/\"{digest}\""), true),
            (format!("\"other\", \"{digest}\""), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            set(&mut headers, header::IF_NONE_MATCH, &value);
            assert_eq!(unchanged(&headers, &digest), expected, "{value}");
        }
        assert!(!unchanged(&HeaderMap::new(), &digest));
    }

    #[test]
    fn a_range_of_something_else_is_answered_whole() {
        let digest = Digest::sha256(b"x");
        let mut headers = HeaderMap::new();
        assert!(range_still_valid(&headers, &digest));
        set(&mut headers, header::IF_RANGE, "\"other\"");
        assert!(!range_still_valid(&headers, &digest));
        set(&mut headers, header::IF_RANGE, &format!("\"{digest}\""));
        assert!(range_still_valid(&headers, &digest));
    }
}
