//! The commands as scripts use them: every `-o json` is JSON, every exit code is the one of `spec/operations.md`, and what is wrong
//! is told in words that help.

use serde_json::Value;
use tests::eventually::{BOUND, eventually_async};
use tests::fleet::{Builder, Topology};
use tests::{Fleet, Image};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_speaks_json_and_ends_as_the_spec_says() {
    let fleet = Builder::apart(PROGRAM).tiers(2).start().await;
    let image = Image::multi(91).build();
    fleet.origin.put("team/app", "1", &image);
    let digest = image.digest.to_string();
    let pull = "prod/up/team/app:1";
    let hook = format!("{}/other", fleet.hook.url());
    let password = fleet.write("password", "not-a-canary");
    let file = format!("file:{password}");
    let topology = fleet.write("mesh.yaml", &fleet.topology.text());
    let commands: &[&[&str]] = &[
        &["plan", &topology],
        &["plan", "--offline", &topology],
        &["apply", &topology, "--dry-run"],
        &["apply", &topology, "--wait"],
        &["export"],
        &["schema"],
        &["status"],
        &["pull", pull, "--platform", "all", "--wait"],
        &["wait", &digest, "--on", "prod", "--at-least", "1"],
        &["explain", pull],
        &["explain", pull, "--platform", "linux/arm64"],
        &["cache", "list"],
        &["cache", "list", "-r", "prod"],
        &["cache", "show", "-n", "prod-up"],
        &[
            "credential-set",
            "create",
            "-n",
            "quay",
            "-l",
            "quay.io",
            "-u",
            &file,
            "-p",
            &file,
        ],
        &["credential-set", "update", "-n", "quay", "-p", &file],
        &["credential-set", "list"],
        &["credential-set", "delete", "-n", "quay"],
        &["identity", "create", "-n", "puller"],
        &["identity", "assign", "-n", "puller", "-r", "prod"],
        &["identity", "show", "-n", "puller"],
        &["identity", "list"],
        &["identity", "remove", "-n", "puller", "-r", "prod", "-y"],
        &["identity", "delete", "-n", "puller"],
        &["role", "list"],
        &[
            "webhook",
            "create",
            "-n",
            "other",
            "-r",
            "prod",
            "--url",
            &hook,
            "--actions",
            "push",
        ],
        &["webhook", "update", "-n", "other", "--enabled", "true"],
        &["webhook", "show", "-n", "hook"],
        &["webhook", "list"],
        &["webhook", "ping", "-n", "hook"],
        &["webhook", "list-events", "-n", "hook"],
        &["webhook", "delete", "-n", "other"],
        &["repository", "list", "prod"],
        &["repository", "show", "prod/up/team/app"],
        &["repository", "show-tags", "prod/up/team/app"],
        &["manifest", "list-metadata", "prod/up/team/app"],
        &["manifest", "show", pull],
        &["node", "list"],
        &["node", "show", "prod"],
        &["node", "join-token", "prod"],
        &["event", "list"],
        &["audit", "list"],
        &["recall", &digest, "--reason", "a test"],
        &["recall", "list"],
        &["recall", "lift", &digest],
        &["doctor", "prod", "--only", "STORE-WRITE,TREE"],
        &["manifest", "delete", pull, "--yes"],
        &["repository", "delete", "prod/up/team/app", "--yes"],
        &["verify", "dev"],
    ];
    for command in commands {
        let ran = fleet
            .regmesh(&[command, &["-o", "json"][..]].concat())
            .await;
        let ran = ran.well();
        if !ran.out.trim().is_empty() {
            ran.json();
        }
        assert!(
            !ran.err.contains("not-a-canary") && !ran.out.contains("not-a-canary"),
            "{ran:#?}"
        );
    }
    let printing = [
        "status",
        "cache list",
        "webhook list",
        "node list",
        "event list",
        "audit list",
        "role list",
    ];
    for command in printing {
        let args: Vec<&str> = command.split(' ').collect();
        for format in ["table", "yaml"] {
            let ran = fleet
                .regmesh(&[&args[..], &["-o", format]].concat())
                .await
                .well();
            assert!(!ran.out.trim().is_empty(), "{ran:#?}");
        }
    }
    // A quiet command says nothing but data.
    let quiet = fleet
        .regmesh(&["apply", &topology, "--wait", "-q", "-o", "json"])
        .await
        .well();
    assert_eq!(quiet.err, "");
}

/// Where nobody can be asked, whatever takes away what no command gives back wants a yes, before anything else happens.
async fn takes_nothing_away_unasked(fleet: &Fleet) {
    let everything = fleet.write("unasked.yaml", &fleet.topology.text());
    let before = fleet.regmesh(&["export"]).await.well().out;
    for destructive in [
        &["repository", "delete", "dev/team/app"][..],
        &["manifest", "delete", "dev/team/app:1"],
        &["node", "revoke", "dev"],
        &["node", "drain", "dev"],
        &["control", "recover"],
        &["apply", &everything, "--prune"],
    ] {
        let unasked = fleet.regmesh(destructive).await;
        unasked
            .ends(64)
            .says(&["regmesh: usage: this would ", "--yes"]);
    }
    assert_eq!(fleet.regmesh(&["export"]).await.well().out, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_call_is_64_an_error_1_changes_2_and_a_failed_check_3() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).start().await;
    for wrong in [
        &["no-such-command"][..],
        &["status", "--no-such-flag"],
        &["pull"],
        &["pull", "no-slash"],
        &["recall", "sha256:short", "--reason", "x"],
        &["recall", "list", "--reason"],
        &["wait", "x:1", "--on", "all", "--at-least", "101%"],
        &["node", "--topology", "x.yaml"],
        &["status", "-o", "xml"],
        &["doctor", "--only", "NO-SUCH-CHECK"],
    ] {
        let ran = fleet.regmesh(wrong).await.ends(64);
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{ran:#?}");
    }
    takes_nothing_away_unasked(&fleet).await;
    for (failing, code, why) in [
        (
            &["plan", "missing.yaml"][..],
            "file-unreadable",
            "missing.yaml",
        ),
        (&["verify", "missing"], "file-unreadable", "missing"),
        (
            &["--control", "127.0.0.1:9", "status"],
            "invalid-address",
            "127.0.0.1:9",
        ),
        (
            &["--control", "http://127.0.0.1:9", "status"],
            "control-unreachable",
            "127.0.0.1:9",
        ),
        (&["cache", "show", "-n", "nothing"], "not-found", "nothing"),
        (&["explain", "nowhere/app:1"], "not-found", "nowhere"),
        (&["node", "show", "nowhere"], "not-found", "nowhere"),
        (&["pull", "nowhere/app:1"], "not-found", "nowhere"),
        (
            &["repository", "show", "dev/nothing"],
            "not-found",
            "nothing",
        ),
        (
            &["wait", "app:1", "--on", "no=where"],
            "not-found",
            "labels",
        ),
        (
            &["credential-set", "delete", "-n", "nothing", "-y"],
            "not-found",
            "nothing",
        ),
    ] {
        let told = format!("regmesh: {code}: ");
        fleet.regmesh(failing).await.ends(1).says(&[&told, why]);
    }
    fleet
        .topology
        .set("nodes", "more", "{endpoint: \"http://127.0.0.1:4999\"}");
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    fleet
        .regmesh(&["plan", &file, "--detailed-exitcode"])
        .await
        .ends(2);
    fleet.regmesh(&["plan", &file]).await.ends(0);
    fleet.origin.stop().await;
    let checked = fleet
        .regmesh(&["doctor", "dev", "--only", "NET-PATH", "-o", "json"])
        .await;
    assert!(checked.ends(3).out.contains("NET-PATH"));
    let hook = "{on: dev, url: \"http://127.0.0.1:9/\", actions: [push]}";
    fleet.topology.remove("nodes", "more");
    fleet.topology.set("webhooks", "dead", hook);
    fleet.apply().await.well();
    fleet
        .regmesh(&["webhook", "ping", "-n", "dead"])
        .await
        .ends(3);
    fleet.kill("dev").await;
    fleet.until("dev", "disconnected").await;
    fleet
        .regmesh(&["pull", "dev/up/team/app:1"])
        .await
        .ends(1)
        .says(&["not connected", "status"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_control_plane_and_a_wrong_token_are_told_with_what_to_do() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).not_joined().start().await;
    let wrong = fleet.write("wrong.token", "regmesh-not-a-token\n");
    let env = [("REGMESH_CONTROL", fleet.api())];
    let status = ["status", "--token-file", &wrong];
    let ran = fleet.bare(&status, &env).await.ends(1).says(&["token"]);
    assert!(!ran.err.contains("regmesh-not-a-token"), "{ran:#?}");
    fleet
        .bare(&["status"], &env)
        .await
        .ends(1)
        .says(&["token", "login"]);
    let missing = ["status", "--token-file", "nowhere.token"];
    fleet
        .bare(&missing, &env)
        .await
        .ends(1)
        .says(&["nowhere.token"]);
    let token = [
        ("REGMESH_CONTROL", fleet.api()),
        ("REGMESH_TOKEN", fleet.admin_token()),
    ];
    fleet.bare(&["status"], &token).await.well();
    fleet.kill_control().await;
    let api = fleet.api();
    let port = api.trim_start_matches("http://");
    for command in [&["status"][..], &["export"], &["recall", "list"]] {
        fleet.regmesh(command).await.ends(1).says(&[port]);
    }
    // Nothing answers there, and it is said soon.
    let odd = [("REGMESH_CONTROL", "not a url".to_owned())];
    fleet.bare(&["status"], &odd).await.ends(1);
}

/// Of `az acr cache list -o json`.
const ACR: &str = r#"[
  {"credentialSetResourceId": null, "id": "/subscriptions/s/x", "name": "mcr", "provisioningState": "Succeeded",
   "sourceRepository": "mcr.microsoft.com/dotnet/*", "targetRepository": "dotnet/*", "type": "t"},
  {"credentialSetResourceId": "/subscriptions/s/registries/r/credentialSets/hub", "name": "hub",
   "provisioningState": "Succeeded", "sourceRepository": "docker.io/library/*", "targetRepository": "library/*"}]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_imported_is_accepted_applied_and_exported_unchanged() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).not_joined().start().await;
    fleet.write("acr.json", ACR);
    let import = [
        "import", "acr", "acr.json", "--mesh", "fleet", "--node", "dev",
    ];
    let imported = fleet.regmesh(&import).await.well();
    assert!(
        imported.err.contains("hub"),
        "what is not mapped is told: {imported:#?}"
    );
    let file = fleet.write("imported.yaml", &imported.out);
    fleet.regmesh(&["plan", "--offline", &file]).await.well();
    fleet
        .regmesh(&["apply", &file, "--prune", "--yes"])
        .await
        .well();
    let exported = fleet.regmesh(&["export"]).await.well().out;
    let exported = fleet.write("exported.yaml", &exported);
    for file in [&file, &exported] {
        fleet
            .regmesh(&["plan", file, "--detailed-exitcode"])
            .await
            .well();
    }
    fleet.topology = Topology::default();
    let ran = fleet.regmesh(&["import", "zot", "acr.json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
}

/// What an account may, by signing in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_signs_in_and_may_what_its_roles_say() {
    let mut fleet = Builder::apart(PROGRAM).tiers(1).not_joined().start().await;
    let password = fleet.write("viewer.password", "correct horse");
    let account = format!("{{password: {{file: \"{password}\"}}}}");
    fleet.topology.set("accounts", "viewer", &account);
    fleet
        .topology
        .allow("{allow: mesh-reader, to: \"account:viewer\"}");
    fleet.apply().await.well();
    let env = [("REGMESH_CONTROL", fleet.api())];
    let wrong = fleet.write("wrong.password", "incorrect horse");
    let login = |file: &str| {
        let login = ["login", "--account", "viewer", "--password-file", file];
        login.map(str::to_owned).to_vec()
    };
    let args = login(&wrong);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    fleet.bare(&args, &env).await.ends(1).says(&["password"]);
    let args = login(&password);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    fleet.bare(&args, &env).await.well();
    let status = fleet.bare(&["status", "-o", "json"], &env).await.well();
    assert_eq!(status.json()["mesh"], "fleet");
    let may_not = ["cache", "delete", "-n", "dev-up", "-y"];
    fleet
        .bare(&may_not, &env)
        .await
        .ends(1)
        .says(&["mesh-administrator"]);
    // A role taken away counts at the next request.
    let mut without = fleet.topology.text();
    without = without.replace("  - {allow: mesh-reader, to: \"account:viewer\"}\n", "");
    let file = fleet.write("without.yaml", &without);
    fleet.regmesh(&["apply", &file]).await.well();
    fleet.bare(&["status"], &env).await.ends(1);
    fleet.bare(&["logout"], &env).await.well();
}

/// One process with everything: what `up` runs is the same mesh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_has_a_control_plane_that_the_commands_find_by_themselves() {
    let fleet: Fleet = Builder::apart(PROGRAM).tiers(2).not_joined().start().await;
    let file = fleet.write("mesh.yaml", &fleet.topology.text());
    let data = fleet.dir().join(".regmesh");
    let mut up = tests::Regmesh::up(PROGRAM, file.as_ref(), &data, &[])
        .await
        .unwrap();
    let healthy = eventually_async(BOUND, "both nodes are healthy", async || {
        let status = fleet
            .bare(&["status", "-o", "json"], &[])
            .await
            .well()
            .json();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let healthy = nodes.iter().filter(|node| node["health"] == "healthy");
        if healthy.count() == 2 {
            Ok(status)
        } else {
            Err(status)
        }
    })
    .await;
    assert_eq!(healthy["alarms"], Value::Array(Vec::new()));
    let image = Image::single(92).build();
    fleet.origin.put("team/app", "1", &image);
    let pull = ["pull", "prod/up/team/app:1", "--wait", "-o", "json"];
    let pulled = fleet.bare(&pull, &[]).await.well().json();
    assert_eq!(pulled["state"], "complete", "{pulled:#}");
    assert!(up.process.has_ended().is_none());
    up.end().await;
}
