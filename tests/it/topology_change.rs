//! One change of the topology, from the desk to the next pull; what refuses one; and a control plane that is killed in the middle of
//! it (`spec/control-plane.md` "Distribution", "API"; T35, T39).

use std::fs;
use std::path::Path;
use std::time::Duration;

use runtime::Clock;
use serde_json::{Value, json};
use tests::eventually::{BOUND, eventually_async};
use tests::fleet::Builder;
use tests::{Chance, Fleet, Image};

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
        ("prod", "parent://mirror/*".to_owned(), ", credentials: prod"),
        ("spoke", "parent://mirror/*".to_owned(), ", credentials: spoke"),
    ];
    for (node, source, more) in &rules {
        let rule = format!("{{on: {node}, source: \"{source}\", target: \"mirror/*\"{more}}}");
        fleet.topology.set("rules", &format!("{node}-mirror"), &rule);
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
    // And away again: what is stored stays, new pulls stop.
    for (node, ..) in &rules {
        fleet.topology.remove("rules", &format!("{node}-mirror"));
    }
    fleet.apply().await.well();
    let gone = Image::single(42).build();
    fleet.origin.put("team/later", "1", &gone);
    let later = fleet.client("spoke").get_manifest("mirror/later", "1").await;
    assert_eq!(later.unwrap().status, 404);
    let again = fleet.apply().await.well();
    assert_eq!(again.json()["published"], false, "nothing changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_topology_is_refused_with_every_problem_and_changes_nothing() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).start().await;
    let before = fleet.status().await;
    let good = fleet.topology.clone();
    fleet.topology.set("rules", "odd", "{on: nowhere, source: \"parent://up/*\", target: \"odd/*\"}");
    fleet.topology.set("rules", "star", "{on: dev, source: \"quay.io/x/*\", target: \"star\"}");
    fleet.topology.set("webhooks", "loud", "{on: dev, url: \"ftp://example.com\", actions: [push]}");
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
    let typo = fleet.regmesh(&["plan", "--offline", "typo.yaml"]).await.ends(1);
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
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_in_conflict_with_what_is_stored_is_refused_shown_and_the_last_good_one_stays() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let pushed = Image::single(43).build();
    fleet.client("prod").push("own/app", &["1"], &pushed).await.unwrap();
    let good = fleet.topology.clone();
    let generation = fleet.status().await["generation"].as_u64().unwrap();
    let rule = "{on: prod, source: \"parent://up/*\", target: \"own/*\", credentials: prod}";
    fleet.topology.set("rules", "prod-own", rule);
    fleet.apply().await.ends(1).says(&["prod refuses generation", "own/"]);
    let seen = fleet.until("prod", "refused").await;
    assert_eq!(seen["refused"]["generation"], generation + 1, "{seen:#}");
    assert_eq!(seen["refused"]["problems"][0]["code"], "repository-conflict");
    assert_eq!(seen["generation"], generation, "the last good one");
    let events = fleet
        .regmesh(&["event", "list", "--kind", "slice_refused", "-o", "json"])
        .await
        .well();
    assert_eq!(events.json()[0]["node"], "prod", "{events:#?}");
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
    let create = ["cache", "create", "-r", "dev", "-n", "extra", "-s", &source, "-t", "extra/*"];
    fleet.regmesh(&create).await.well();
    fleet.regmesh(&create).await.ends(1).says(&["exists"]);
    let (_, image) = fleet.image("app", 45);
    eventually_async(BOUND, "the new rule is followed", async || {
        fleet.client("dev").pull("extra/app", "1", "amd64").await
    })
    .await;
    let _ = image;
    let update = ["cache", "update", "-n", "extra", "--check", "1h", "--enabled", "false"];
    fleet.regmesh(&update).await.well();
    let shown = fleet.regmesh(&["cache", "show", "-n", "extra", "-o", "json"]).await.well();
    assert_eq!(shown.json()["spec"]["freshness"]["check"], "1h", "{shown:#?}");
    let exported = fleet.regmesh(&["export"]).await.well().out;
    assert!(exported.contains("extra"), "{exported}");
    fleet.write("exported.yaml", &exported);
    let plan = ["plan", "exported.yaml", "--detailed-exitcode", "-o", "json"];
    let planned = fleet.regmesh(&plan).await.well();
    assert_eq!(planned.json()["changes"], json!([]), "{planned:#?}");
    // The file knows nothing of it: to apply the file is to take it away.
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    let planned = fleet.regmesh(&["plan", &file, "--detailed-exitcode"]).await.ends(2);
    assert!(planned.out.contains("- ") && planned.out.contains("extra"), "{planned:#?}");
    let dry = fleet.regmesh(&["apply", &file, "--dry-run"]).await.well();
    assert!(dry.out.contains("extra"), "{dry:#?}");
    fleet.regmesh(&["cache", "show", "-n", "extra"]).await.well();
    fleet.apply().await.well();
    fleet.regmesh(&["cache", "show", "-n", "extra"]).await.ends(1).says(&["extra"]);
    fleet.regmesh(&["cache", "delete", "-n", "prod-up"]).await.well();
    let list = fleet.regmesh(&["cache", "list", "-o", "json"]).await.well();
    assert!(!list.out.contains("prod-up"), "{list:#?}");
    let planned = fleet.regmesh(&["plan", &file]).await.well();
    assert!(planned.out.contains("+ ") && planned.out.contains("prod-up"), "{planned:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_take_most_of_a_mesh_away_wants_to_be_told_twice() {
    let mut fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let whole = fleet.topology.clone();
    fleet.topology.remove("rules", "dev-up");
    fleet.topology.remove("rules", "prod-up");
    fleet.apply().await.ends(1).says(&["needs-prune", "--prune"]);
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    fleet.regmesh(&["apply", &file, "--prune"]).await.ends(1).says(&["--yes"]);
    fleet.regmesh(&["apply", &file, "--prune", "--yes", "--wait"]).await.well();
    let other = whole.text().replace("mesh: fleet", "mesh: another");
    let other = fleet.write("other.yaml", &other);
    fleet.regmesh(&["apply", &other]).await.ends(1).says(&["other-mesh", "fleet"]);
}

/// T39. An apply is in force with its audit, or neither is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_in_the_middle_of_an_apply_has_the_old_generation_or_the_new_one() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).start().await;
    let mut chance = Chance::new(39);
    let mut last = 1;
    for round in 0..8 {
        let endpoint = fleet.topology.clone();
        let mut changed = endpoint;
        changed.set("upstreams", "quay.io", &format!("{{timeout: {}s}}", round + 5));
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
        let is_new = document.contains(&format!("timeout: {}s", round + 5));
        assert_eq!(generation, last + u64::from(is_new), "round {round}: {document}");
        let audit = fleet
            .regmesh(&["audit", "list", "--limit", "200", "-o", "json"])
            .await
            .well()
            .json();
        let audit = audit.as_array().unwrap();
        let newest = audit.iter().filter_map(|entry| entry["generation"].as_u64()).max();
        assert_eq!(newest, Some(generation), "round {round}: {audit:#?}");
        last = generation;
    }
    let end = fleet.topology.clone();
    fleet.topology = end;
    fleet.topology.set("upstreams", "quay.io", "{timeout: 60s}");
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
    fleet.topology.set("rules", "more", &format!("{{on: dev, source: \"{}/*\", target: \"more/*\"}}", fleet.origin.host()));
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
    assert!(!rules.contains("evil") && !rules.contains("more"), "{rules}");
    fleet.kill("dev").await;
    for name in ["slice.json", "slice.previous.json"] {
        garble(&agent.join(name));
    }
    fleet.start_node("dev", &[]);
    eventually_async(BOUND, "it is live and closed", async || {
        let looks = (fleet.look(&fleet.admin("dev", "/livez")).await.0, fleet.look(&fleet.admin("dev", "/readyz")).await.0);
        if looks == (200, 503) { Ok(()) } else { Err(looks) }
    })
    .await;
    let closed = fleet.client("dev").get_manifest(&repository, "1").await.unwrap();
    assert_eq!((closed.status, closed.code().as_str()), (503, "UNAVAILABLE"));
    fleet.start_control().await;
    fleet.ready("dev").await;
    fleet.origin.record().clear();
    fleet.pulls("dev", &repository, &image).await;
    assert_eq!(fleet.origin.record().of("GET", ""), 0, "what is stored was lost");
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
    let (data, backup) = (fleet.control_data().join("control"), fleet.dir().join("backup"));
    copy(&data, &backup);
    fleet.start_control().await;
    let rule = format!("{{on: dev, source: \"{}/*\", target: \"more/*\"}}", fleet.origin.host());
    fleet.topology.set("rules", "more", &rule);
    fleet.apply().await.well();
    fleet.topology.set("upstreams", "quay.io", "{timeout: 61s}");
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
    assert!(!status["alarms"].as_array().unwrap().is_empty(), "{status:#}");
    // What is published now goes to nobody.
    fleet.topology.remove("rules", "more");
    fleet.topology.set("upstreams", "quay.io", "{timeout: 62s}");
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
        assert!(healthy["generation"].as_u64().unwrap() > seen, "{healthy:#}");
    }
    let later = Image::single(48).build();
    fleet.origin.put("team/later", "1", &later);
    let gone = fleet.client("dev").get_manifest("more/team/later", "1").await;
    assert_eq!(gone.unwrap().status, 404, "the rule went with the recovery");
    assert_eq!(fleet.status().await["alarms"], json!([]));
}

async fn recover(fleet: &Fleet) {
    let recovered = fleet.regmesh(&["control", "recover", "--yes"]).await.well();
    assert!(recovered.err.contains("generation"), "{recovered:#?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What is told at once is told soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_every_connected_node_within_a_second() {
    let mut fleet = Fleet::start(PROGRAM).await;
    fleet.topology.set("upstreams", "quay.io", "{timeout: 63s}");
    let clock = Clock::system();
    let start = clock.now();
    fleet.apply().await.well();
    let took = clock.now() - start;
    assert!(took < Duration::from_secs(3), "{took:?} from the command to its end");
}
