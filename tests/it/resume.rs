//! A transfer that breaks goes on in the same response, from where it stood.

use std::time::Duration;

use tests::{Cut, Fault, Image, Mesh, Script, When};

/// A mesh whose origin holds an image with one layer of 4 MiB.
fn stocked(mesh: &Mesh) -> Image {
    let image = Image::single(1).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_at_the_origin_is_not_seen_by_the_client() {
    for cut in [Cut::Fin, Cut::Reset] {
        for at in [40 << 10, 2 << 20, (4 << 20) - 1] {
            let mesh = Mesh::start().await;
            let image = stocked(&mesh);
            let layer = image.largest().0;
            mesh.origin
                .play(Script::new(When::get().blob(layer), [Fault::Cut(at, cut)]).once());
            let pulled = mesh
                .anonymous("spoke")
                .pull("up/team/app", "1", "amd64")
                .await
                .unwrap();
            assert_eq!(pulled.digest, image.digest);
            let all = mesh.origin.record().all();
            let ranges: Vec<&str> = all.iter().filter_map(|r| r.header("range")).collect();
            assert_eq!(ranges.len(), 1, "{cut:?} at {at}: {all:#?}");
            let sent = mesh.origin.record().bytes_of("/blobs/");
            // A reset takes along what the kernels still held.
            let allowed = if cut == Cut::Fin {
                (4 << 20) * 3 / 2
            } else {
                9 << 20
            };
            assert!(sent < allowed, "{sent} bytes sent for {cut:?} at {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_between_two_nodes_costs_the_origin_nothing() {
    let mesh = Mesh::start().await;
    let image = stocked(&mesh);
    let client = mesh.anonymous("spoke");
    client.manifest("up/team/app", "1").await.unwrap();
    mesh.node("dev").path.drop_all().await;
    mesh.node("dev").path.cut_next(2 << 20, Cut::Reset);
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(mesh.origin.record().blob_gets(image.largest().0), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_stalls_is_continued_and_a_steady_one_is_left_alone() {
    let mesh = Mesh::builder()
        .tiers(1)
        .set(|s| s.progress = Duration::from_millis(400))
        .start()
        .await;
    let image = stocked(&mesh);
    let layer = image.largest().0;
    let stall = mesh
        .origin
        .play(Script::new(When::get().blob(layer), [Fault::StallAt(3 << 20)]).once());
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(stall.met(), 2);
    let steady = tests::Content::pattern(9, 1 << 20);
    let steady = mesh.origin.shelf().put_blob("team/app", &steady);
    // A quarter of the limit between pieces, twice the limit in all.
    let pace = Fault::Drip(128 << 10, Duration::from_millis(100));
    let script = mesh
        .origin
        .play(Script::new(When::get().blob(&steady), [pace]));
    client.blob("up/team/app", &steady).await.unwrap();
    assert_eq!(script.met(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_ignores_range_or_lies_about_it_is_not_believed() {
    for lie in [
        vec![Fault::IgnoreRange],
        vec![Fault::Header(
            "content-range",
            "bytes 0-9/4194304".to_owned(),
        )],
        vec![Fault::Header("etag", "\"another\"".to_owned())],
        vec![Fault::Status(416)],
    ] {
        let mesh = Mesh::builder().tiers(1).start().await;
        let image = stocked(&mesh);
        let layer = image.largest().0;
        mesh.origin
            .play(Script::new(When::get().blob(layer), [Fault::Cut(2 << 20, Cut::Reset)]).once());
        mesh.origin
            .play(Script::new(When::get().blob(layer).ranged(), lie.clone()).once());
        let client = mesh.client("dev");
        client.manifest("up/team/app", "1").await.unwrap();
        // Whole and right, or visibly broken; and right the next time.
        let reply = client.get_blob("up/team/app", layer).await.unwrap();
        let right = image.largest().1.to_bytes();
        assert!(
            right.starts_with(&reply.body) || reply.status != 200,
            "{lie:?}"
        );
        assert!(
            reply.body.len() == right.len() || reply.cut.is_some() || reply.status != 200,
            "{lie:?}"
        );
        mesh.origin.heal();
        assert_eq!(
            client.blob("up/team/app", layer).await.unwrap(),
            right.len() as u64,
            "{lie:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuing_has_an_end_and_the_body_then_breaks() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = stocked(&mesh);
    let layer = image.largest().0;
    let cut = mesh.origin.play(Script::new(
        When::get().blob(layer),
        [Fault::Cut(10_000, Cut::Reset)],
    ));
    let client = mesh.client("dev");
    client.manifest("up/team/app", "1").await.unwrap();
    let reply = client.get_blob("up/team/app", layer).await.unwrap();
    assert!(reply.cut.is_some(), "{} bytes", reply.body.len());
    assert!(image.largest().1.to_bytes().starts_with(&reply.body));
    assert!(cut.met() >= 2, "{}", cut.met());
    mesh.origin.heal();
    client.blob("up/team/app", layer).await.unwrap();
}
