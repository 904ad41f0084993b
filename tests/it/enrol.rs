//! Who may join, who is put out and stays out, and certificates that end while nobody renews them (`spec/control-plane.md`
//! "Enrolment"; T36, T38, T52, T55).

use std::fs;
use std::path::Path;
use std::time::Duration;

use control::config::Settings;
use runtime::Clock;
use tests::Fleet;
use tests::eventually::{BOUND, eventually, eventually_async};
use tests::fleet::Builder;
use wire::time::WallTime;

use crate::PROGRAM;
use crate::control_away::brisk;

/// A control plane whose certificates live for so long, beside the minute that they are backdated.
fn short_lived(life: Duration) -> Settings {
    let mut settings = brisk();
    settings.ca.life = life;
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_used_expired_foreign_or_garbled_is_refused_with_the_reason() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).not_joined().start().await;
    let other = Builder::apart(PROGRAM).tiers(1).not_joined().start().await;
    let short = ["node", "join-token", "dev", "--ttl", "1s", "-o", "json"];
    let short = fleet.regmesh(&short).await.well().json();
    let expired = short["token"].as_str().unwrap();
    let used = fleet.token("dev").await;
    fleet.start_node("dev", &["--join", &used]);
    fleet.ready("dev").await;
    fleet.kill("dev").await;
    // With the directory of the first it is no second use.
    fleet.start_node("dev", &["--join", &used]);
    fleet.ready("dev").await;
    fleet.kill("dev").await;
    fs::rename(fleet.data("dev"), fleet.dir().join("first")).unwrap();
    refused(&mut fleet, &used, "used already").await;
    let end: WallTime = short["expiresAt"].as_str().unwrap().parse().unwrap();
    until(end).await;
    refused(&mut fleet, expired, "expired").await;
    refused(&mut fleet, &used[..used.len() - 9], "join token").await;
    refused(&mut fleet, "nonsense", "join token").await;
    // One of another mesh: its control plane is not the one that answers.
    let foreign = other.token("dev").await;
    fleet.path.aim(other.path.address());
    let own = fleet.token("dev").await;
    fleet.start_node("dev", &["--join", &own]);
    eventually_async(
        BOUND,
        "the wrong control plane is not believed",
        async || {
            let said = fleet.said("dev");
            let told = said
                .iter()
                .any(|line| line.contains("CA") || line.contains("pin"));
            if told { Ok(()) } else { Err(said) }
        },
    )
    .await;
    assert_eq!(fleet.look(&fleet.admin("dev", "/readyz")).await.0, 503);
    fleet.kill("dev").await;
    drop(other);
    assert!(!foreign.is_empty());
    let unknown = fleet
        .regmesh(&["node", "join-token", "nobody"])
        .await
        .ends(1);
    assert!(unknown.err.contains("nobody"), "{unknown:#?}");
    let audit = fleet
        .regmesh(&["audit", "list", "-o", "json"])
        .await
        .well()
        .out;
    assert!(
        audit.contains("used already") && audit.contains("expired"),
        "{audit}"
    );
}

async fn until(time: WallTime) {
    eventually("the time has come", || {
        let left = time.0 - Clock::system().wall_ms();
        if left < 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Joining with `token` ends in exit code 1 and these words.
async fn refused(fleet: &mut Fleet, token: &str, why: &str) {
    fleet.start_node("dev", &["--join", token]);
    let (code, said) = fleet.ended("dev").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(why), "{why}: {said}");
    assert!(
        !said.contains(token) || token == "nonsense",
        "the token is told: {said}"
    );
}

/// T38, as far as there are nodes to revoke.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_closed_within_seconds_stays_closed_and_may_join_again() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let (repository, image) = fleet.image("app", 71);
    fleet.pulls("prod", &repository, &image).await;
    fleet.copied("prod").await;
    let clock = Clock::system();
    let start = clock.now();
    fleet
        .regmesh(&["node", "revoke", "prod", "--yes"])
        .await
        .well();
    closed(&fleet, "prod", &repository).await;
    let took = clock.now() - start;
    assert!(took < Duration::from_secs(5), "{took:?}");
    fleet.until("prod", "absent").await;
    fleet.until("dev", "healthy").await;
    let ready = fleet.look(&fleet.admin("prod", "/readyz?verbose")).await;
    assert!(ready.0 == 503 && ready.1.contains("revoked"), "{ready:?}");
    fleet.kill("prod").await;
    fleet.start_node("prod", &[]);
    closed_or_ended(&mut fleet, "prod", &repository).await;
    let token = fleet.token("prod").await;
    fleet.start_node("prod", &["--join", &token]);
    fleet.ready("prod").await;
    fleet.until("prod", "healthy").await;
    fleet.origin.record().clear();
    fleet.pulls("prod", &repository, &image).await;
    let blobs = fleet.origin.blob_gets(&image.top().blobs());
    assert!(
        blobs.iter().all(|gets| *gets == 0),
        "what was stored was lost"
    );
}

async fn closed(fleet: &Fleet, node: &str, repository: &str) {
    eventually_async(BOUND, "it is closed", async || {
        match fleet.client(node).get_manifest(repository, "1").await {
            Ok(reply) if reply.status == 503 => Ok(()),
            other => Err(other
                .map(|reply| reply.status)
                .map_err(|error| format!("{error:#}"))),
        }
    })
    .await;
}

/// A node that was shut out may end or stand closed; it serves nothing.
async fn closed_or_ended(fleet: &mut Fleet, node: &str, repository: &str) {
    let (code, said) = fleet.ended(node).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("revoked") && said.contains("new token"),
        "{said}"
    );
    let reply = fleet.client(node).get_manifest(repository, "1").await;
    assert!(reply.is_err(), "{reply:?}");
}

/// T55: one certificate on two machines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_data_directory_is_shut_out_and_told() {
    let settings = short_lived(Duration::from_secs(40));
    let mut fleet = Builder::here(PROGRAM, settings).tiers(2).start().await;
    // Taken while it does not run, as a snapshot of a machine is; then both renew.
    fleet.kill("prod").await;
    let copy = fleet.dir().join("copy");
    copy_dir(fleet.data("prod"), &copy);
    fleet.start_node("prod", &[]);
    fleet.ready("prod").await;
    // One renewal may be an answer that was lost in the snapshot; two are not.
    let taken = counter(&copy);
    eventually("the first has renewed twice", || {
        let now = counter(fleet.data("prod"));
        if now >= taken + 2 { Ok(()) } else { Err(now) }
    })
    .await;
    fleet.kill("prod").await;
    fs::rename(fleet.data("prod"), fleet.dir().join("first")).unwrap();
    fs::rename(&copy, fleet.data("prod")).unwrap();
    fleet.start_node("prod", &[]);
    let events = eventually_async(BOUND, "the copy is told of", async || {
        let list = ["event", "list", "--kind", "clone_detected", "-o", "json"];
        let events = fleet.regmesh(&list).await.well().json();
        match events.as_array() {
            Some(events) if !events.is_empty() => Ok(events.clone()),
            _ => Err(fleet.said("prod")),
        }
    })
    .await;
    assert_eq!(events[0]["node"], "prod", "{events:#?}");
    closed(&fleet, "prod", "up/team/app").await;
    let status = fleet.status().await.to_string();
    assert!(status.contains("shutOut"), "{status}");
    fleet.until("dev", "healthy").await;
}

/// How often the enrolment in a data directory was renewed.
fn counter(data: &Path) -> u64 {
    let text = fs::read(data.join("agent/enrolment.json")).unwrap();
    let enrolment: serde_json::Value = serde_json::from_slice(&text).unwrap();
    enrolment["counter"].as_u64().unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_dir(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// T36, as far as nodes' own certificates go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_in_an_outage_keeps_nobody_from_serving_and_is_renewed_after_it() {
    let settings = short_lived(Duration::from_secs(4));
    let mut fleet = Builder::here(PROGRAM, settings).tiers(2).start().await;
    let (first, image) = fleet.image("first", 72);
    fleet.pulls("prod", &first, &image).await;
    let mut ends = Vec::new();
    for node in fleet.status().await["nodes"].as_array().unwrap() {
        let end = node["instances"][0]["certificateUntil"].as_str().unwrap();
        ends.push(end.parse::<WallTime>().unwrap());
    }
    fleet.kill_control().await;
    until(ends.into_iter().max().unwrap()).await;
    fleet.pulls("prod", &first, &image).await;
    let (second, filled) = fleet.image("second", 73);
    fleet.pulls("prod", &second, &filled).await;
    for node in ["dev", "prod"] {
        fleet.restart(node).await;
        fleet.pulls(node, &first, &image).await;
    }
    let (third, filled) = fleet.image("third", 74);
    fleet.pulls("prod", &third, &filled).await;
    fleet.start_control_here(brisk()).await;
    fleet.connected(1.0).await;
    for node in ["dev", "prod"] {
        fleet.until(node, "healthy").await;
    }
}
