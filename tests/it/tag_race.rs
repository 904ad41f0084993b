//! A tag that moves in mid-pull: each answer is whole and true, and the record moves only with what is committed (T04).

use std::time::Duration;

use futures_util::future::join_all;
use tests::{Client, Fault, Gate, Image, Mesh, Script, When};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_between_head_and_get_is_one_or_the_other() {
    let mesh = Mesh::start().await;
    let (old, new) = (Image::multi(1).build(), Image::multi(2).build());
    mesh.origin.put("team/app", "1", &old);
    mesh.origin.shelf().put("team/app", &new);
    let moved = new.digest.clone();
    mesh.origin.play(
        Script::new(When::head().manifest("1"), [])
            .once()
            .then(move |shelf| shelf.tag("team/app", "1", &moved)),
    );
    let client = mesh.anonymous("spoke");
    let first = client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert!(first.digest == old.digest || first.digest == new.digest);
    let second = client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(second.digest, new.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_index_was_served_its_children_can_be_pulled() {
    let mesh = Mesh::start().await;
    let images: Vec<Image> = (10..16)
        .map(|seed| Image::multi(seed).layer_of(4096).build())
        .collect();
    mesh.origin.put("team/app", "1", &images[0]);
    for image in &images {
        mesh.origin.shelf().put("team/app", image);
    }
    let clients: Vec<Client> = (0..8).map(|_| mesh.anonymous("spoke")).collect();
    let pulls = join_all(clients.iter().map(async |client| {
        for _ in 0..5 {
            let pulled = client.pull("up/team/app", "1", "amd64").await.unwrap();
            assert!(images.iter().any(|image| image.digest == pulled.digest));
        }
    }));
    let moves = async {
        for image in images.iter().cycle().take(200) {
            mesh.origin.shelf().tag("team/app", "1", &image.digest);
            tokio::task::yield_now().await;
        }
        mesh.origin.shelf().tag("team/app", "1", &images[3].digest);
    };
    tokio::join!(pulls, moves);
    let last = mesh
        .anonymous("spoke")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    assert_eq!(last.digest, images[3].digest);
    for image in &images {
        mesh.anonymous("spoke")
            .pull("up/team/app", &image.digest, "amd64")
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_digest_stays_pullable_after_its_tag_moved() {
    let mesh = Mesh::start().await;
    let (old, new) = (Image::single(1).build(), Image::single(2).build());
    mesh.origin.put("team/app", "1", &old);
    let client = mesh.anonymous("spoke");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.origin.put("team/app", "1", &new);
    assert_eq!(
        client
            .pull("up/team/app", "1", "amd64")
            .await
            .unwrap()
            .digest,
        new.digest
    );
    mesh.copied().await;
    mesh.origin.stop().await;
    client
        .pull("up/team/app", &old.digest, "amd64")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_cannot_complete_gives_way_to_the_last_one_that_did() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let (old, new) = (Image::single(1).build(), Image::single(2).build());
    mesh.origin.put("team/app", "1", &old);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.put("team/app", "1", &new);
    let gate = Gate::closed();
    mesh.origin.play(Script::new(
        When::get().blobs(),
        [Fault::Hold(gate.clone())],
    ));
    assert_eq!(
        client.manifest("up/team/app", "1").await.unwrap().0,
        new.digest
    );
    mesh.origin.stop().await;
    gate.open();
    let (digest, reply) = client.manifest("up/team/app", "1").await.unwrap();
    assert_eq!(digest, old.digest);
    let warning = reply.header("warning").unwrap_or_default();
    assert!(warning.contains("newer"), "{reply:?}");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_old_answer_moves_no_tag_back() {
    let mesh = Mesh::builder()
        .tiers(1)
        .set(|s| s.tag_check = Duration::from_millis(300))
        .start()
        .await;
    let (old, new) = (Image::single(1).build(), Image::single(2).build());
    mesh.origin.put("team/app", "1", &old);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let gate = Gate::closed();
    mesh.origin
        .play(Script::new(When::head().manifest("1"), [Fault::Hold(gate.clone())]).once());
    client.manifest("up/team/app", "1").await.unwrap();
    mesh.origin.put("team/app", "1", &new);
    tests::eventually::eventually_async(
        tests::eventually::BOUND,
        "the new digest is served",
        async || match client.manifest("up/team/app", "1").await.unwrap().0 {
            digest if digest == new.digest => Ok(()),
            other => Err(other),
        },
    )
    .await;
    mesh.copied().await;
    gate.open();
    mesh.origin.stop().await;
    assert_eq!(
        client.manifest("up/team/app", "1").await.unwrap().0,
        new.digest
    );
}
