//! The silent failure of other caches: pulls pass and nothing is stored. Here everybody says so, and it heals by itself
//! (`spec/pull-through.md` step 6; T63 under a control plane).

use std::fs::File;
use std::io::Write;

use tests::eventually::{BOUND, eventually_async};
use tests::fleet::Builder;
use tests::mount::{Mount, privileged};
use tests::peer::available;
use tests::{Fleet, Image, When};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_writes_is_told_everywhere_and_the_copy_completes_when_it_heals() {
    if !available(&["mount", "umount"]) || !privileged().await {
        return;
    }
    let disk = Mount::tmpfs("size=48m").await.unwrap();
    let mut fleet = Builder::apart(PROGRAM)
        .tiers(2)
        .data("prod", &disk.path().join("data"))
        .start()
        .await;
    let ballast = disk.path().join("ballast");
    let mut file = File::create(&ballast).unwrap();
    let block = vec![1_u8; 64 << 10];
    while file.write_all(&block).is_ok() {}
    let image = Image::single(81).layer_of(9 << 20).build();
    fleet.origin.put("team/app", "1", &image);
    fleet.pulls("prod", "up/team/app", &image).await;
    let seen = fleet
        .until_status("prod", "NotStoring, with the reason", |seen| {
            let rule = &seen["unwell"][0];
            rule["status"] == "NotStoring"
                && rule["reason"].as_str().is_some_and(|why| !why.is_empty())
        })
        .await;
    assert_eq!(seen["health"], "degraded", "{seen:#}");
    fleet.pulls("prod", "up/team/app", &image).await;
    told(&fleet).await;
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    // Nobody pulls it again.
    fleet.until("prod", "healthy").await;
    fleet.copied("prod").await;
    fleet.origin.fail(When::any(), 503);
    fleet.kill("dev").await;
    fleet.pulls("prod", "up/team/app", &image).await;
}

/// Doctor, metrics and an event.
async fn told(fleet: &Fleet) {
    let only = [
        "doctor",
        "prod",
        "--only",
        "STORE-WRITE,COPY-STALL",
        "-o",
        "json",
    ];
    let checked = fleet.regmesh(&only).await.ends(3);
    assert!(checked.out.contains("COPY-STALL"), "{checked:#?}");
    let people = fleet
        .regmesh(&["doctor", "prod", "--only", "COPY-STALL"])
        .await
        .ends(3);
    assert!(people.out.contains("prod-up"), "{people:#?}");
    let unstored = fleet
        .metric("prod", "regmesh_rule_unstored_pulls{rule=\"prod-up\"}")
        .await;
    assert!(unstored.is_some_and(|pulls| pulls >= 1.0), "{unstored:?}");
    eventually_async(BOUND, "an event says so", async || {
        let list = [
            "event",
            "list",
            "--kind",
            "rule_status",
            "--node",
            "prod",
            "-o",
            "json",
        ];
        let events = fleet.regmesh(&list).await.well();
        if events.out.contains("NotStoring") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
}
