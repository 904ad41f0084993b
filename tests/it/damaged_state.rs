//! What is on disk and is not what it was: a control plane killed in the middle of an apply, slices tampered with, a database of last
//! week (`spec/control-plane.md` "Distribution", "State"; T35, T39).

use std::fs;
use std::path::Path;

use runtime::Clock;
use serde_json::json;
use tests::eventually::{BOUND, eventually_async};
use tests::fleet::Builder;
use tests::{Chance, Fleet, Image};

use crate::PROGRAM;

/// T39. An apply is in force with its audit, or neither is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_in_the_middle_of_an_apply_has_the_old_generation_or_the_new_one() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).start().await;
    let mut chance = Chance::new(39);
    let mut last = 1;
    for round in 0..8 {
        let mut changed = fleet.topology.clone();
        changed.set(
            "upstreams",
            "quay.io",
            &format!("{{maxConcurrent: {}}}", round + 5),
        );
        let text = changed.text();
        let pause = chance.millis(30);
        {
            let applying = post_or_nothing(&fleet, &text);
            let _ = Clock::system().timeout(pause, applying).await;
        }
        fleet.kill_control().await;
        fleet.start_control().await;
        let exported = fleet.regmesh(&["export", "-o", "json"]).await.well().json();
        let generation = exported["generation"].as_u64().unwrap();
        let document = exported["document"].as_str().unwrap();
        let is_new = document.contains(&format!("maxConcurrent: {}", round + 5));
        assert_eq!(
            generation,
            last + u64::from(is_new),
            "round {round}: {document}"
        );
        let audit = fleet
            .regmesh(&["audit", "list", "--limit", "200", "-o", "json"])
            .await
            .well()
            .json();
        let audit = audit.as_array().unwrap();
        let newest = audit
            .iter()
            .filter_map(|entry| entry["generation"].as_u64())
            .max();
        assert_eq!(newest, Some(generation), "round {round}: {audit:#?}");
        last = generation;
    }
    fleet
        .topology
        .set("upstreams", "quay.io", "{maxConcurrent: 60}");
    fleet.apply().await.well();
    fleet.until("dev", "healthy").await;
}

async fn post_or_nothing(fleet: &Fleet, yaml: &str) {
    let sent = reqwest::Client::new()
        .post(format!("{}/api/v1/topology:apply", fleet.api()))
        .bearer_auth(fleet.admin_token())
        .header("content-type", "text/yaml")
        .body(yaml.to_owned());
    // Whoever is killed does not answer.
    let _ = sent.send().await;
}

/// T35: what is on the disk of a node is checked like what arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_tampered_with_on_disk_gives_way_to_the_one_before_and_then_to_nothing() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).start().await;
    let (repository, image) = fleet.image("app", 46);
    fleet.pulls("dev", &repository, &image).await;
    fleet.topology.set(
        "rules",
        "more",
        &format!(
            "{{on: dev, source: \"{}/*\", target: \"more/*\"}}",
            fleet.origin.host()
        ),
    );
    fleet.apply().await.well();
    fleet.kill_control().await;
    fleet.kill("dev").await;
    let agent = fleet.data("dev").join("agent");
    // Somebody gives themselves another rule.
    let slice = fs::read_to_string(agent.join("slice.json")).unwrap();
    fs::write(agent.join("slice.json"), slice.replace("more/", "evil/")).unwrap();
    fleet.start_node("dev", &[]);
    fleet.ready("dev").await;
    fleet.pulls("dev", &repository, &image).await;
    let status = fleet.own_status("dev").await.unwrap();
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("slice.json"), "{status:#}");
    let rules = status["rules"].to_string();
    assert!(
        !rules.contains("evil") && !rules.contains("more"),
        "{rules}"
    );
    fleet.kill("dev").await;
    for name in ["slice.json", "slice.previous.json"] {
        garble(&agent.join(name));
    }
    fleet.start_node("dev", &[]);
    eventually_async(BOUND, "it is live and closed", async || {
        let looks = (
            fleet.look(&fleet.admin("dev", "/livez")).await.0,
            fleet.look(&fleet.admin("dev", "/readyz")).await.0,
        );
        if looks == (200, 503) {
            Ok(())
        } else {
            Err(looks)
        }
    })
    .await;
    let closed = fleet
        .client("dev")
        .get_manifest(&repository, "1")
        .await
        .unwrap();
    assert_eq!(
        (closed.status, closed.code().as_str()),
        (503, "UNAVAILABLE")
    );
    fleet.start_control().await;
    fleet.ready("dev").await;
    fleet.origin.record().clear();
    fleet.pulls("dev", &repository, &image).await;
    assert_eq!(
        fleet.origin.record().of("GET", ""),
        0,
        "what is stored was lost"
    );
    fleet.pulls("dev", "more/team/app", &image).await;
}

/// Half of a file, and zeroes.
fn garble(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    fs::write(path, bytes).unwrap();
}

/// T35: an older copy of the control plane's database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_restored_from_an_older_copy_takes_nothing_back_until_it_is_confirmed() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    fleet.end_control().await;
    let (data, backup) = (
        fleet.control_data().join("control"),
        fleet.dir().join("backup"),
    );
    copy(&data, &backup);
    fleet.start_control().await;
    // An apply waits for the nodes that are connected; those that are not yet would never see what is lost later.
    for node in ["dev", "prod"] {
        fleet.until(node, "healthy").await;
    }
    let rule = format!(
        "{{on: dev, source: \"{}/*\", target: \"more/*\"}}",
        fleet.origin.host()
    );
    fleet.topology.set("rules", "more", &rule);
    fleet.apply().await.well();
    fleet
        .topology
        .set("upstreams", "quay.io", "{maxConcurrent: 61}");
    fleet.apply().await.well();
    let seen = fleet.status().await["generation"].as_u64().unwrap();
    fleet.kill_control().await;
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    fleet.start_control().await;
    for node in ["dev", "prod"] {
        let ahead = fleet.until(node, "ahead").await;
        assert_eq!(ahead["generation"], seen, "{ahead:#}");
    }
    let status = fleet.status().await;
    assert!(
        !status["alarms"].as_array().unwrap().is_empty(),
        "{status:#}"
    );
    // What is published now goes to nobody.
    fleet.topology.remove("rules", "more");
    fleet
        .topology
        .set("upstreams", "quay.io", "{maxConcurrent: 62}");
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    fleet.regmesh(&["apply", &file]).await.well();
    let (_, image) = fleet.image("app", 47);
    fleet.pulls("dev", "more/team/app", &image).await;
    let status = fleet.status().await;
    assert!(status["nodes"].to_string().contains("ahead"), "{status:#}");
    fleet.restart("dev").await;
    fleet.pulls("dev", "more/team/app", &image).await;
    recover(&fleet).await;
    for node in ["dev", "prod"] {
        let healthy = fleet.until(node, "healthy").await;
        assert!(
            healthy["generation"].as_u64().unwrap() > seen,
            "{healthy:#}"
        );
    }
    let later = Image::single(48).build();
    fleet.origin.put("team/later", "1", &later);
    let gone = fleet
        .client("dev")
        .get_manifest("more/team/later", "1")
        .await;
    assert_eq!(gone.unwrap().status, 404, "the rule went with the recovery");
    assert_eq!(fleet.status().await["alarms"], json!([]));
}

async fn recover(fleet: &Fleet) {
    let recovered = fleet.regmesh(&["control", "recover", "--yes"]).await.well();
    assert!(recovered.out.contains("generation"), "{recovered:#?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
