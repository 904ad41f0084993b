//! Without the control plane: what a mesh goes on doing, through restarts too, and what it tells when the control plane is back
//! (`spec/control-plane.md` "Distribution"; T33, T34).

use std::time::Duration;

use control::config::Settings;
use control::distribute::Rhythm;
use tests::eventually::{BOUND, eventually, eventually_async};
use tests::fleet::{Builder, TIERS};
use tests::{Fleet, Image};

use crate::PROGRAM;

/// A control plane whose silence is soon noticed.
pub(crate) fn brisk() -> Settings {
    Settings {
        rhythm: Rhythm {
            heartbeat: Duration::from_millis(300),
            report: Duration::from_millis(300),
        },
        ..Settings::default()
    }
}

/// A pull of something new at the last tier fills, copies and tells of it everywhere.
async fn works(fleet: &Fleet, name: &str, seed: u64) -> (String, Image) {
    let (repository, image) = fleet.image(name, seed);
    fleet.pulls("spoke", &repository, &image).await;
    for node in TIERS {
        fleet.copied(node).await;
    }
    told(fleet, &image).await;
    (repository, image)
}

/// The webhook of every tier heard of an image.
async fn told(fleet: &Fleet, image: &Image) {
    eventually("every tier tells of the image", || {
        let pushes = fleet.hook.of_action("push");
        let of_image = pushes
            .iter()
            .filter(|event| event["target"]["digest"] == image.digest.to_string());
        let mut nodes: Vec<_> = of_image
            .map(|event| event["regmesh"]["node"].clone())
            .collect();
        nodes.sort_by_key(ToString::to_string);
        nodes.dedup();
        if nodes == TIERS { Ok(()) } else { Err(nodes) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_whose_control_plane_is_killed_goes_on_and_restarts_and_reports_later() {
    let mut fleet = Fleet::start(PROGRAM).await;
    let (first, image) = works(&fleet, "first", 1).await;
    fleet.kill_control().await;
    fleet.connected(0.0).await;
    fleet.pulls("spoke", &first, &image).await;
    // A tag check sees what moved.
    let moved = Image::single(2).build();
    fleet.origin.put("team/first", "1", &moved);
    fleet.pulls("spoke", &first, &moved).await;
    works(&fleet, "second", 3).await;
    let mut last = image;
    for (node, seed) in TIERS.into_iter().zip(4..) {
        fleet.restart(node).await;
        fleet.pulls(node, &first, &moved).await;
        (_, last) = works(&fleet, &format!("after-{node}"), seed).await;
    }
    fleet.connected(0.0).await;
    fleet.start_control().await;
    fleet.connected(1.0).await;
    for node in TIERS {
        fleet.until(node, "healthy").await;
    }
    // Webhooks have a durable outbox; what is reported for people to watch goes back to a node's last start.
    let digest = last.digest.to_string();
    eventually_async(BOUND, "what happened meanwhile is reported", async || {
        let list = [
            "event", "list", "--kind", "push", "--limit", "500", "-o", "json",
        ];
        let ran = fleet.regmesh(&list).await.well().json();
        let events = ran.as_array().expect("a list");
        let told = |node: &&str| {
            let of_node = events.iter().filter(|event| event["node"] == **node);
            of_node
                .into_iter()
                .any(|event| event["event"]["target"]["digest"] == digest)
        };
        if TIERS.iter().all(told) {
            Ok(())
        } else {
            Err(ran)
        }
    })
    .await;
}

/// T33: its packets vanish, which is worse than refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_restarted_while_the_control_plane_swallows_everything_serve_within_seconds() {
    let mut fleet = Builder::here(PROGRAM, brisk()).start().await;
    let (first, image) = works(&fleet, "first", 21).await;
    fleet.path.swallow().await;
    fleet.connected(0.0).await;
    for (node, seed) in TIERS.into_iter().zip(22..) {
        fleet.kill(node).await;
        fleet.start_node(node, &[]);
        fleet.ready_within(node, Duration::from_secs(5)).await;
        fleet.pulls(node, &first, &image).await;
        works(&fleet, &format!("after-{node}"), seed).await;
        let connected = fleet.metric(node, "regmesh_control_connected").await;
        assert_eq!(connected, Some(0.0), "{node}");
    }
    fleet.path.restore().await;
    fleet.connected(1.0).await;
    for node in TIERS {
        fleet.until(node, "healthy").await;
    }
}

/// T34, for both ways of being away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_node_is_closed_until_the_control_plane_answers() {
    let mut fleet = Builder::here(PROGRAM, brisk())
        .tiers(2)
        .not_joined()
        .start()
        .await;
    let (repository, image) = fleet.image("app", 31);
    let tokens = [fleet.token("dev").await, fleet.token("prod").await];
    fleet.path.refuse().await;
    fleet.start_node("dev", &["--join", &tokens[0]]);
    closed(&fleet, "dev", &repository).await;
    fleet.path.restore().await;
    fleet.ready("dev").await;
    fleet.path.swallow().await;
    fleet.start_node("prod", &["--join", &tokens[1]]);
    closed(&fleet, "prod", &repository).await;
    fleet.path.restore().await;
    fleet.ready("prod").await;
    fleet.pulls("prod", &repository, &image).await;
}

async fn closed(fleet: &Fleet, node: &str, repository: &str) {
    eventually_async(BOUND, "the node is live", async || {
        match fleet.look(&fleet.admin(node, "/livez")).await {
            (200, _) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let (ready, why) = fleet.look(&fleet.admin(node, "/readyz?verbose")).await;
    assert_eq!(ready, 503, "{why}");
    for path in ["/v2/", &format!("/v2/{repository}/manifests/1")] {
        let reply = fleet.client(node).get(path).await.unwrap();
        assert_eq!(
            (reply.status, reply.code()),
            (503, "UNAVAILABLE".to_owned()),
            "{path}"
        );
        assert!(reply.header("retry-after").is_some(), "{path}: {reply:?}");
    }
    assert!(fleet.origin.record().is_empty(), "an open proxy");
}
