//! Push: every way to upload a blob, mounting, manifests, and what must be refused.

use bytes::Bytes;
use reqwest::Method;
use tests::{Content, Image};
use wire::digest::{Algorithm, Digest};
use wire::media_type::OCI_MANIFEST;

use super::{path_of, registry};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_by_post_then_put() {
    let (_mesh, client) = registry().await;
    let content = Content::pattern(1, 70_000);
    let location = client.start_upload("own/push").await.unwrap();
    let done = client
        .finish_upload(&location, &content.digest(), Some(content.to_bytes()))
        .await
        .unwrap();
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(
        done.header("docker-content-digest"),
        Some(content.digest().as_str())
    );
    let stored = path_of(&done.location().unwrap());
    assert_eq!(
        client.get(&stored).await.unwrap().verified().unwrap(),
        content.digest()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_by_a_single_post() {
    let (_mesh, client) = registry().await;
    let content = Content::pattern(2, 5_000);
    let path = format!("/v2/own/push/blobs/uploads/?digest={}", content.digest());
    let done = client
        .send(Method::POST, &path, &[OCTETS], Some(content.to_bytes()))
        .await
        .unwrap();
    assert!(matches!(done.status, 201 | 202), "{done:?}");
    if done.status == 202 {
        let done = client
            .finish_upload(
                &done.location().unwrap(),
                &content.digest(),
                Some(content.to_bytes()),
            )
            .await
            .unwrap();
        assert_eq!(done.status, 201, "{done:?}");
    }
    client.blob("own/push", &content.digest()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_in_chunks_with_its_state_in_between() {
    let (_mesh, client) = registry().await;
    let content = Content::pattern(3, 100_000);
    let bytes = content.to_bytes();
    let mut location = client.start_upload("own/push").await.unwrap();
    for (start, end) in [(0, 40_000), (40_000, 80_000)] {
        let range = format!("{start}-{}", end - 1);
        let reply = client
            .upload_chunk(&location, Some(&range), bytes.slice(start..end))
            .await
            .unwrap();
        assert_eq!(reply.status, 202, "{reply:?}");
        assert_eq!(
            reply.header("range"),
            Some(format!("0-{}", end - 1).as_str())
        );
        location = reply.location().unwrap();
        let state = client.get(&path_of(&location)).await.unwrap();
        assert_eq!(
            (state.status, state.header("range")),
            (204, Some(format!("0-{}", end - 1).as_str())),
            "{state:?}"
        );
        location = state.location().unwrap();
    }
    let again = client
        .upload_chunk(&location, Some("0-39999"), bytes.slice(0..40_000))
        .await
        .unwrap();
    assert_eq!(again.status, 416, "out of order: {again:?}");
    // Nobody read that chunk, so nothing else may be sent after it.
    assert_eq!(again.header("connection"), Some("close"), "{again:?}");
    let ahead = client
        .upload_chunk(&location, Some("90000-99999"), bytes.slice(90_000..))
        .await
        .unwrap();
    assert_eq!(ahead.status, 416, "with a gap: {ahead:?}");
    let done = client
        .finish_upload(&location, &content.digest(), Some(bytes.slice(80_000..)))
        .await
        .unwrap();
    assert_eq!(done.status, 201, "{done:?}");
    client.blob("own/push", &content.digest()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_streamed_in_one_patch_without_a_range() {
    let (_mesh, client) = registry().await;
    let content = Content::pattern(4, 3 << 20);
    let location = client.start_upload("own/push").await.unwrap();
    let reply = client
        .upload_chunk(&location, None, content.to_bytes())
        .await
        .unwrap();
    assert_eq!(reply.status, 202, "{reply:?}");
    let done = client
        .finish_upload(&reply.location().unwrap(), &content.digest(), None)
        .await
        .unwrap();
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(
        client.blob("own/push", &content.digest()).await.unwrap(),
        3 << 20
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_can_be_cancelled() {
    let (_mesh, client) = registry().await;
    let location = path_of(&client.start_upload("own/push").await.unwrap());
    client
        .upload_chunk(&location, None, Bytes::from_static(b"some"))
        .await
        .unwrap();
    assert_eq!(client.delete(&location).await.unwrap().status, 204);
    let gone = client.get(&location).await.unwrap();
    assert_eq!(
        (gone.status, gone.code().as_str()),
        (404, "BLOB_UPLOAD_UNKNOWN"),
        "{gone:?}"
    );
    let gone = client
        .upload_chunk(&location, None, Bytes::from_static(b"more"))
        .await
        .unwrap();
    assert_eq!(gone.status, 404, "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_belongs_to_its_repository() {
    let (_mesh, client) = registry().await;
    let location = path_of(&client.start_upload("own/push").await.unwrap());
    let elsewhere = location.replace("/v2/own/push/", "/v2/own/other/");
    assert_eq!(client.get(&elsewhere).await.unwrap().status, 404);
    let reply = client
        .upload_chunk(&elsewhere, None, Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(reply.status, 404, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_their_digest_are_refused() {
    let (_mesh, client) = registry().await;
    let right = Content::pattern(5, 1000);
    for digest in [
        Digest::sha256(b"other").to_string(),
        "sha256:short".to_owned(),
        "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
    ] {
        let location = client.start_upload("own/push").await.unwrap();
        let sign = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{sign}digest={digest}");
        let reply = client
            .send(Method::PUT, &path, &[OCTETS], Some(right.to_bytes()))
            .await
            .unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "DIGEST_INVALID"),
            "{digest}: {reply:?}"
        );
    }
    assert_eq!(
        client
            .get_blob("own/push", &right.digest())
            .await
            .unwrap()
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_mounted_from_where_it_is() {
    let (_mesh, client) = registry().await;
    let content = Content::pattern(6, 1000);
    client
        .push_blob("own/from", &content.digest(), &content)
        .await
        .unwrap();
    let path = format!(
        "/v2/own/to/blobs/uploads/?mount={}&from=own/from",
        content.digest()
    );
    let mounted = client
        .send(Method::POST, &path, &[], Some(Bytes::new()))
        .await
        .unwrap();
    assert_eq!(mounted.status, 201, "{mounted:?}");
    assert!(mounted.location().unwrap().contains("own/to"));
    client.blob("own/to", &content.digest()).await.unwrap();
    let nothing = Digest::sha256(b"nowhere");
    let path = format!("/v2/own/to/blobs/uploads/?mount={nothing}&from=own/from");
    let upload = client
        .send(Method::POST, &path, &[], Some(Bytes::new()))
        .await
        .unwrap();
    assert_eq!(upload.status, 202, "{upload:?}");
    upload.location().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_by_tag_and_by_digest() {
    let (_mesh, client) = registry().await;
    let image = Image::single(7).build();
    for (digest, content) in &image.blobs {
        client.push_blob("own/push", digest, content).await.unwrap();
    }
    let top = image.top();
    for reference in ["tag".to_owned(), image.digest.to_string()] {
        let done = client
            .put_manifest("own/push", &reference, &top.media_type, top.bytes.clone())
            .await
            .unwrap();
        assert_eq!(done.status, 201, "{done:?}");
        assert_eq!(
            done.header("docker-content-digest"),
            Some(image.digest.as_str())
        );
        let stored = path_of(&done.location().unwrap());
        assert_eq!(
            client.get(&stored).await.unwrap().verified().unwrap(),
            image.digest
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_refused_for_its_digest_its_blobs_its_form_and_its_size() {
    let (_mesh, client) = registry().await;
    let image = Image::single(8).build();
    let top = image.top();
    let put = async |reference: &str, bytes: Bytes| {
        client
            .put_manifest("own/push", reference, OCI_MANIFEST, bytes)
            .await
            .unwrap()
    };
    let missing = put("1", top.bytes.clone()).await;
    assert_eq!(
        (missing.status, missing.code().as_str()),
        (404, "MANIFEST_BLOB_UNKNOWN"),
        "{missing:?}"
    );
    for (digest, content) in &image.blobs {
        client.push_blob("own/push", digest, content).await.unwrap();
    }
    let wrong = put(Digest::sha256(b"other").as_str(), top.bytes.clone()).await;
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (400, "DIGEST_INVALID"),
        "{wrong:?}"
    );
    for nonsense in ["", "{", "[]", "null", "\"text\"", "{\"schemaVersion\":2}"] {
        let reply = put("1", Bytes::from_static(nonsense.as_bytes())).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "MANIFEST_INVALID"),
            "{nonsense}: {reply:?}"
        );
    }
    let large = format!(
        "{}{}",
        std::str::from_utf8(&top.bytes).unwrap(),
        " ".repeat(4 << 20)
    );
    let large = client
        .put_manifest("own/push", "1", OCI_MANIFEST, Bytes::from(large))
        .await;
    assert!(large.is_err() || large.is_ok_and(|reply| reply.status == 413));
    assert_eq!(put("1", top.bytes.clone()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_tags_in_one_put() {
    let (_mesh, client) = registry().await;
    let image = Image::single(9).build();
    for (digest, content) in &image.blobs {
        client.push_blob("own/push", digest, content).await.unwrap();
    }
    let tags: Vec<String> = (0..10).map(|n| format!("tag=t{n}")).collect();
    let reference = format!("{}?{}", image.digest, tags.join("&"));
    let top = image.top();
    let done = client
        .put_manifest("own/push", &reference, &top.media_type, top.bytes.clone())
        .await
        .unwrap();
    assert_eq!(done.status, 201, "{done:?}");
    assert!(done.header_all("oci-tag").contains("t9"), "{done:?}");
    assert_eq!(client.tags("own/push").await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sha512_is_a_digest_like_any_other() {
    let (_mesh, client) = registry().await;
    let content = Content::pattern(10, 9_000);
    let digest = content.digest_by(Algorithm::Sha512);
    let path = "/v2/own/push/blobs/uploads/?digest-algorithm=sha512";
    let started = client
        .send(Method::POST, path, &[], Some(Bytes::new()))
        .await
        .unwrap();
    assert_eq!(started.status, 202, "{started:?}");
    let done = client
        .finish_upload(
            &started.location().unwrap(),
            &digest,
            Some(content.to_bytes()),
        )
        .await
        .unwrap();
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(client.blob("own/push", &digest).await.unwrap(), 9_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_is_acknowledged() {
    let (_mesh, client) = registry().await;
    let image = Image::single(11).build();
    client.push("own/push", &["1"], &image).await.unwrap();
    let signature = Image::signature_of(image.top(), 1);
    for (digest, content) in &signature.blobs {
        client.push_blob("own/push", digest, content).await.unwrap();
    }
    let top = signature.top();
    let done = client
        .put_manifest("own/push", &top.digest, &top.media_type, top.bytes.clone())
        .await
        .unwrap();
    assert_eq!(
        (done.status, done.header("oci-subject")),
        (201, Some(image.digest.as_str())),
        "{done:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_media_types_are_stored_as_they_are() {
    let (_mesh, client) = registry().await;
    let bytes = Bytes::from_static(
        br#"{"schemaVersion":2,"mediaType":"application/vnd.example.thing+json","anything":[1,2]}"#,
    );
    let done = client
        .put_manifest(
            "own/push",
            "thing",
            "application/vnd.example.thing+json",
            bytes.clone(),
        )
        .await
        .unwrap();
    assert_eq!(done.status, 201, "{done:?}");
    let (_, stored) = client.manifest("own/push", "thing").await.unwrap();
    assert_eq!(stored.body, bytes);
    assert_eq!(
        stored.header("content-type"),
        Some("application/vnd.example.thing+json")
    );
}
