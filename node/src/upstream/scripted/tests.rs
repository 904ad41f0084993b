//! Promises of the scripted registry.

use futures_util::{FutureExt, StreamExt};
use wire::{
    digest::Digest,
    media_type::{OCI_INDEX, OCI_MANIFEST},
    page::Page,
    repository::RepositoryName,
};

use super::{Scripted, Verb};
use crate::upstream::{
    BlobRange, Error, Patience, Upstream,
    conformance::{self, read, request},
    error::Kind,
};

fn app() -> RepositoryName {
    "team/app".parse().unwrap()
}

#[tokio::test]
async fn what_it_holds_comes_back_and_every_call_is_counted() {
    let upstream = Scripted::new("origin");
    let digest = upstream.manifest("team/app", Some("1"), OCI_MANIFEST, "{}");
    let tag = "1".parse().unwrap();
    let (app, request) = (app(), request());
    let head = upstream.head_manifest(&app, &tag, Patience::Long, &request);
    assert_eq!(head.await.unwrap().digest, digest);
    let body = upstream.get_manifest(&app, &tag, &request).await;
    assert_eq!(body.unwrap().bytes, "{}");
    let other = "2".parse().unwrap();
    let gone = upstream.get_manifest(&app, &other, &request).await;
    assert_eq!(gone.unwrap_err().kind, Kind::Gone);
    assert_eq!(upstream.count(Verb::GetManifest), 2);
    assert_eq!(upstream.count_of(Verb::GetManifest, "1"), 1);
    assert_eq!(upstream.total(), 3);
}

#[tokio::test]
async fn a_break_happens_once_and_a_range_goes_on_from_there() {
    let upstream = Scripted::new("origin");
    upstream.chunk(3);
    let digest = upstream.blob("team/app", "0123456789");
    upstream.break_at(&digest, 4);
    let body = upstream.get_blob(&app(), &digest, None, &request()).await;
    let (bytes, error) = read(body.unwrap()).await;
    assert_eq!(
        (bytes, error.unwrap().kind),
        (b"0123".to_vec(), Kind::Broken)
    );
    let range = Some(BlobRange {
        start: 4,
        end: None,
    });
    let body = upstream.get_blob(&app(), &digest, range, &request()).await;
    let body = body.unwrap();
    assert_eq!((body.offset, body.size), (4, 10));
    let (bytes, error) = read(body).await;
    assert_eq!(
        (bytes.as_slice(), error.is_none()),
        (b"456789".as_slice(), true)
    );
}

#[tokio::test]
async fn a_transfer_stands_still_at_its_gate() {
    let upstream = Scripted::new("origin");
    let digest = upstream.blob("team/app", "0123456789");
    let gate = upstream.gate_at(&digest, 5);
    let body = upstream.get_blob(&app(), &digest, None, &request()).await;
    let mut stream = body.unwrap().stream;
    assert_eq!(stream.next().await.unwrap().unwrap(), "01234");
    let mut rest = stream.next();
    assert!((&mut rest).now_or_never().is_none());
    gate.reached().await;
    gate.open();
    assert_eq!(rest.await.unwrap().unwrap(), "56789");
}

#[tokio::test]
async fn failures_are_counted_down_in_order() {
    let upstream = Scripted::new("origin");
    let digest = upstream.blob("team/app", "x");
    upstream.fail(Verb::HeadBlob, 1, Error::denied("no"));
    upstream.fail(Verb::HeadBlob, usize::MAX, Error::away("away"));
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let answer = upstream.head_blob(&app(), &digest, &request()).await;
        kinds.push(answer.unwrap_err().kind);
    }
    let away = Kind::Away { retry_after: None };
    assert_eq!(kinds, [Kind::Denied, away, away]);
    upstream.heal();
    assert_eq!(
        upstream
            .head_blob(&app(), &digest, &request())
            .await
            .unwrap()
            .size,
        1
    );
}

#[tokio::test]
async fn other_bytes_than_promised_are_wrong_as_a_manifest_and_pass_as_a_blob() {
    let upstream = Scripted::new("origin");
    let digest = upstream.manifest("team/app", None, OCI_MANIFEST, "{}");
    upstream.blob("team/app", "{}");
    upstream.instead(&digest, "[]");
    let reference = wire::reference::Reference::Digest(digest.clone());
    let answer = upstream.get_manifest(&app(), &reference, &request()).await;
    assert_eq!(answer.unwrap_err().kind, Kind::Wrong);
    let body = upstream.get_blob(&app(), &digest, None, &request()).await;
    assert_eq!(read(body.unwrap()).await.0, b"[]");
}

#[tokio::test]
async fn tags_come_in_pages() {
    let upstream = Scripted::new("origin");
    let digest = Digest::sha256(b"{}");
    for tag in ["a", "b", "c"] {
        upstream.tag("team/app", tag, &digest);
    }
    let page = Page {
        n: Some(2),
        last: None,
    };
    let first = upstream
        .tags(&app(), &page, Patience::Long, &request())
        .await
        .unwrap();
    assert_eq!(first.tags, ["a", "b"]);
    let next = first.next.unwrap();
    let second = upstream
        .tags(&app(), &next, Patience::Long, &request())
        .await
        .unwrap();
    assert_eq!((second.tags, second.next), (vec!["c".to_owned()], None));
}

#[tokio::test]
async fn it_conforms() {
    let upstream = Scripted::new("origin");
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    upstream.manifest("team/app", Some("1"), OCI_INDEX, manifest.clone());
    upstream.blob("team/app", "0123456789");
    let fixture = conformance::Fixture {
        repository: app(),
        tag: "1".into(),
        manifest: manifest.into(),
        blob: "0123456789".into(),
    };
    conformance::check(&*upstream, &fixture).await;
}
