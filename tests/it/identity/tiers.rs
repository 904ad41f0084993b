//! Three tiers over TLS, each rule as its own managed identity, no password anywhere; rights taken and given back; identities swapped.

use std::os::unix::fs::PermissionsExt;

use tests::eventually::eventually;
use tests::fleet::reader;

use super::{Pulls, explain, fleet, fresh, known, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_pull_through_three_tiers_needs_no_password_and_the_hub_tells_who_read() {
    let fleet = fleet(3).await;
    let text = fleet.topology.text();
    assert!(
        !text.contains("password") && !text.contains("credentials"),
        "{text}"
    );
    let (repository, image) = fresh(&fleet, "cold", 1);
    // Nobody else gets in above the leaf: who is nobody is told to say who he is.
    for node in ["dev", "prod"] {
        let reply = fleet.client(node).get_manifest(&repository, "1").await;
        assert_eq!(reply.unwrap().status, 401, "{node}");
    }
    fleet.pulls("spoke", &repository, &image).await;
    // Who read what, in the log of who was read from.
    for (node, identity, rule) in [("dev", "prod", "prod-up"), ("prod", "spoke", "spoke-up")] {
        let wanted = [
            format!("identity:{identity}"),
            rule.to_owned(),
            repository.clone(),
        ];
        eventually("the log names identity, rule and repository", || {
            let said = fleet.said(node);
            let told = said
                .iter()
                .any(|line| wanted.iter().all(|part| line.contains(part)));
            if told { Ok(()) } else { Err(said) }
        })
        .await;
    }
    for node in ["prod", "spoke"] {
        let grants = fleet.data(node).join("agent/grants.json");
        let mode = std::fs::metadata(grants).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_taken_away_stops_the_rule_within_seconds_and_given_back_heals_it() {
    let mut fleet = fleet(2).await;
    // What is stored is served for a while after a right is lost, unless the rule says otherwise.
    fleet.topology.set("rules", "prod-up", "{on: prod, source: \"parent://up/*\", target: \"up/*\", identity: prod, freshness: {check: always, deniedGrace: 0s}}");
    fleet.apply().await.well();
    let (repository, image) = fresh(&fleet, "role", 2);
    fleet.pulls("prod", &repository, &image).await;
    let listed = fleet
        .regmesh(&["role", "list", "-o", "json"])
        .await
        .well()
        .json();
    let items = listed["items"]
        .as_array()
        .or(listed.as_array())
        .unwrap()
        .clone();
    let of_prod = items
        .iter()
        .find(|each| each["spec"]["to"] == "identity:prod");
    let name = of_prod.unwrap_or_else(|| panic!("{items:#?}"))["name"]
        .as_str()
        .unwrap()
        .to_owned();
    fleet.regmesh(&["role", "remove", &name]).await.well();
    let client = fleet.client("prod");
    let denied = until(&client, &repository, "1", "the rule is refused", |reply| {
        reply.status == 403
    })
    .await;
    let text = String::from_utf8_lossy(&denied.body).into_owned();
    assert!(
        text.contains("UPSTREAM_DENIED") && text.contains("prod-up"),
        "{text}"
    );
    let hops = explain(&fleet, &format!("prod/{repository}:1")).await;
    assert_eq!(hops[0]["next"]["refusal"], "UPSTREAM_DENIED", "{hops:#?}");
    fleet
        .regmesh(&[
            "role",
            "assign",
            "repository-reader",
            "--to",
            "identity:prod",
            "--on",
            "dev",
            "--repositories",
            "up/*",
        ])
        .await
        .well();
    until(
        &client,
        &repository,
        "1",
        "the rule is let in again",
        |reply| reply.status == 200,
    )
    .await;
    let (repository, image) = fresh(&fleet, "healed", 3);
    fleet.pulls("prod", &repository, &image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identity_of_a_rule_is_swapped_in_a_pull_loop_that_loses_no_pull() {
    let mut fleet = fleet(2).await;
    fleet
        .topology
        .set("identities", "other", "{kind: managed, on: [prod]}");
    fleet.topology.allow(&reader("other", "dev"));
    fleet.apply().await.well();
    let pulls = Pulls::start(&fleet, "swap", 100);
    for identity in ["other", "prod", "other"] {
        let update = ["cache", "update", "-n", "prod-up", "--identity", identity];
        fleet.regmesh(&update).await.well();
        known(&fleet, "prod").await;
    }
    pulls.end().await;
    // And what asked last, asked as the last one.
    eventually("dev was asked as `other`", || {
        let said = fleet.said("dev");
        let told = said.iter().any(|line| line.contains("identity:other"));
        if told { Ok(()) } else { Err(said.len()) }
    })
    .await;
}
