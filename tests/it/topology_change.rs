//! One change of the topology, from the desk to the next pull, and what refuses one (`spec/control-plane.md` "Distribution", "API";
//! T35).

use std::time::Duration;

use runtime::Clock;
use serde_json::{Value, json};
use tests::eventually::{BOUND, eventually_async};
use tests::fleet::Builder;
use tests::{Fleet, Image};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_after_an_applied_change_follows_it_and_status_shows_the_generation() {
    let mut fleet = Fleet::start(PROGRAM).await;
    let (_, image) = fleet.image("app", 41);
    let before = fleet.status().await["generation"].as_u64().unwrap();
    let unknown = fleet.client("spoke").get_manifest("mirror/app", "1").await;
    assert_eq!(unknown.unwrap().status, 404);
    let rules = [
        ("dev", format!("{}/team/*", fleet.origin.host()), ""),
        (
            "prod",
            "parent://mirror/*".to_owned(),
            ", credentials: prod",
        ),
        (
            "spoke",
            "parent://mirror/*".to_owned(),
            ", credentials: spoke",
        ),
    ];
    for (node, source, more) in &rules {
        let rule = format!("{{on: {node}, source: \"{source}\", target: \"mirror/*\"{more}}}");
        fleet
            .topology
            .set("rules", &format!("{node}-mirror"), &rule);
    }
    let applied = fleet.apply().await.well();
    assert_eq!(applied.json()["published"], true, "{applied:#?}");
    fleet.pulls("spoke", "mirror/app", &image).await;
    let status = fleet.status().await;
    assert_eq!(status["generation"], before + 1);
    for node in ["dev", "prod", "spoke"] {
        fleet
            .until_status(node, "the generation and its health", |seen| {
                (&seen["generation"], &seen["health"]) == (&json!(before + 1), &json!("healthy"))
            })
            .await;
    }
    // A change two tiers up, of what nobody found a moment ago.
    let moved = Image::single(43).build();
    fleet.origin.put("elsewhere/moved", "1", &moved);
    let missed = fleet
        .client("spoke")
        .get_manifest("mirror/moved", "1")
        .await;
    assert_eq!(missed.unwrap().status, 404);
    let source = format!("{}/elsewhere/*", fleet.origin.host());
    let rule = format!("{{on: dev, source: \"{source}\", target: \"mirror/*\"}}");
    fleet.topology.set("rules", "dev-mirror", &rule);
    fleet.apply().await.well();
    fleet.pulls("spoke", "mirror/moved", &moved).await;
    // And away again: what is stored stays, new pulls stop.
    for (node, ..) in &rules {
        fleet.topology.remove("rules", &format!("{node}-mirror"));
    }
    fleet.apply().await.well();
    let gone = Image::single(42).build();
    fleet.origin.put("team/later", "1", &gone);
    let later = fleet
        .client("spoke")
        .get_manifest("mirror/later", "1")
        .await;
    assert_eq!(later.unwrap().status, 404);
    let again = fleet.apply().await.well();
    assert_eq!(again.json()["published"], false, "nothing changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_topology_is_refused_with_every_problem_and_changes_nothing() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).start().await;
    let before = fleet.status().await;
    let good = fleet.topology.clone();
    fleet.topology.set(
        "rules",
        "odd",
        "{on: nowhere, source: \"parent://up/*\", target: \"odd/*\"}",
    );
    fleet.topology.set(
        "rules",
        "star",
        "{on: dev, source: \"quay.io/x/*\", target: \"star\"}",
    );
    fleet.topology.set(
        "webhooks",
        "loud",
        "{on: dev, url: \"ftp://example.com\", actions: [push]}",
    );
    let text = fleet.topology.text();
    let refused = fleet.apply().await.ends(1);
    let api = post(&fleet, "topology:apply", &text).await;
    assert_eq!(api.0, 409, "{}", api.1);
    let problems = api.1["problems"].as_array().unwrap();
    assert!(problems.len() >= 3, "{problems:#?}");
    for problem in problems {
        let code = problem["code"].as_str().unwrap();
        assert!(refused.err.contains(code), "{code}: {refused:#?}");
    }
    for part in ["nowhere", "star", "ftp"] {
        assert!(refused.err.contains(part), "{part}: {refused:#?}");
    }
    let unknown = good.text().replace("target:", "tarket:");
    fleet.write("typo.yaml", &unknown);
    let typo = fleet
        .regmesh(&["plan", "--offline", "typo.yaml"])
        .await
        .ends(1);
    assert!(typo.out.contains("tarket"), "{typo:#?}");
    let after = fleet.status().await;
    assert_eq!(before["generation"], after["generation"]);
    assert_eq!(after["nodes"][0]["health"], "healthy");
}

async fn post(fleet: &Fleet, path: &str, yaml: &str) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v1/{path}", fleet.api()))
        .bearer_auth(fleet.admin_token())
        .header("content-type", "text/yaml")
        .body(yaml.to_owned())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_in_conflict_with_what_is_stored_is_refused_shown_and_the_last_good_one_stays() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let pushed = Image::single(43).build();
    fleet
        .client("prod")
        .push("own/app", &["1"], &pushed)
        .await
        .unwrap();
    let good = fleet.topology.clone();
    let generation = fleet.status().await["generation"].as_u64().unwrap();
    let rule = "{on: prod, source: \"parent://up/*\", target: \"own/*\", credentials: prod}";
    fleet.topology.set("rules", "prod-own", rule);
    fleet
        .apply()
        .await
        .ends(1)
        .says(&["prod refuses generation", "own/"]);
    let seen = fleet.until("prod", "refused").await;
    assert_eq!(seen["refused"]["generation"], generation + 1, "{seen:#}");
    assert_eq!(
        seen["refused"]["problems"][0]["code"],
        "repository-conflict"
    );
    assert_eq!(seen["generation"], generation, "the last good one");
    eventually_async(BOUND, "an event says so", async || {
        let list = ["event", "list", "--kind", "slice_refused", "-o", "json"];
        let events = fleet.regmesh(&list).await.well().json();
        if events[0]["node"] == "prod" {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
    let (repository, image) = fleet.image("app", 44);
    fleet.pulls("prod", &repository, &image).await;
    fleet.pulls("prod", "own/app", &pushed).await;
    // A restart does not forget which one was good.
    fleet.restart("prod").await;
    fleet.pulls("prod", "own/app", &pushed).await;
    fleet.until("prod", "refused").await;
    fleet.topology = good;
    fleet.apply().await.well();
    fleet.until("prod", "healthy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_changes_and_whole_topologies_act_on_the_same_things() {
    let fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let source = format!("{}/team/*", fleet.origin.host());
    let create = [
        "cache", "create", "-r", "dev", "-n", "extra", "-s", &source, "-t", "extra/*",
    ];
    fleet.regmesh(&create).await.well();
    fleet.regmesh(&create).await.ends(1).says(&["exists"]);
    fleet.image("app", 45);
    eventually_async(BOUND, "the new rule is followed", async || {
        fleet.client("dev").pull("extra/app", "1", "amd64").await
    })
    .await;
    let update = [
        "cache",
        "update",
        "-n",
        "extra",
        "--check",
        "1h",
        "--enabled",
        "false",
    ];
    fleet.regmesh(&update).await.well();
    let shown = fleet
        .regmesh(&["cache", "show", "-n", "extra", "-o", "json"])
        .await
        .well();
    assert_eq!(
        shown.json()["spec"]["freshness"]["check"],
        "1h",
        "{shown:#?}"
    );
    let exported = fleet.regmesh(&["export"]).await.well().out;
    assert!(exported.contains("extra"), "{exported}");
    fleet.write("exported.yaml", &exported);
    let plan = ["plan", "exported.yaml", "--detailed-exitcode", "-o", "json"];
    let planned = fleet.regmesh(&plan).await.well();
    assert_eq!(planned.json()["changes"], json!([]), "{planned:#?}");
    // The file knows nothing of it: to apply the file is to take it away.
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    let planned = fleet
        .regmesh(&["plan", &file, "--detailed-exitcode"])
        .await
        .ends(2);
    assert!(
        planned.out.contains("- ") && planned.out.contains("extra"),
        "{planned:#?}"
    );
    let dry = fleet.regmesh(&["apply", &file, "--dry-run"]).await.well();
    assert!(dry.out.contains("extra"), "{dry:#?}");
    fleet
        .regmesh(&["cache", "show", "-n", "extra"])
        .await
        .well();
    fleet.apply().await.well();
    fleet
        .regmesh(&["cache", "show", "-n", "extra"])
        .await
        .ends(1)
        .says(&["extra"]);
    fleet
        .regmesh(&["cache", "delete", "-n", "prod-up"])
        .await
        .well();
    let list = fleet.regmesh(&["cache", "list", "-o", "json"]).await.well();
    assert!(!list.out.contains("prod-up"), "{list:#?}");
    let planned = fleet.regmesh(&["plan", &file]).await.well();
    assert!(
        planned.out.contains("+ ") && planned.out.contains("prod-up"),
        "{planned:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_take_most_of_a_mesh_away_wants_to_be_told_twice() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let whole = fleet.topology.clone();
    fleet.topology.remove("rules", "dev-up");
    fleet.topology.remove("rules", "prod-up");
    fleet
        .apply()
        .await
        .ends(1)
        .says(&["needs-prune", "--prune"]);
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    fleet
        .regmesh(&["apply", &file, "--prune"])
        .await
        .ends(64)
        .says(&["--yes"]);
    fleet
        .regmesh(&["apply", &file, "--prune", "--yes", "--wait"])
        .await
        .well();
    let other = whole.text().replace("mesh: fleet", "mesh: another");
    let other = fleet.write("other.yaml", &other);
    fleet
        .regmesh(&["apply", &other])
        .await
        .ends(1)
        .says(&["other-mesh", "fleet"]);
}

/// What is told at once is told soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_every_connected_node_within_a_second() {
    let mut fleet = Fleet::start(PROGRAM).await;
    fleet
        .topology
        .set("upstreams", "quay.io", "{maxConcurrent: 63}");
    let clock = Clock::system();
    let start = clock.now();
    fleet.apply().await.well();
    let took = clock.now() - start;
    assert!(
        took < Duration::from_secs(3),
        "{took:?} from the command to its end"
    );
}
