//! One transfer per digest and node, whoever asks, however often, and whoever leaves (T17).

use futures_util::future::join_all;
use reqwest::Method;
use tests::eventually::{BOUND, eventually, soon};
use tests::mesh::TIERS;
use tests::{Client, Content, Fault, Gate, Image, Mesh, Script, When};
use wire::digest::{Digest, Hasher};

const LAYER: u64 = 4 << 20;

/// A mesh whose origin holds the answer with an image's layer, in the middle.
struct Holding {
    mesh: Mesh,
    layer: Digest,
    gate: Gate,
}

impl Holding {
    async fn start(seed: u64) -> Self {
        let mesh = Mesh::start().await;
        let image = Image::single(seed).layer_of(LAYER).build();
        mesh.origin.put("team/app", "1", &image);
        let (gate, layer) = (Gate::closed(), image.largest().0.clone());
        let hold = Fault::HoldAt(LAYER / 2, gate.clone());
        mesh.origin
            .play(Script::new(When::get().blob(&layer), [hold]));
        Self { mesh, layer, gate }
    }

    /// So many pulls of the layer at once, by `clients` in turn; nothing is answered whole before somebody waits.
    async fn pulled(&self, clients: &[Client], pulls: usize) {
        for client in clients {
            client.manifest("up/team/app", "1").await.unwrap();
        }
        let pulls = clients.iter().cycle().take(pulls);
        let pulls = pulls.map(|client| client.blob("up/team/app", &self.layer));
        let (sizes, ()) = tokio::join!(join_all(pulls), async {
            self.gate.reached().await;
            self.gate.open();
        });
        let right = |size: &anyhow::Result<u64>| matches!(size, Ok(LAYER));
        assert!(sizes.iter().all(right), "{sizes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_cost_the_origin_one_get() {
    let held = Holding::start(1).await;
    held.pulled(&[held.mesh.anonymous("spoke")], 64).await;
    assert_eq!(held.mesh.origin.record().blob_gets(&held.layer), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_several_nodes_share_their_parents_transfer() {
    let held = Holding::start(2).await;
    let clients = TIERS.map(|node| held.mesh.client(node));
    held.pulled(&clients, 30).await;
    assert_eq!(held.mesh.origin.record().blob_gets(&held.layer), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_outlives_the_client_that_began_it_and_all_others() {
    let Holding { mesh, layer, gate } = Holding::start(3).await;
    let client = mesh.anonymous("spoke");
    client.manifest("up/team/app", "1").await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let open = || client.open(Method::GET, &path, &[], None);
    let mut first = soon("the first is answered", open()).await.unwrap();
    let mut second = soon("the second is answered", open()).await.unwrap();
    first.chunk().await.unwrap().expect("a first byte");
    gate.reached().await;
    drop(first);
    let more = second.chunk().await.unwrap();
    more.expect("a byte after the first left");
    drop(second);
    gate.open();
    mesh.copied().await;
    mesh.filled().await;
    mesh.origin.record().clear();
    assert_eq!(client.blob("up/team/app", &layer).await.unwrap(), LAYER);
    let record = mesh.origin.record();
    assert!(record.is_empty(), "{record:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_checks_of_one_tag_are_one_head() {
    const CALLERS: usize = 32;
    // The HEAD is held until all of them wait for it, however long that takes.
    let patient = |s: &mut node::settings::Settings| s.tag_check = BOUND * 2;
    let mesh = Mesh::builder().set(patient).start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.record().clear();
    let gate = Gate::closed();
    let hold = Fault::Hold(gate.clone());
    mesh.origin
        .play(Script::new(When::head().manifest("1"), [hold]));
    let pulls = (0..CALLERS).map(|_| client.manifest("up/team/app", "1"));
    let (answers, ()) = tokio::join!(join_all(pulls), async {
        let spoke = mesh.running("spoke");
        eventually("all callers wait", || match spoke.checks_waiting() {
            CALLERS => Ok(()),
            waiting => Err(waiting),
        })
        .await;
        gate.reached().await;
        gate.open();
    });
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|(digest, _)| *digest == image.digest));
    let joined = answers.iter().filter(|(_, reply)| {
        let status = reply.header("cache-status").unwrap_or_default();
        status.contains("collapsed")
    });
    assert_eq!(joined.count(), CALLERS - 1);
    let record = mesh.origin.record();
    assert_eq!(record.manifest_heads("1"), 1, "{record:#?}");
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
    let mut slow = client.open(Method::GET, &path, &[], None).await.unwrap();
    let mut hasher = Hasher::new(layer.algorithm());
    hasher.update(&slow.chunk().await.unwrap().expect("a byte"));
    let fast = soon("a fast reader is done", client.blob("up/team/app", &layer))
        .await
        .unwrap();
    assert_eq!(fast, 24 << 20);
    assert_eq!(mesh.origin.record().blob_gets(&layer), 1);
    // What the slow one did not read yet is still right.
    while let Some(chunk) = slow.chunk().await.unwrap() {
        hasher.update(&chunk);
    }
    assert_eq!(hasher.finish(), layer);
}
