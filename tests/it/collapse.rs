//! One transfer per digest and node, whoever asks, however often, and whoever leaves (T17).

use std::sync::Arc;

use futures_util::future::join_all;
use tests::eventually::{eventually, soon};
use tests::{Content, Fault, Gate, Image, Mesh, Script, When};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_cost_the_origin_one_get() {
    let mesh = Mesh::start().await;
    let image = Image::single(1).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let gate = Gate::closed();
    let layer = image.largest().0.clone();
    mesh.origin.play(Script::new(
        When::get().blob(&layer),
        [Fault::HoldAt(1 << 20, gate.clone())],
    ));
    let client = Arc::new(mesh.anonymous("spoke"));
    client.manifest("up/team/app", "1").await.unwrap();
    let pulls = (0..64).map(|_| client.blob("up/team/app", &layer));
    let (sizes, ()) = tokio::join!(join_all(pulls), async {
        gate.reached().await;
        gate.open();
    });
    assert!(
        sizes
            .iter()
            .all(|size| size.as_ref().is_ok_and(|size| *size == 4 << 20)),
        "{sizes:?}"
    );
    assert_eq!(mesh.origin.record().blob_gets(&layer), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_several_nodes_share_their_parents_transfer() {
    let mesh = Mesh::start().await;
    let image = Image::single(2).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let gate = Gate::closed();
    let layer = image.largest().0.clone();
    mesh.origin.play(Script::new(
        When::get().blob(&layer),
        [Fault::HoldAt(1 << 20, gate.clone())],
    ));
    let clients: Vec<_> = ["dev", "prod", "spoke"]
        .map(|node| mesh.client(node))
        .into();
    for client in &clients {
        client.manifest("up/team/app", "1").await.unwrap();
    }
    let pulls = clients
        .iter()
        .cycle()
        .take(30)
        .map(|client| client.blob("up/team/app", &layer));
    let (sizes, ()) = tokio::join!(join_all(pulls), async {
        gate.reached().await;
        gate.open();
    });
    assert!(sizes.iter().all(Result::is_ok), "{sizes:?}");
    assert_eq!(mesh.origin.record().blob_gets(&layer), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_outlives_the_client_that_began_it_and_all_others() {
    let mesh = Mesh::start().await;
    let image = Image::single(3).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let gate = Gate::closed();
    let layer = image.largest().0.clone();
    mesh.origin.play(Script::new(
        When::get().blob(&layer),
        [Fault::HoldAt(2 << 20, gate.clone())],
    ));
    let client = mesh.anonymous("spoke");
    client.manifest("up/team/app", "1").await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let open = || client.open(reqwest::Method::GET, &path, &[], None);
    let mut first = soon("the first is answered", open()).await.unwrap();
    let mut second = soon("the second is answered", open()).await.unwrap();
    first.chunk().await.unwrap().expect("a first byte");
    gate.reached().await;
    drop(first);
    second
        .chunk()
        .await
        .unwrap()
        .expect("a byte after the first left");
    drop(second);
    gate.open();
    mesh.copied().await;
    eventually("no fill is left", || {
        let left: f64 = ["dev", "prod", "spoke"]
            .iter()
            .map(|node| mesh.metric(node, "regmesh_fills_in_flight", ""))
            .sum();
        if left == 0.0 { Ok(()) } else { Err(left) }
    })
    .await;
    mesh.origin.record().clear();
    assert_eq!(client.blob("up/team/app", &layer).await.unwrap(), 4 << 20);
    assert!(
        mesh.origin.record().is_empty(),
        "{:#?}",
        mesh.origin.record()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_checks_of_one_tag_are_one_head() {
    let mesh = Mesh::start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.record().clear();
    let gate = Gate::closed();
    mesh.origin.play(Script::new(
        When::head().manifest("1"),
        [Fault::Hold(gate.clone())],
    ));
    let pulls = (0..32).map(|_| client.manifest("up/team/app", "1"));
    let (answers, ()) = tokio::join!(join_all(pulls), async {
        gate.reached().await;
        gate.open();
    });
    assert!(answers.iter().all(Result::is_ok));
    // Those who came after the answer may ask once more.
    let heads = mesh.origin.record().manifest_heads("1");
    assert!(heads < 32, "{heads} HEADs for 32 pulls at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_stored_for_one_repository_is_not_transferred_for_another() {
    let mesh = Mesh::start().await;
    let image = Image::single(5).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.origin.put("team/other", "1", &image);
    let client = mesh.anonymous("spoke");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.record().clear();
    client.pull("up/team/other", "1", "amd64").await.unwrap();
    mesh.copied().await;
    assert_eq!(
        mesh.origin.blob_gets(&image.blobs_of("amd64")),
        [0, 0, 0],
        "{:#?}",
        mesh.origin.record()
    );
    assert!(
        mesh.origin
            .record()
            .count(|r| r.method == "HEAD" && r.path.contains("/blobs/"))
            > 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_nobody_up() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let layer = mesh
        .origin
        .shelf()
        .put_blob("team/app", &Content::pattern(6, 24 << 20));
    let client = mesh.client("dev");
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let mut slow = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    slow.chunk().await.unwrap().expect("a byte");
    let fast = soon("a fast reader is done", client.blob("up/team/app", &layer))
        .await
        .unwrap();
    assert_eq!(fast, 24 << 20);
    assert_eq!(mesh.origin.record().blob_gets(&layer), 1);
    // What the slow one did not read yet is still right.
    let mut left = 0;
    while let Some(chunk) = slow.chunk().await.unwrap() {
        left += chunk.len();
    }
    assert!(left > 0);
}
