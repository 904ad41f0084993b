//! What a killed process leaves behind, and what the next one makes of it (T10, T14, T15): the real program, killed for real.
//!
//! `regmesh verify` is the oracle after each death; the next start must serve. SIGKILL proves order and recovery, never flushing:
//! that is `power.rs`.

use std::fs;

use tests::eventually::{BOUND, eventually};
use tests::lab::HUB;
use tests::{Fault, Gate, Image, Lab, Script, When};

use crate::PROGRAM;

mod damage;
mod sweep;

/// The gate that holds the first layer at half.
fn hold_half(lab: &Lab, image: &Image) -> Gate {
    let gate = Gate::closed();
    let digest = &image.blobs_of("amd64")[1];
    let half = image.content(digest).len() / 2;
    let hold = Fault::HoldAt(half, gate.clone());
    lab.origin
        .play(Script::new(When::get().blob(digest), [hold]).once());
    gate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_killed_half_way_is_completed_without_a_client() {
    let lab = Lab::new(PROGRAM).await;
    let image = Image::multi(1).layer_of(8 << 20).layer_of(30_000).build();
    lab.origin.put("team/app", "1", &image);
    let node = lab.start().await.unwrap();
    let gate = hold_half(&lab, &image);
    // The manifests alone: what follows is the node's own business.
    let client = node.client(HUB);
    client.manifest("up/team/app", "1").await.unwrap();
    let platform = image.platform("amd64").digest.clone();
    client.manifest("up/team/app", &platform).await.unwrap();
    gate.reached().await;
    node.kill().await;
    gate.open();
    lab.assert_verified("killed in mid-copy").await;
    let node = lab.start().await.unwrap();
    // Index with its tag, index, platform: the copy is complete.
    eventually("the copy's events arrive", || {
        let events = lab.hook.of_action("push");
        let told: std::collections::BTreeSet<_> = events
            .iter()
            .map(|event| {
                (
                    event["target"]["digest"].to_string(),
                    event["target"]["tag"].to_string(),
                )
            })
            .collect();
        if told.len() == 3 { Ok(()) } else { Err(events) }
    })
    .await;
    node.copied(HUB).await;
    lab.origin.stop().await;
    let pulled = node.client(HUB).pull("up/team/app", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, image.digest);
    assert_eq!(lab.leftovers(), Vec::<std::path::PathBuf>::new());
    node.end().await;
    lab.assert_verified("completed").await;
}

/// What arrived before is not fetched again: the restart goes on where the partial file ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_fill_goes_on_where_a_polite_end_left_it() {
    let lab = Lab::new(PROGRAM).await.flag("--drain-timeout=200ms");
    let image = Image::single(2).layer_of(8 << 20).build();
    lab.origin.put("team/app", "1", &image);
    let node = lab.start().await.unwrap();
    let gate = hold_half(&lab, &image);
    node.client(HUB).manifest("up/team/app", "1").await.unwrap();
    gate.reached().await;
    // What the origin has sent is not yet what the node has written.
    eventually("a part of the layer is on the disk", || {
        let lengths = lab
            .leftovers()
            .iter()
            .map(|file| fs::metadata(file).map_or(0, |it| it.len()))
            .collect::<Vec<_>>();
        if lengths.iter().any(|length| *length > 3 << 20) {
            Ok(())
        } else {
            Err(lengths)
        }
    })
    .await;
    node.end().await;
    gate.open();
    let before = lab.origin.record().len();
    let node = lab.start().await.unwrap();
    lab.hook.pushes(2).await;
    let layer = image.largest().0.to_string();
    let calls = lab.origin.record().all().split_off(before);
    let ranged = calls
        .iter()
        .any(|call| call.path.ends_with(&layer) && call.header("range").is_some());
    assert!(ranged, "begun again: {calls:#?}");
    node.end().await;
    lab.assert_verified("completed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_directory_is_refused_in_one_clear_line() {
    let lab = Lab::new(PROGRAM).await;
    let image = Image::single(3).build();
    lab.origin.put("team/app", "1", &image);
    let first = lab.start().await.unwrap();
    let Err(refused) = lab.start().await else {
        panic!("two processes share a directory")
    };
    let text = refused.to_string();
    assert!(text.starts_with("ended with exit status: 1"), "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("used by another process"));
    let pid = first.process.pid().to_string();
    assert!(
        line.is_some_and(|line| line.contains(&pid) && line.contains("control")),
        "{text}"
    );
    assert!(!text.contains("panicked"), "{text}");
    // The first is none the worse, and a killed one leaves no lock.
    first
        .client(HUB)
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    first.kill().await;
    let next = lab.start().await.unwrap();
    next.client(HUB)
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    next.end().await;
}

/// Pushes are told of as often as they were acknowledged, whatever happens between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_could_not_be_delivered_before_the_kill_is_delivered_after_it() {
    let lab = Lab::new(PROGRAM).await;
    lab.hook.answer_with(503);
    let node = lab.start().await.unwrap();
    let image = Image::single(4).build();
    node.client(HUB)
        .push("own/app", &["1"], &image)
        .await
        .unwrap();
    eventually("a delivery is tried", || {
        if lab.hook.record().is_empty() {
            Err(())
        } else {
            Ok(())
        }
    })
    .await;
    node.kill().await;
    lab.hook.answer_with(200);
    let node = lab.start().await.unwrap();
    let digest = image.digest.as_str();
    tests::eventually::within(BOUND * 2, "both pushes are told", || {
        let events = lab.hook.of_action("push");
        let of = |tag: Option<&str>| {
            events.iter().any(|event| {
                event["target"]["digest"] == digest && event["target"]["tag"].as_str() == tag
            })
        };
        if of(None) && of(Some("1")) {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
    node.end().await;
}
