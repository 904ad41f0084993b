//! What an upstream sends under a digest hashes to it, or no response completes with it and nothing is stored (T01, T02, T03, T24).

use std::time::Duration;

use tests::eventually::eventually_async;
use tests::{Client, Content, Cut, Fault, Image, Mesh, Script, When};
use wire::digest::Digest;

const SIZES: [u64; 3] = [4 << 10, 1 << 20, 8 << 20];

/// A cold GET of a blob at the last tier that must not be taken for whole.
async fn never_completes(client: &Client, layer: &Digest, what: &str) {
    let reply = client.get_blob("up/team/app", layer).await.unwrap();
    match reply.status {
        200 => assert!(
            reply.cut.is_some(),
            "{what}: a wrong body completed with {} bytes",
            reply.body.len()
        ),
        status => assert!(matches!(status, 502 | 503), "{what}: {reply:?}"),
    }
    let tail = client
        .get_range("up/team/app", layer, "bytes=-10")
        .await
        .unwrap();
    assert!(
        tail.status != 206 || tail.cut.is_some() || tail.body.len() == 10,
        "{what}: {tail:?}"
    );
}

async fn nothing_stored(mesh: &Mesh, layer: &Digest, what: &str) {
    for node in mesh.nodes() {
        let stored = mesh
            .running(&node.name)
            .store()
            .metadata()
            .blob(layer)
            .await
            .unwrap();
        assert!(stored.is_none(), "{what}: {} committed it", node.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_never_completes_and_the_next_pull_is_right() {
    for size in SIZES {
        let mesh = Mesh::start().await;
        let image = Image::single(1).layer_of(size).build();
        mesh.origin.put("team/app", "1", &image);
        let (layer, content) = image.largest();
        mesh.origin.play(Script::new(
            When::get().blob(layer),
            [Fault::FlipBit(size - 2000)],
        ));
        let client = mesh.anonymous("spoke");
        client.manifest("up/team/app", "1").await.unwrap();
        never_completes(&client, layer, &format!("{size} bytes")).await;
        nothing_stored(&mesh, layer, &format!("{size} bytes")).await;
        assert!(mesh.metric("dev", "regmesh_digest_mismatch_total", "") >= 1.0);
        mesh.origin.heal();
        assert_eq!(
            client.blob("up/team/app", layer).await.unwrap(),
            content.len()
        );
        mesh.copied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_wrong_content_is_a_clean_502() {
    let mesh = Mesh::start().await;
    let image = Image::single(2).layer_of(10_240).build();
    mesh.origin.put("team/app", "1", &image);
    let layer = image.largest().0;
    mesh.origin
        .play(Script::new(When::get().blob(layer), [Fault::FlipBit(7)]));
    let client = mesh.anonymous("spoke");
    client.manifest("up/team/app", "1").await.unwrap();
    let reply = client.get_blob("up/team/app", layer).await.unwrap();
    assert_eq!(reply.status, 502, "{reply:?}");
    assert_eq!(reply.header("x-regmesh-failed"), Some("dev"), "{reply:?}");
    assert!(reply.cut.is_none());
    let at_the_hub = mesh
        .client("dev")
        .get_blob("up/team/app", layer)
        .await
        .unwrap();
    assert_eq!(at_the_hub.status, 502, "{at_the_hub:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_framing_hides_a_truncation() {
    let size = 3 << 20;
    for at in [size / 100, size * 2 / 5, size - 1] {
        for framing in [
            vec![Fault::Cut(at, Cut::Fin)],
            vec![Fault::Cut(at, Cut::Reset)],
            vec![Fault::NoLength, Fault::Cut(at, Cut::Fin)],
            vec![Fault::Chunked, Fault::Cut(at, Cut::Fin)],
            vec![Fault::Chunked, Fault::Body(Content::pattern(1, at))],
            vec![Fault::Body(Content::pattern(1, at))],
            vec![Fault::Longer(b"garbage"), Fault::FlipBit(at)],
            vec![Fault::Endless],
        ] {
            let what = format!("{framing:?}");
            let mesh = Mesh::builder().tiers(1).start().await;
            let image = Image::single(3).layer_of(size).build();
            mesh.origin.put("team/app", "1", &image);
            let (layer, content) = image.largest();
            mesh.origin
                .play(Script::new(When::get().blob(layer), framing));
            let client = mesh.client("dev");
            client.manifest("up/team/app", "1").await.unwrap();
            let reply = client.get_blob("up/team/app", layer).await.unwrap();
            let whole = reply.status == 200 && reply.cut.is_none();
            assert!(
                !whole || reply.digest() == *layer,
                "{what}: a wrong body completed"
            );
            mesh.origin.heal();
            // A bad partial goes at the first mismatch, which may be this one.
            let right = eventually_async(Duration::from_secs(5), &what, || {
                client.blob("up/team/app", layer)
            })
            .await;
            assert_eq!(right, content.len(), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_representation_is_never_committed() {
    for fault in [
        Fault::Gzip,
        Fault::Html,
        Fault::Body(Content::from("")),
        Fault::Body(Content::from(r#"{"errors":[]}"#)),
        Fault::Longer(b"x"),
    ] {
        let what = format!("{fault:?}");
        let mesh = Mesh::builder().tiers(1).start().await;
        let image = Image::single(4).build();
        mesh.origin.put("team/app", "1", &image);
        mesh.origin.play(Script::new(When::get(), [fault]));
        let client = mesh.client("dev");
        for reference in ["1".to_owned(), image.digest.to_string()] {
            let reply = client
                .get_manifest("up/team/app", &reference)
                .await
                .unwrap();
            let right = reply.status == 200 && reply.digest() == image.digest;
            assert!(
                right || reply.status == 502,
                "{what}, {reference}: {reply:?}"
            );
        }
        mesh.origin.heal();
        client.pull("up/team/app", "1", "amd64").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_not_its_digest_is_refused() {
    let mesh = Mesh::start().await;
    let (image, other) = (Image::single(5).build(), Image::single(6).build());
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    let wrong = Fault::Body(other.top().bytes.clone().into());
    mesh.origin
        .play(Script::new(When::get().manifests(), [wrong]));
    let by_digest = client
        .get_manifest("up/team/app", &image.digest)
        .await
        .unwrap();
    assert!(matches!(by_digest.status, 502 | 503), "{by_digest:?}");
    assert_eq!(
        mesh.client("dev")
            .get_manifest("up/team/app", &image.digest)
            .await
            .unwrap()
            .status,
        502
    );
    mesh.origin.heal();
    client.pull("up/team/app", "1", "amd64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_without_a_digest_header_is_asked_by_get_and_hashed() {
    for head in [Fault::NoHeader("docker-content-digest"), Fault::Status(405)] {
        let what = format!("{head:?}");
        let mesh = Mesh::start().await;
        let image = Image::single(7).build();
        mesh.origin.put("team/app", "1", &image);
        mesh.origin
            .play(Script::new(When::head().manifests(), [head]));
        mesh.origin.play(Script::new(
            When::get().manifests(),
            [Fault::NoHeader("docker-content-digest")],
        ));
        let client = mesh.anonymous("spoke");
        for _ in 0..2 {
            let pulled = client
                .pull("up/team/app", "1", "amd64")
                .await
                .unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(pulled.digest, image.digest, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_whose_digest_is_a_lie_moves_nothing() {
    for lie in [
        "nonsense",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let mesh = Mesh::builder().tiers(1).start().await;
        let (old, new) = (Image::single(8).build(), Image::single(9).build());
        mesh.origin.put("team/app", "1", &old);
        let client = mesh.client("dev");
        client.pull("up/team/app", "1", "amd64").await.unwrap();
        mesh.copied().await;
        mesh.origin.put("team/app", "1", &new);
        mesh.origin.play(Script::new(
            When::any().manifests(),
            [Fault::Header("docker-content-digest", lie.to_owned())],
        ));
        let reply = client.get_manifest("up/team/app", "1").await.unwrap();
        let digest = reply.verified().unwrap();
        assert!(
            digest == old.digest && reply.header("warning").is_some() || digest == new.digest,
            "{lie}: {reply:?}"
        );
        let cold = client
            .get_manifest("up/team/app", &new.digest)
            .await
            .unwrap();
        assert!(
            cold.status == 502 || cold.digest() == new.digest,
            "{lie}: {cold:?}"
        );
        mesh.origin.heal();
        assert_eq!(
            client
                .pull("up/team/app", "1", "amd64")
                .await
                .unwrap()
                .digest,
            new.digest
        );
    }
}
