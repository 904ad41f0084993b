//! An unchanged warm pull costs the upstream one HEAD with `always`, and nothing otherwise.

use std::time::Duration;

use tests::{Image, Mesh};

/// A mesh that holds an image, its origin's record emptied.
async fn warm(keys: &str) -> (Mesh, Image) {
    let mesh = Mesh::builder().rules(keys).manual_clock().start().await;
    let image = Image::multi(1).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.anonymous("spoke")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    mesh.origin.record().clear();
    (mesh, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn always_costs_one_head() {
    let (mesh, image) = warm("freshness: {check: always}").await;
    mesh.anonymous("spoke")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    let record = mesh.origin.record();
    assert_eq!(
        (record.len(), record.manifest_heads("1")),
        (1, 1),
        "{record:#?}"
    );
    assert_eq!(
        mesh.anonymous("spoke")
            .manifest("up/team/app", "1")
            .await
            .unwrap()
            .0,
        image.digest
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_costs_nothing() {
    let (mesh, image) = warm("freshness: {check: always}").await;
    let client = mesh.anonymous("spoke");
    client
        .pull("up/team/app", &image.digest, "amd64")
        .await
        .unwrap();
    client
        .pull("up/team/app", &image.platform("amd64").digest, "amd64")
        .await
        .unwrap();
    assert!(
        mesh.origin.record().is_empty(),
        "{:#?}",
        mesh.origin.record()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_record_costs_nothing_until_it_is_over() {
    let (mesh, _) = warm("freshness: {check: 30s}").await;
    let client = mesh.anonymous("spoke");
    mesh.advance(Duration::from_secs(29));
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert!(mesh.origin.record().is_empty());
    mesh.advance(Duration::from_secs(2));
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(mesh.origin.record().manifest_heads("1"), 1);
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(mesh.origin.record().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_means_never_and_immutable_tags_are_done_when_complete() {
    for keys in [
        "freshness: {check: never}",
        "freshness: {check: always, immutable: [\"1\"]}",
    ] {
        let (mesh, _) = warm(keys).await;
        mesh.advance(Duration::from_secs(3600 * 24 * 365));
        mesh.anonymous("spoke")
            .pull("up/team/app", "1", "amd64")
            .await
            .unwrap();
        assert!(
            mesh.origin.record().is_empty(),
            "{keys}: {:#?}",
            mesh.origin.record()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_pulled_survives_a_restart_without_an_upstream() {
    let (mut mesh, image) = warm("freshness: {check: always}").await;
    mesh.origin.stop().await;
    for node in ["dev", "prod"] {
        mesh.stop(node).await;
    }
    mesh.restart("spoke").await;
    let client = mesh.anonymous("spoke");
    for reference in [image.digest.to_string(), "1".to_owned()] {
        let pulled = client
            .pull("up/team/app", &reference, "amd64")
            .await
            .unwrap();
        assert_eq!(pulled.digest, image.digest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cache_asks_through_all_tiers_and_only_for_those_who_are_known() {
    let (mesh, _) = warm("freshness: {check: 1h}").await;
    mesh.advance(Duration::from_secs(5));
    let anonymous = mesh
        .anonymous("spoke")
        .with_header("cache-control", "no-cache");
    anonymous.manifest("up/team/app", "1").await.unwrap();
    assert!(mesh.origin.record().is_empty());
    let known = mesh
        .client("spoke")
        .showing()
        .with_header("cache-control", "no-cache");
    known.manifest("up/team/app", "1").await.unwrap();
    assert_eq!(
        mesh.origin.record().manifest_heads("1"),
        1,
        "{:#?}",
        mesh.origin.record()
    );
}
