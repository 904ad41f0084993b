//! A cold pull at tier 3 streams through all tiers at once, and costs the origin each thing once.

use tests::eventually::soon;
use tests::{Fault, Gate, Image, Mesh, Script, When};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_tiers_cost_the_origin_one_get_of_each_blob() {
    let mesh = Mesh::start().await;
    let image = Image::multi(1).layer_of(3 << 20).layer_of(10_240).build();
    mesh.origin.put("team/app", "1", &image);
    let pulled = mesh
        .anonymous("spoke")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    assert_eq!(pulled.digest, image.digest);
    mesh.copied().await;
    let record = mesh.origin.record();
    assert_eq!(mesh.origin.blob_gets(&image.blobs_of("amd64")), [1, 1, 1]);
    assert_eq!(mesh.origin.blob_gets(&image.blobs_of("arm64")), [0, 0, 0]);
    for manifest in [&image.digest, &image.platform("amd64").digest] {
        let gets = record.manifest_gets(manifest.as_str())
            + record.manifest_gets("1") * usize::from(*manifest == image.digest);
        assert_eq!(gets, 1, "{manifest}: {record:#?}");
    }
    assert_eq!(
        record.count(|r| r.header("accept-encoding").is_some_and(|v| v != "identity")),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_byte_arrives_before_the_origin_sent_the_last() {
    let mesh = Mesh::start().await;
    let image = Image::single(2).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let (layer, content) = image.largest();
    let gate = Gate::closed();
    mesh.origin.play(Script::new(
        When::get().blob(layer),
        [Fault::HoldAt(2 << 20, gate.clone())],
    ));
    let client = mesh.anonymous("spoke");
    client.manifest("up/team/app", "1").await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let opened = client.open(reqwest::Method::GET, &path, &[], None);
    let mut answer = soon("the head arrives while the origin holds", opened)
        .await
        .unwrap();
    assert_eq!(answer.content_length(), Some(content.len()));
    let mut hasher = wire::digest::Hasher::new(layer.algorithm());
    while hasher.length() < 1 << 20 {
        let chunk = soon("bytes arrive while the origin holds", answer.chunk())
            .await
            .unwrap();
        hasher.update(&chunk.expect("more to come"));
    }
    gate.reached().await;
    gate.open();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        hasher.update(&chunk);
    }
    assert_eq!(hasher.finish(), *layer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_by_digest_needs_no_tag() {
    let mesh = Mesh::start().await;
    let image = Image::single(3).build();
    mesh.origin.shelf().put("team/app", &image);
    let pulled = mesh
        .anonymous("spoke")
        .pull("up/team/app", &image.digest, "amd64")
        .await
        .unwrap();
    assert_eq!(pulled.digest, image.digest);
    assert_eq!(mesh.origin.blob_gets(&image.blobs_of("amd64")), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_head_goes_up_as_head_and_stores_nothing() {
    let mesh = Mesh::start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    let layer = &image.blobs_of("amd64")[1];
    let blob = client
        .head(&format!("/v2/up/team/app/blobs/{layer}"))
        .await
        .unwrap();
    assert_eq!(
        (blob.status, blob.header("docker-content-digest")),
        (200, Some(layer.as_str()))
    );
    assert_eq!(
        blob.header("content-length"),
        Some(image.content(layer).len().to_string().as_str())
    );
    let manifest = client.head_manifest("up/team/app", "1").await.unwrap();
    assert_eq!(manifest.status, 200);
    assert_eq!(
        manifest.header("docker-content-digest"),
        Some(image.digest.as_str())
    );
    assert_eq!(
        mesh.origin
            .record()
            .count(|r| r.method == "GET" && r.path.contains("team/app")),
        0
    );
    for node in mesh.nodes() {
        assert_eq!(
            mesh.running(&node.name).stored_bytes().await,
            0,
            "{}",
            node.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_sees_is_what_the_spec_names() {
    let mesh = Mesh::start().await;
    let image = Image::single(5).layer_of(2 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    for round in ["cold", "warm"] {
        let (_, manifest) = client.manifest("up/team/app", "1").await.unwrap();
        assert_eq!(
            manifest.header("content-type"),
            Some(wire::media_type::OCI_MANIFEST),
            "{round}"
        );
        assert_eq!(
            manifest.header("etag"),
            Some(format!("\"{}\"", image.digest).as_str()),
            "{round}"
        );
        assert!(manifest.header("age").is_some(), "{round}: {manifest:?}");
        let status = manifest.header_all("cache-status");
        assert!(
            status.contains("node=spoke") && status.contains("regmesh"),
            "{round}: {status}"
        );
        let layer = image.largest().0;
        let blob = client.get_blob("up/team/app", layer).await.unwrap();
        assert_eq!(blob.verified().unwrap(), *layer, "{round}");
        assert_eq!(blob.header("accept-ranges"), Some("bytes"), "{round}");
        assert_eq!(
            blob.header("etag"),
            Some(format!("\"{layer}\"").as_str()),
            "{round}"
        );
        assert_eq!(blob.header("content-encoding"), None, "{round}");
        mesh.copied().await;
    }
}
