//! What every upstream promises, whatever it is made of. A fixture says what the upstream holds; the suite asks for it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use runtime::telemetry::TraceContext;
use wire::{
    digest::Digest, hops::Hops, manifest::Manifest, page::Page, reference::Reference,
    repository::RepositoryName,
};

use super::{BlobBody, BlobRange, Error, Patience, Upstream, error::Kind};
use crate::request::Request;

/// What the upstream under test holds, in one repository.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The repository.
    pub repository: RepositoryName,
    /// A tag of it, and the only one.
    pub tag: String,
    /// The bytes of the manifest that the tag means.
    pub manifest: Bytes,
    /// A blob of at least ten bytes.
    pub blob: Bytes,
}

/// A request on nobody's behalf.
#[must_use]
pub fn request() -> Request {
    Request {
        info: Arc::default(),
        trace: TraceContext::fresh(),
        hops: Hops::default(),
        no_cache: false,
        only_stored: false,
        began: None,
    }
}

/// Reads a transfer to its end, or to what stopped it.
pub async fn read(mut body: BlobBody) -> (Vec<u8>, Option<Error>) {
    let mut bytes = Vec::new();
    while let Some(piece) = body.stream.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

/// Runs the whole suite; panics where a promise is broken.
pub async fn check(upstream: &dyn Upstream, fixture: &Fixture) {
    assert!(!upstream.name().is_empty());
    manifests(upstream, fixture).await;
    blobs(upstream, fixture).await;
    ranges(upstream, fixture).await;
    lists(upstream, fixture).await;
    absence(upstream, fixture).await;
}

async fn manifests(upstream: &dyn Upstream, fixture: &Fixture) {
    let request = request();
    let digest = Digest::sha256(&fixture.manifest);
    let by_tag = fixture.tag.parse().expect("the fixture's tag is legal");
    for reference in [by_tag, Reference::Digest(digest.clone())] {
        let repository = &fixture.repository;
        for patience in [Patience::Short, Patience::Long] {
            let head = upstream.head_manifest(repository, &reference, patience, &request);
            let head = head.await.expect("HEAD of what is there");
            assert_eq!(head.digest, digest, "HEAD {reference}");
            assert_eq!(head.size, fixture.manifest.len() as u64);
        }
        let body = upstream.get_manifest(repository, &reference, &request);
        let body = body.await.expect("GET of what is there");
        assert_eq!(
            (&body.bytes, &body.head.digest),
            (&fixture.manifest, &digest)
        );
        let read = Manifest::parse(&body.bytes, None).expect("the fixture's manifest is one");
        assert_eq!(body.head.media_type, read.media_type);
    }
}

async fn blobs(upstream: &dyn Upstream, fixture: &Fixture) {
    let request = request();
    let digest = Digest::sha256(&fixture.blob);
    let size = upstream.head_blob(&fixture.repository, &digest, &request);
    assert_eq!(
        size.await.expect("HEAD of a blob").size,
        fixture.blob.len() as u64
    );
    let body = upstream.get_blob(&fixture.repository, &digest, None, &request);
    let body = body.await.expect("GET of a blob");
    assert_eq!((body.offset, body.size), (0, fixture.blob.len() as u64));
    let (bytes, error) = read(body).await;
    assert!(
        error.is_none() && bytes == fixture.blob,
        "a blob comes whole"
    );
}

async fn ranges(upstream: &dyn Upstream, fixture: &Fixture) {
    let request = request();
    let digest = Digest::sha256(&fixture.blob);
    let size = fixture.blob.len() as u64;
    for (start, end) in [
        (0, None),
        (3, None),
        (3, Some(7)),
        (size - 1, None),
        (0, Some(0)),
    ] {
        let range = Some(BlobRange { start, end });
        let body = upstream.get_blob(&fixture.repository, &digest, range, &request);
        let body = body.await.expect("GET of a part");
        assert_eq!(body.size, size, "the size is that of the whole");
        assert!(
            body.offset == start || body.offset == 0,
            "at the start asked for, or at 0"
        );
        let last = if body.offset == start {
            end.unwrap_or(size - 1)
        } else {
            size - 1
        };
        let wanted = fixture.blob.slice(body.offset as usize..=last as usize);
        let (bytes, error) = read(body).await;
        assert!(error.is_none() && bytes == wanted, "{range:?}");
    }
}

async fn lists(upstream: &dyn Upstream, fixture: &Fixture) {
    let request = request();
    let tags = upstream
        .tags(
            &fixture.repository,
            &Page::default(),
            Patience::Short,
            &request,
        )
        .await;
    let tags = tags.expect("a list of tags");
    assert_eq!((tags.tags, tags.next), (vec![fixture.tag.clone()], None));
    let subject = Digest::sha256(&fixture.manifest);
    let referrers = upstream.referrers(&fixture.repository, &subject, Patience::Long, &request);
    let referrers = referrers.await.expect("a list of referrers");
    let index = Manifest::parse(&referrers.index, None).expect("referrers are an index");
    assert!(
        index.children().is_empty(),
        "nothing refers to the fixture's manifest"
    );
}

async fn absence(upstream: &dyn Upstream, fixture: &Fixture) {
    let request = request();
    let absent = Digest::sha256(b"nobody has this");
    let repository = &fixture.repository;
    let gone = |error: Error| assert_eq!(error.kind, Kind::Gone, "{error}");
    for reference in [
        "no-such-tag".parse().expect("a legal tag"),
        Reference::Digest(absent.clone()),
    ] {
        let head = upstream.head_manifest(repository, &reference, Patience::Long, &request);
        gone(head.await.expect_err("HEAD of nothing"));
        let body = upstream.get_manifest(repository, &reference, &request);
        gone(body.await.expect_err("GET of nothing"));
    }
    let head = upstream.head_blob(repository, &absent, &request).await;
    gone(head.expect_err("HEAD of no blob"));
    let body = upstream.get_blob(repository, &absent, None, &request).await;
    gone(body.err().expect("GET of no blob"));
}
