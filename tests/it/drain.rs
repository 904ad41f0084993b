//! Going down: not ready, no more connections, transfers finish or break visibly (T67).

use std::time::Duration;

use runtime::Clock;
use tests::eventually::{BOUND, eventually_async, soon};
use tests::{Fault, Gate, Image, Mesh, Script, When};

async fn holding(seed: u64) -> (Mesh, Image, Gate) {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::single(seed).layer_of(4 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    let gate = Gate::closed();
    mesh.origin.play(Script::new(
        When::get().blob(image.largest().0),
        [Fault::HoldAt(2 << 20, gate.clone())],
    ));
    (mesh, image, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_under_way_is_finished_and_nothing_new_begins() {
    let (mesh, image, gate) = holding(1).await;
    let layer = image.largest().0.clone();
    let client = mesh.client("dev");
    client.manifest("up/team/app", "1").await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let answer = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    gate.reached().await;
    let ready = format!("http://{}/readyz", mesh.running("dev").admin());
    let drain = mesh.running("dev").drain(BOUND);
    let watch = async {
        eventually_async(BOUND, "it is not ready", async || {
            match reqwest::get(&ready).await {
                Ok(answer) if answer.status() == 503 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let url = format!("{}/v2/", mesh.url("dev"));
        eventually_async(
            BOUND,
            "new connections are refused",
            async || match reqwest::get(&url).await {
                Err(error) if error.is_connect() => Ok(()),
                other => Err(other),
            },
        )
        .await;
        gate.open();
        tests::client::Reply::read(answer).await
    };
    let ((), reply) = tokio::join!(drain, watch);
    assert_eq!(reply.verified().unwrap(), layer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_the_rest_is_cut_and_never_ends_cleanly() {
    let (mut mesh, image, gate) = holding(2).await;
    let layer = image.largest().0.clone();
    let client = mesh.client("dev");
    client.manifest("up/team/app", "1").await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let answer = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    gate.reached().await;
    let clock = Clock::system();
    let start = clock.now();
    let drain = mesh.running("dev").drain(Duration::from_millis(300));
    let ((), reply) = tokio::join!(drain, tests::client::Reply::read(answer));
    assert!(reply.cut.is_some(), "{} bytes", reply.body.len());
    let took = clock.now() - start;
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The unfinished fill goes on where it stood.
    mesh.origin.heal();
    mesh.origin.record().clear();
    mesh.restart("dev").await;
    mesh.client("dev")
        .blob("up/team/app", &layer)
        .await
        .unwrap();
    let sent = mesh.origin.record().bytes_of(&format!("/blobs/{layer}"));
    assert!(sent < 4 << 20, "{sent} bytes of {} sent again", 4 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_hold_it_up() {
    let (mesh, _, _) = holding(3).await;
    let client = mesh.client("dev");
    client.get("/v2/").await.unwrap();
    let silent = tokio::net::TcpStream::connect(mesh.running("dev").address())
        .await
        .unwrap();
    soon(
        "the drain is over",
        mesh.running("dev").drain(Duration::from_secs(10)),
    )
    .await;
    drop(silent);
}
