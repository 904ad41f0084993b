//! Content management: deleting tags, manifests and blobs, and evicting what a rule filled.

use tests::{Image, Mesh};

use super::registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_goes_alone_a_manifest_with_its_tags() {
    let (_mesh, client) = registry().await;
    let image = Image::single(1).build();
    client
        .push("own/app", &["1", "2", "3"], &image)
        .await
        .unwrap();
    assert_eq!(
        client
            .delete("/v2/own/app/manifests/1")
            .await
            .unwrap()
            .status,
        202
    );
    assert_eq!(
        client.get_manifest("own/app", "1").await.unwrap().status,
        404
    );
    assert_eq!(client.tags("own/app").await.unwrap(), ["2", "3"]);
    client
        .pull("own/app", &image.digest, "amd64")
        .await
        .unwrap();
    let path = format!("/v2/own/app/manifests/{}", image.digest);
    assert_eq!(client.delete(&path).await.unwrap().status, 202);
    for reference in ["2", "3", image.digest.as_str()] {
        let reply = client.get_manifest("own/app", reference).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "MANIFEST_UNKNOWN"),
            "{reference}"
        );
    }
    assert_eq!(client.delete(&path).await.unwrap().status, 404);
    assert_eq!(
        client
            .delete("/v2/own/app/manifests/2")
            .await
            .unwrap()
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_goes_from_its_repository_and_from_no_other() {
    let (_mesh, client) = registry().await;
    let image = Image::single(2).build();
    for repository in ["own/app", "own/other"] {
        client.push(repository, &["1"], &image).await.unwrap();
    }
    let layer = image.largest().0;
    let path = format!("/v2/own/app/blobs/{layer}");
    let deleted = client.delete(&path).await.unwrap();
    assert_eq!(deleted.status, 202, "{deleted:?}");
    assert_eq!(client.get_blob("own/app", layer).await.unwrap().status, 404);
    assert_eq!(client.delete(&path).await.unwrap().status, 404);
    client.pull("own/other", "1", "amd64").await.unwrap();
    // Reading it through the other repository brings it back to nobody (T09).
    assert_eq!(client.get_blob("own/app", layer).await.unwrap().status, 404);
    assert_eq!(client.head(&path).await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_what_a_rule_filled_evicts_it_here_and_the_next_pull_fills_again() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::single(3).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let layer = image.largest().0;
    for path in [
        "/v2/up/team/app/manifests/1".to_owned(),
        format!("/v2/up/team/app/manifests/{}", image.digest),
        format!("/v2/up/team/app/blobs/{layer}"),
    ] {
        let reply = client.delete(&path).await.unwrap();
        assert!(matches!(reply.status, 202 | 404), "{path}: {reply:?}");
        client.pull("up/team/app", "1", "amd64").await.unwrap();
        mesh.copied().await;
    }
    // Bytes that are still here need no second transfer, but the upstream was asked whether they may be shown.
    let asked = mesh
        .origin
        .record()
        .count(|r| r.path.contains(layer.as_str()));
    assert!(asked >= 2, "{:#?}", mesh.origin.record());
}
