//! What an honest registry answers, by the distribution-spec.

use std::ops::Range;

use serde_json::{Value, json};

use crate::origin::shelf::{Manifest, Shelf};
use crate::server::{Answer, Request};

const INDEX: &str = wire::media_type::OCI_INDEX;

pub(crate) fn answer(shelf: &Shelf, request: &Request) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::error(405, "UNSUPPORTED");
    }
    let Some(path) = request.path.strip_prefix("/v2/") else {
        return Answer::error(404, "NAME_UNKNOWN");
    };
    if path.is_empty() {
        return Answer::json(200, &json!({}))
            .with("docker-distribution-api-version", "registry/2.0");
    }
    if let Some((name, reference)) = path.rsplit_once("/manifests/") {
        return manifest(shelf.manifest(name, reference));
    }
    if let Some((name, digest)) = path.rsplit_once("/blobs/") {
        return blob(shelf, name, digest, request);
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        return tags(shelf, name, request);
    }
    match path.rsplit_once("/referrers/") {
        Some((name, digest)) if shelf.offers_referrers() => referrers(shelf, name, digest, request),
        _ => Answer::error(404, "UNSUPPORTED"),
    }
}

fn manifest(manifest: Option<Manifest>) -> Answer {
    let Some(manifest) = manifest else {
        return Answer::error(404, "MANIFEST_UNKNOWN");
    };
    Answer::new(200, manifest.bytes)
        .with("content-type", manifest.media_type)
        .with("docker-content-digest", manifest.digest.as_str())
        .with("etag", format!("\"{}\"", manifest.digest))
}

fn blob(shelf: &Shelf, name: &str, digest: &str, request: &Request) -> Answer {
    let content = digest.parse().ok().and_then(|d| shelf.blob(name, &d));
    let Some(content) = content else {
        return Answer::error(404, "BLOB_UNKNOWN");
    };
    let size = content.len();
    let whole = Answer::new(200, content)
        .with("content-type", "application/octet-stream")
        .with("docker-content-digest", digest)
        .with("accept-ranges", "bytes")
        .with("etag", format!("\"{digest}\""));
    let Some(range) = request.header("range") else {
        return whole;
    };
    match range_of(range, size) {
        None => Answer::error(416, "BLOB_UNKNOWN").with("content-range", format!("bytes */{size}")),
        Some(range) => {
            let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            let mut part = whole.with("content-range", shown);
            part.status = 206;
            part.body = part.body.slice(range);
            part
        }
    }
}

/// The one range that is asked for; `None` when it cannot be satisfied.
fn range_of(header: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..size.min(last.checked_add(1)?),
        (Ok(first), Err(_)) => first..size,
        (Err(_), Ok(count)) => size.saturating_sub(count)..size,
        (Err(_), Err(_)) => return None,
    };
    (range.start < range.end).then_some(range)
}

fn tags(shelf: &Shelf, name: &str, request: &Request) -> Answer {
    let Some(tags) = shelf.tags(name) else {
        return Answer::error(404, "NAME_UNKNOWN");
    };
    let last = request.params("last").pop().unwrap_or_default();
    let left: Vec<&String> = tags.iter().filter(|tag| **tag > last).collect();
    let count = request.params("n").pop().and_then(|n| n.parse().ok());
    let page = &left[..left.len().min(count.unwrap_or(usize::MAX))];
    let answer = Answer::json(200, &json!({"name": name, "tags": page}));
    match page.last() {
        Some(last) if page.len() < left.len() => {
            let next = format!(
                "</v2/{name}/tags/list?n={}&last={last}>; rel=\"next\"",
                page.len()
            );
            answer.with("link", next)
        }
        _ => answer,
    }
}

fn referrers(shelf: &Shelf, name: &str, digest: &str, request: &Request) -> Answer {
    let wanted = request.params("artifactType").pop();
    let listed: Vec<Value> = shelf
        .manifests(name)
        .iter()
        .filter_map(|manifest| referrer(manifest, digest))
        .filter(|entry| {
            wanted
                .as_ref()
                .is_none_or(|wanted| entry["artifactType"] == **wanted)
        })
        .collect();
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
    let answer = Answer::json(200, &list).with("content-type", INDEX);
    match wanted {
        Some(_) => answer.with("oci-filters-applied", "artifactType"),
        None => answer,
    }
}

/// The descriptor of a manifest in the list of what refers to `subject`.
fn referrer(manifest: &Manifest, subject: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    if value["subject"]["digest"] != subject {
        return None;
    }
    let given = &value["artifactType"];
    let artifact_type = if given.is_null() {
        &value["config"]["mediaType"]
    } else {
        given
    };
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest.as_str(),
        "size": manifest.bytes.len(),
        "artifactType": artifact_type,
    });
    if !value["annotations"].is_null() {
        entry["annotations"] = value["annotations"].clone();
    }
    Some(entry)
}
