//! Exactly the events of `spec/pull-through.md`, signed, in order, at least once.

use serde_json::Value;
use tests::{Fault, Image, Mesh, Script, When, canary};

/// (repository, tag, digest) of each push event, sorted.
fn shown(events: &[Value], node: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut shown: Vec<_> = events
        .iter()
        .filter(|event| event["regmesh"]["node"] == *node)
        .map(|event| {
            let target = &event["target"];
            (
                text(&target["repository"]),
                text(&target["tag"]),
                text(&target["digest"]),
            )
        })
        .collect();
    shown.sort();
    shown
}

fn expected(entries: &[(&str, &wire::digest::Digest)]) -> Vec<(String, String, String)> {
    let entry = |(tag, digest): &(&str, &wire::digest::Digest)| {
        (
            "up/team/app".to_owned(),
            (*tag).to_owned(),
            digest.to_string(),
        )
    };
    let mut all: Vec<_> = entries.iter().map(entry).collect();
    all.sort();
    all
}

async fn hooked() -> Mesh {
    Mesh::builder().tiers(1).hooked().start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_platform_is_three_events_and_another_is_one_more() {
    let mesh = hooked().await;
    let image = Image::multi(1).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let events = mesh.hook.pushes(3).await;
    let (amd, arm) = (
        &image.platform("amd64").digest,
        &image.platform("arm64").digest,
    );
    let first = [("1", &image.digest), ("-", &image.digest), ("-", amd)];
    assert_eq!(shown(&events, "dev"), expected(&first));
    client.pull("up/team/app", "1", "arm64").await.unwrap();
    mesh.copied().await;
    let events = mesh.hook.pushes(4).await;
    assert_eq!(shown(&events[3..], "dev"), expected(&[("-", arm)]));
    assert_eq!(events[3]["regmesh"]["platform"], "linux/arm64");
    client.pull("up/team/app", "1", "arm64").await.unwrap();
    mesh.copied().await;
    mesh.hook.pushes(4).await;
    mesh.hook.assert_signed(&canary::secret("hook"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_tag_is_told_as_the_first_time() {
    let mesh = hooked().await;
    let (old, new) = (Image::multi(1).build(), Image::multi(2).build());
    mesh.origin.put("team/app", "1", &old);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.hook.pushes(3).await;
    mesh.origin.put("team/app", "1", &new);
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let events = mesh.hook.pushes(6).await;
    let moved = [
        ("1", &new.digest),
        ("-", &new.digest),
        ("-", &new.platform("amd64").digest),
    ];
    assert_eq!(shown(&events[3..], "dev"), expected(&moved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_platform_tag_is_two_and_a_digest_is_one() {
    let mesh = hooked().await;
    let (tagged, bare) = (Image::single(3).build(), Image::single(4).build());
    mesh.origin.put("team/app", "1", &tagged);
    mesh.origin.shelf().put("team/app", &bare);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let events = mesh.hook.pushes(2).await;
    assert_eq!(
        shown(&events, "dev"),
        expected(&[("1", &tagged.digest), ("-", &tagged.digest)])
    );
    client
        .pull("up/team/app", &bare.digest, "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    let events = mesh.hook.pushes(3).await;
    assert_eq!(shown(&events[2..], "dev"), expected(&[("-", &bare.digest)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_is_as_the_operations_page_says() {
    let mesh = hooked().await;
    let image = Image::multi(5).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.client("dev")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    let events = mesh.hook.pushes(3).await;
    let tagged = events
        .iter()
        .find(|event| event["target"]["tag"] == "1")
        .unwrap();
    assert_eq!(tagged["action"], "push");
    assert!(tagged["timestamp"].as_str().unwrap().ends_with('Z'));
    let target = &tagged["target"];
    assert_eq!(target["mediaType"], wire::media_type::OCI_INDEX);
    assert_eq!(
        (&target["size"], &target["length"]),
        (
            &image.top().bytes.len().into(),
            &image.top().bytes.len().into()
        )
    );
    assert_eq!(tagged["request"]["method"], "GET");
    assert!(
        tagged["request"]["id"].is_string() && tagged["request"]["host"].is_string(),
        "{tagged}"
    );
    let ours = &tagged["regmesh"];
    assert_eq!(
        (&ours["mesh"], &ours["node"], &ours["rule"], &ours["cause"]),
        (
            &"rig".into(),
            &"dev".into(),
            &"dev-up".into(),
            &"copy".into()
        )
    );
    let call = &mesh.hook.record().all()[0];
    let id = call
        .header("x-regmesh-event-id")
        .expect("X-Regmesh-Event-Id");
    assert!(events.iter().any(|event| event["id"] == id));
    let untagged: Vec<&Value> = events
        .iter()
        .filter(|event| event["target"].get("tag").is_none())
        .collect();
    assert_eq!(untagged.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_gets_everything_later_with_the_same_ids() {
    let mesh = hooked().await;
    mesh.hook.answer_with(500);
    let image = Image::multi(6).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.client("dev")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    tests::eventually("a delivery was refused", || {
        match mesh.hook.record().len() {
            0 => Err(0),
            _ => Ok(()),
        }
    })
    .await;
    mesh.hook.answer_with(200);
    let events = mesh.hook.pushes(3).await;
    let first = mesh.hook.record().all()[0]
        .header("x-regmesh-event-id")
        .map(str::to_owned);
    assert!(
        events
            .iter()
            .any(|event| event["id"].as_str() == first.as_deref())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_committed_is_not_told() {
    let mesh = hooked().await;
    let image = Image::single(7).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.origin
        .play(Script::new(When::get().blobs(), [Fault::FlipBit(3)]));
    let client = mesh.client("dev");
    client.manifest("up/team/app", "1").await.unwrap();
    client
        .get_blob("up/team/app", &image.blobs_of("amd64")[1])
        .await
        .unwrap();
    let pushes = mesh.hook.of_action("push");
    assert!(pushes.is_empty(), "{pushes:#?}");
    mesh.origin.heal();
    mesh.copied().await;
    mesh.hook.pushes(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_s_push_and_delete_are_told_with_their_cause() {
    let mesh = hooked().await;
    let image = Image::single(8).build();
    let client = mesh.client("dev");
    client.push("own/app", &["1"], &image).await.unwrap();
    let events = mesh.hook.pushes(2).await;
    assert!(
        events
            .iter()
            .all(|event| event["regmesh"]["cause"] == "client"),
        "{events:#?}"
    );
    let deleted = client
        .delete(&format!("/v2/own/app/manifests/{}", image.digest))
        .await
        .unwrap();
    assert_eq!(deleted.status, 202, "{deleted:?}");
    let deletes = tests::eventually("the delete is told", || {
        let deletes = mesh.hook.of_action("delete");
        if deletes.is_empty() {
            Err(mesh.hook.events())
        } else {
            Ok(deletes)
        }
    })
    .await;
    assert_eq!(deletes[0]["target"]["digest"], image.digest.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_a_restart() {
    let mut mesh = hooked().await;
    mesh.hook.stop().await;
    let image = Image::single(9).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.client("dev")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    mesh.restart("dev").await;
    mesh.hook.resume().await;
    mesh.hook.pushes(2).await;
}
