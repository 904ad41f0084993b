//! Ranges on cold, growing and stored blobs are exact, and never become the stored blob (T05).

use std::ops::Range;

use futures_util::future::join_all;
use tests::eventually::soon;
use tests::{Content, Fault, Gate, Mesh, Script, When};
use wire::digest::Digest;

const SIZE: u64 = 6 << 20;

async fn stocked() -> (Mesh, Digest, Content) {
    let mesh = Mesh::start().await;
    let content = Content::pattern(1, SIZE);
    let digest = mesh.origin.shelf().put_blob("team/app", &content);
    (mesh, digest, content)
}

const CASES: [(&str, Range<u64>); 5] = [
    ("bytes=0-99", 0..100),
    ("bytes=-100", SIZE - 100..SIZE),
    ("bytes=1000000-", 1_000_000..SIZE),
    ("bytes=5000000-5000099", 5_000_000..5_000_100),
    ("bytes=100-99999999", 100..SIZE),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_range_is_exact_and_the_whole_hashes_afterwards() {
    for (header, range) in CASES {
        let (mesh, digest, content) = stocked().await;
        let client = mesh.anonymous("spoke");
        for round in ["cold", "after the whole"] {
            let reply = client
                .get_range("up/team/app", &digest, header)
                .await
                .unwrap();
            assert_eq!(reply.status, 206, "{round} {header}: {reply:?}");
            let shown = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
            assert_eq!(
                reply.header("content-range"),
                Some(shown.as_str()),
                "{round} {header}"
            );
            assert!(reply.cut.is_none(), "{round} {header}");
            assert!(
                reply.body == content.slice(range.clone()).to_bytes(),
                "{round} {header}: another slice"
            );
            assert_eq!(
                client.blob("up/team/app", &digest).await.unwrap(),
                SIZE,
                "{round} {header}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_satisfied_is_416_and_what_is_nonsense_is_ignored() {
    let (mesh, digest, _) = stocked().await;
    let client = mesh.anonymous("spoke");
    for round in ["cold", "stored"] {
        for header in ["bytes=99999999-", "bytes=6291456-6291457"] {
            let reply = client
                .get_range("up/team/app", &digest, header)
                .await
                .unwrap();
            assert_eq!(reply.status, 416, "{round} {header}: {reply:?}");
            assert_eq!(
                reply.header("content-range"),
                Some("bytes */6291456"),
                "{round} {header}"
            );
        }
        for header in ["bytes=9-3", "lines=1-2", "bytes=x-", "bytes=0-1,5-6"] {
            let reply = client
                .get_range("up/team/app", &digest, header)
                .await
                .unwrap();
            assert!(
                matches!(reply.status, 200 | 416),
                "{round} {header}: {}",
                reply.status
            );
            if reply.status == 200 {
                assert_eq!(reply.verified().unwrap(), digest, "{round} {header}");
            }
        }
        client.blob("up/team/app", &digest).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ranges_of_one_cold_blob_cost_one_fill() {
    let (mesh, digest, content) = stocked().await;
    let client = mesh.anonymous("spoke");
    let step = SIZE / 16;
    let ranges = (0..16).map(|part| {
        let (client, digest, content) = (&client, &digest, &content);
        async move {
            let range = part * step..(part + 1) * step;
            let header = format!("bytes={}-{}", range.start, range.end - 1);
            let reply = client
                .get_range("up/team/app", digest, &header)
                .await
                .unwrap();
            assert_eq!(reply.status, 206, "{reply:?}");
            assert!(reply.body == content.slice(range).to_bytes());
        }
    });
    join_all(ranges).await;
    client.blob("up/team/app", &digest).await.unwrap();
    let all = mesh.origin.record().all();
    let whole = all
        .iter()
        .filter(|r| r.method == "GET" && r.path.contains("/blobs/") && r.header("range").is_none());
    assert_eq!(whole.count(), 1, "{all:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_ahead_of_the_front_nobody_waits_for_the_fill() {
    // Far is further than the fill's `near`, 8 MiB.
    let size = 16 << 20;
    let mesh = Mesh::start().await;
    let content = Content::pattern(1, size);
    let digest = mesh.origin.shelf().put_blob("team/app", &content);
    let gate = Gate::closed();
    mesh.origin.play(Script::new(
        When::get()
            .blob(&digest)
            .also(|r| r.header("range").is_none()),
        [Fault::HoldAt(64 << 10, gate.clone())],
    ));
    let client = mesh.client("dev");
    let path = format!("/v2/up/team/app/blobs/{digest}");
    let mut whole = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    whole.chunk().await.unwrap().expect("a byte");
    gate.reached().await;
    let ahead = client.get_range("up/team/app", &digest, "bytes=15000000-15000099");
    let ahead = soon("the range is answered while the fill stands", ahead)
        .await
        .unwrap();
    assert_eq!(ahead.status, 206);
    assert!(ahead.body == content.slice(15_000_000..15_000_100).to_bytes());
    gate.open();
    let mut left = 0;
    while let Some(chunk) = whole.chunk().await.unwrap() {
        left += chunk.len() as u64;
    }
    assert!(left > size / 2);
    assert_eq!(client.blob("up/team/app", &digest).await.unwrap(), size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_is_dropped_fails_nothing() {
    let (mesh, digest, _) = stocked().await;
    let client = mesh.anonymous("spoke");
    let path = format!("/v2/up/team/app/blobs/{digest}");
    for start in [0, 1 << 20, 5 << 20] {
        let range = format!("bytes={start}-");
        let mut answer = client
            .open(reqwest::Method::GET, &path, &[("range", &range)], None)
            .await
            .unwrap();
        assert_eq!(answer.status(), 206);
        answer.chunk().await.unwrap().expect("a byte");
    }
    assert_eq!(client.blob("up/team/app", &digest).await.unwrap(), SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_none_match_and_if_range_are_understood() {
    let (mesh, digest, _) = stocked().await;
    let client = mesh.client("dev");
    client.blob("up/team/app", &digest).await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{digest}");
    let etag = format!("\"{digest}\"");
    let same = client
        .send(
            reqwest::Method::GET,
            &path,
            &[("if-none-match", &etag)],
            None,
        )
        .await
        .unwrap();
    assert_eq!((same.status, same.body.len()), (304, 0));
    let part = [("range", "bytes=0-9"), ("if-range", etag.as_str())];
    assert_eq!(
        client
            .send(reqwest::Method::GET, &path, &part, None)
            .await
            .unwrap()
            .status,
        206
    );
    let other = [("range", "bytes=0-9"), ("if-range", "\"other\"")];
    assert_eq!(
        client
            .send(reqwest::Method::GET, &path, &other, None)
            .await
            .unwrap()
            .status,
        200
    );
}
