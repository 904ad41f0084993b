//! A recalled digest is refused everywhere, with what contains it, whatever is restarted or gone (`spec/operations.md` `regmesh recall`).

use serde_json::Value;
use tests::eventually::{BOUND, eventually_async};
use tests::fleet::TIERS;
use tests::{Fleet, Image};

use crate::PROGRAM;

const REASON: &str = "CVE-2026-1234: use 1.4.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_holds_through_restarts_and_loss_until_it_is_lifted() {
    let mut fleet = Fleet::start(PROGRAM).await;
    let (repository, image) = fleet.image("app", 51);
    fleet.pulls("spoke", &repository, &image).await;
    for node in TIERS {
        fleet.copied(node).await;
    }
    fleet.kill("spoke").await;
    fleet.until("spoke", "disconnected").await;
    // A layer takes down every image that has it.
    let layer = image.largest().0.to_string();
    let recall = ["recall", &layer, "--reason", REASON, "-o", "json"];
    let recalled = fleet.regmesh(&recall).await.well().json();
    assert_eq!(recalled["digest"], layer, "{recalled:#}");
    for node in ["dev", "prod"] {
        refuses(&fleet, node, &repository, &image).await;
    }
    confirmed_by(&fleet, &["dev", "prod"], &["spoke"]).await;
    fleet.kill_control().await;
    for node in ["dev", "prod"] {
        fleet.restart(node).await;
        refuses(&fleet, node, &repository, &image).await;
    }
    fleet.start_control().await;
    confirmed_by(&fleet, &["dev", "prod"], &["spoke"]).await;
    fleet.start_node("spoke", &[]);
    fleet.ready("spoke").await;
    refuses(&fleet, "spoke", &repository, &image).await;
    confirmed_by(&fleet, &TIERS, &[]).await;
    let audit = fleet.regmesh(&["audit", "list", "-o", "json"]).await.well();
    assert!(
        audit.out.contains(&format!("recalls/{layer}")),
        "{audit:#?}"
    );
    assert!(
        !fleet.hook.of_action("recalled").is_empty(),
        "no webhook heard of it"
    );
    fleet.regmesh(&["recall", "lift", &layer]).await.well();
    for node in TIERS {
        eventually_async(BOUND, "it is served again", async || {
            let pulled = fleet.client(node).pull(&repository, "1", "amd64").await;
            pulled.map_err(|error| format!("{error:#}"))
        })
        .await;
    }
    let list = fleet
        .regmesh(&["recall", "list", "-o", "json"])
        .await
        .well();
    assert_eq!(list.json(), Value::Array(Vec::new()));
    fleet.regmesh(&["recall", "lift", &layer]).await.ends(1);
}

async fn refuses(fleet: &Fleet, node: &str, repository: &str, image: &Image) {
    let (client, layer) = (fleet.client(node), image.largest().0);
    let what = format!("{node} refuses the image and its layer, by tag and by digest");
    eventually_async(BOUND, &what, async || {
        let by_tag = client.get_manifest(repository, "1").await.unwrap();
        let by_digest = image.digest.to_string();
        let by_digest = client.get_manifest(repository, &by_digest).await.unwrap();
        let blob = client.get_blob(repository, layer).await.unwrap();
        let replies = [by_tag, by_digest, blob];
        let refused = replies.iter().all(|reply| {
            (reply.status, reply.code().as_str()) == (403, "DENIED")
                && String::from_utf8_lossy(&reply.body).contains(REASON)
        });
        if refused { Ok(()) } else { Err(replies) }
    })
    .await;
}

async fn confirmed_by(fleet: &Fleet, confirmed: &[&str], unconfirmed: &[&str]) {
    eventually_async(BOUND, "the list says who has confirmed", async || {
        let list = fleet
            .regmesh(&["recall", "list", "-o", "json"])
            .await
            .well();
        let list = list.json();
        let (has, has_not) = (&list[0]["confirmed"], &list[0]["unconfirmed"]);
        if *has == serde_json::json!(confirmed) && *has_not == serde_json::json!(unconfirmed) {
            Ok(())
        } else {
            Err(list)
        }
    })
    .await;
}
