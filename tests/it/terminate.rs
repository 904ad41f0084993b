//! T67 with the real process: SIGTERM makes it unready at once, lets transfers finish, ends it with 0; a second one ends it now.

use std::time::Duration;

use reqwest::Method;
use runtime::Clock;
use tests::client::Reply;
use tests::eventually::{BOUND, eventually_async};
use tests::lab::HUB;
use tests::{Fault, Gate, Image, Lab, Regmesh, Script, When};

use crate::PROGRAM;

/// How many clients are in the middle of the layer.
const READERS: usize = 20;

/// A node with readers of a layer that is held at half.
struct Busy {
    lab: Lab,
    node: Regmesh,
    image: Image,
    gate: Gate,
    transfers: Vec<reqwest::Response>,
}

async fn busy(seed: u64, flag: &str) -> Busy {
    let lab = Lab::new(PROGRAM).await.flag(flag);
    let image = Image::single(seed).layer_of(4 << 20).build();
    lab.origin.put("team/app", "1", &image);
    let gate = Gate::closed();
    let layer = image.largest().0;
    let hold = Fault::HoldAt(2 << 20, gate.clone());
    lab.origin
        .play(Script::new(When::get().blob(layer), [hold]));
    let node = lab.start().await.unwrap();
    let client = node.client(HUB);
    client.manifest("up/team/app", "1").await.unwrap();
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let mut transfers = Vec::new();
    for _ in 0..READERS {
        transfers.push(client.open(Method::GET, &path, &[], None).await.unwrap());
    }
    gate.reached().await;
    Busy {
        lab,
        node,
        image,
        gate,
        transfers,
    }
}

/// `/readyz` says 503, or nobody answers there any more.
async fn assert_unready(node: &Regmesh) {
    let url = node.admin(HUB, "/readyz");
    eventually_async(
        Duration::from_secs(2),
        "it is unready",
        async || match reqwest::get(&url).await {
            Ok(answer) if answer.status() == 503 => Ok(()),
            other => Err(other),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_transfers_finish_and_the_process_ends_with_0() {
    let Busy {
        lab,
        node,
        image,
        gate,
        transfers,
    } = busy(81, "--drain-timeout=20s").await;
    node.process.terminate();
    assert_unready(&node).await;
    let new = reqwest::get(format!("{}/v2/", node.url(HUB))).await;
    assert!(new.is_err(), "a new connection: {new:?}");
    gate.open();
    for transfer in transfers {
        let reply = Reply::read(transfer).await;
        assert_eq!(reply.verified().unwrap(), *image.largest().0);
    }
    let (status, said) = node.process.finish(BOUND).await;
    assert_eq!(status.code(), Some(0), "{said:#?}");
    lab.assert_verified("drained").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_what_is_left_is_cut_and_it_still_ends_with_0() {
    let Busy {
        lab,
        node,
        transfers,
        ..
    } = busy(82, "--drain-timeout=1s").await;
    let clock = Clock::system();
    let start = clock.now();
    node.process.terminate();
    for transfer in transfers {
        let reply = Reply::read(transfer).await;
        assert!(reply.cut.is_some(), "{} bytes, cleanly", reply.body.len());
    }
    let (status, said) = node.process.finish(BOUND).await;
    let took = clock.now() - start;
    assert_eq!(status.code(), Some(0), "{said:#?}");
    // The time-out and the two seconds that T67 allows, and some for a machine that runs other tests.
    assert!(took < Duration::from_secs(6), "{took:?}");
    lab.assert_verified("cut").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_ends_it_at_once() {
    let Busy {
        lab,
        node,
        gate: _closed,
        transfers: _held,
        ..
    } = busy(83, "--drain-timeout=10m").await;
    node.process.terminate();
    assert_unready(&node).await;
    node.process.terminate();
    let (_, said) = node.process.finish(BOUND).await;
    assert!(
        said.iter().any(|line| line.contains("ended at once")),
        "{said:#?}"
    );
    lab.assert_verified("ended at once").await;
}
