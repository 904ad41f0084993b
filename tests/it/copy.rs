//! A pulled image becomes complete by itself: what the client had already, and after every break, too.

use std::time::Duration;

use tests::eventually::{BOUND, eventually_async};
use tests::{Fault, Gate, Image, Mesh, Script, When};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_that_nobody_asked_for_are_copied_too() {
    let mesh = Mesh::start().await;
    let image = Image::multi(1).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    client.manifest("up/team/app", "1").await.unwrap();
    client
        .manifest("up/team/app", &image.platform("amd64").digest)
        .await
        .unwrap();
    mesh.copied().await;
    mesh.origin.stop().await;
    client.pull("up/team/app", "1", "amd64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn platforms_are_copied_as_the_rule_says() {
    let cases: [(&str, [usize; 3]); 4] = [
        ("platforms: requested", [1, 0, 0]),
        ("platforms: all", [1, 1, 1]),
        ("platforms: [linux/arm64]", [1, 1, 0]),
        ("platforms: [linux/amd64, linux/arm64]", [1, 1, 0]),
    ];
    for (keys, expected) in cases {
        let mesh = Mesh::builder().tiers(1).rules(keys).start().await;
        let image = Image::multi(2).build();
        mesh.origin.put("team/app", "1", &image);
        mesh.client("dev")
            .pull("up/team/app", "1", "amd64")
            .await
            .unwrap();
        mesh.copied().await;
        let layers =
            ["amd64", "arm64", "unknown"].map(|platform| image.blobs_of(platform)[1].clone());
        assert_eq!(mesh.origin.blob_gets(&layers), expected, "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_asks_for_more_brings_it_without_another_pull() {
    let mut mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::multi(12).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.apply(|builder| builder.rules("platforms: all")).await;
    let arm = image.blobs_of("arm64")[1].clone();
    eventually_async(BOUND, "the other platform is fetched", async || match mesh
        .origin
        .blob_gets([&arm])[..]
    {
        [1] => Ok(()),
        ref gets => Err(gets.to_vec()),
    })
    .await;
    mesh.copied().await;
    mesh.origin.stop().await;
    client.pull("up/team/app", "1", "arm64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_after_a_restart_without_a_client() {
    let mut mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::single(3).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let gate = Gate::closed();
    mesh.origin.play(Script::new(
        When::get().blob(image.largest().0),
        [Fault::HoldAt(1 << 20, gate.clone())],
    ));
    mesh.client("dev")
        .manifest("up/team/app", "1")
        .await
        .unwrap();
    gate.reached().await;
    mesh.stop("dev").await;
    mesh.origin.heal();
    mesh.restart("dev").await;
    mesh.copied().await;
    mesh.origin.stop().await;
    mesh.client("dev")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_tried_until_it_succeeds_and_visibly() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    let failing = mesh.origin.fail(When::any().blobs(), 500);
    mesh.client("dev")
        .manifest("up/team/app", "1")
        .await
        .unwrap();
    eventually_async(BOUND, "the copy is tried again", async || {
        if failing.met() > 3 {
            Ok(())
        } else {
            Err(failing.met())
        }
    })
    .await;
    let state = serde_json::to_value(mesh.running("dev").status()).unwrap();
    assert_ne!(mesh.running("dev").copies_to_do().await, 0, "{state}");
    mesh.origin.heal();
    mesh.copied().await;
    mesh.origin.stop().await;
    mesh.client("dev")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_the_upstream_lacks_holds_nothing_up_and_comes_later() {
    let mesh = Mesh::builder()
        .tiers(1)
        .rules("platforms: all")
        .manual_clock()
        .start()
        .await;
    let image = Image::multi(5).build();
    mesh.origin.put("team/app", "1", &image);
    let arm = image.platform("arm64").clone();
    mesh.origin.shelf().remove_manifest("team/app", &arm.digest);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    eventually_async(BOUND, "the copy has met the gap", async || {
        match mesh.origin.record().of("GET", arm.digest.as_str()) {
            0 => Err(mesh.running("dev").status()),
            _ => Ok(()),
        }
    })
    .await;
    mesh.origin.shelf().put("team/app", &image);
    eventually_async(BOUND, "the child is copied", async || {
        mesh.advance(Duration::from_secs(11));
        client.manifest("up/team/app", "1").await.unwrap();
        match mesh.origin.record().blob_gets(&image.blobs_of("arm64")[1]) {
            0 => Err(mesh.running("dev").status()),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_layers_are_never_fetched_from_their_urls() {
    let thief = tests::Thief::start().await;
    let mesh = Mesh::builder().tiers(1).start().await;
    let layer = tests::Content::pattern(1, 1000);
    let config = tests::Content::from("{}");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": wire::media_type::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest(), "size": config.len()},
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": layer.digest(), "size": layer.len(), "urls": [format!("{}/layer", thief.url())],
        }],
    });
    let bytes = bytes::Bytes::from(manifest.to_string());
    let digest = wire::digest::Digest::sha256(&bytes);
    let image = Image {
        digest: digest.clone(),
        manifests: vec![tests::image::Manifest {
            digest,
            media_type: wire::media_type::OCI_MANIFEST.to_owned(),
            bytes,
        }],
        blobs: vec![(config.digest(), config)],
    };
    mesh.origin.put("team/app", "1", &image);
    mesh.client("dev")
        .manifest("up/team/app", "1")
        .await
        .unwrap();
    mesh.copied().await;
    thief.assert_silent();
}
