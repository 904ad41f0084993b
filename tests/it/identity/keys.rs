//! The keys that sign grants: rotated without anybody noticing, and after a leak dropped at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::eventually::{BOUND, eventually_async};
use tests::fleet::reader;
use tests::{Fleet, jwt};

use super::{Pulls, exchange, fleet, fresh, grants_of, known, started};

/// The key that signed a grant.
fn kid(grant: &str) -> String {
    let header = jwt::parts(grant).unwrap().header;
    header["kid"].as_str().unwrap().to_owned()
}

/// Waits until `prod` has a grant for its rule that `key` signed.
async fn signed_by(fleet: &Fleet, key: &str) -> String {
    eventually_async(BOUND, "prod has a grant by the new key", async || {
        let grants = grants_of(fleet.data("prod"));
        let found = grants.iter().find(|(rule, _)| rule == "prod-up");
        let found = found.filter(|(_, grant)| kid(grant) == key);
        found.map(|(_, grant)| grant.clone()).ok_or(grants)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_in_a_pull_loop_that_loses_no_pull() {
    let mut settings = crate::control_away::brisk();
    settings.ca.overlap = Duration::from_secs(3);
    let mut fleet = started(2, settings).await;
    fleet
        .topology
        .set("identities", "other", "{kind: managed, on: [prod]}");
    fleet.topology.allow(&reader("other", "dev"));
    fleet.apply().await.well();
    let pulls = Pulls::start(&fleet, "rotated", 200);
    let old = kid(&super::grant(&fleet, "prod", "prod-up").await);
    let rotate = ["keys", "rotate", "-o", "json"];
    let rotated = fleet.regmesh(&rotate).await.well().json();
    let new = rotated["grantKey"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    for node in ["dev", "prod"] {
        known(&fleet, node).await;
    }
    // The next grants are signed by the new key as soon as it signs; the old one's are as good.
    let times = AtomicUsize::new(0);
    eventually_async(BOUND, "the new key signs", async || {
        let identity = ["other", "prod"][times.fetch_add(1, Ordering::Relaxed) % 2];
        let update = ["cache", "update", "-n", "prod-up", "--identity", identity];
        fleet.regmesh(&update).await.well();
        known(&fleet, "prod").await;
        let grants = grants_of(fleet.data("prod"));
        let signed = grants.iter().any(|(_, grant)| kid(grant) == new);
        if signed { Ok(()) } else { Err(grants) }
    })
    .await;
    let current = fleet.control_here().publisher().current();
    let believed = &current.published.desired.grants.keys;
    assert!(believed.contains_key(&old) && believed.contains_key(&new));
    pulls.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_leak_nothing_that_the_old_key_signed_is_taken_and_pulls_go_on() {
    let fleet = fleet(2).await;
    let pulls = Pulls::start(&fleet, "leaked", 300);
    let old = super::grant(&fleet, "prod", "prod-up").await;
    let prod = fleet.certificate_of("prod");
    let taken = exchange(&fleet, "dev", &old, Some(&prod)).await;
    assert_eq!(taken.status, 200, "{taken:?}");

    let asked = fleet.regmesh(&["keys", "rotate", "--revoke"]).await;
    assert_eq!(asked.code, Some(64), "it asks first: {asked:#?}");
    let revoke = ["keys", "rotate", "--revoke", "--yes", "-o", "json"];
    let revoked = fleet.regmesh(&revoke).await.well().json();
    let gone = revoked["revoked"].as_array().unwrap();
    assert!(gone.contains(&kid(&old).into()), "{revoked}");
    for node in ["dev", "prod"] {
        known(&fleet, node).await;
    }
    let refused = exchange(&fleet, "dev", &old, Some(&prod)).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let new = signed_by(&fleet, revoked["grantKey"].as_str().unwrap()).await;
    let taken = exchange(&fleet, "dev", &new, Some(&prod)).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    pulls.end().await;
    let (repository, image) = fresh(&fleet, "after", 400);
    fleet.pulls("prod", &repository, &image).await;
    let audit = fleet.regmesh(&["audit", "list", "-o", "json"]).await.well();
    assert!(audit.out.contains("keys/issuer"), "{audit:#?}");
}
