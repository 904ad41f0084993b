//! `regmesh pull NODE/REPO:TAG --wait`: promotion in one line, and what `explain` and `wait` say before and after.

use serde_json::Value;
use tests::fleet::Builder;
use tests::{Fleet, Image, When};

use crate::PROGRAM;

async fn explain(fleet: &Fleet, image: &str) -> Vec<Value> {
    let ran = fleet
        .regmesh(&["explain", image, "-o", "json"])
        .await
        .well();
    ran.json()["hops"].as_array().unwrap().clone()
}

/// Node, platform and whether all of it is stored, hop by hop.
fn stored(hops: &[Value]) -> Vec<(String, String, bool)> {
    let platforms = hops.iter().flat_map(|hop| {
        let stored = hop["stored"].as_array().cloned().unwrap_or_default();
        stored.into_iter().map(|stored| {
            (
                hop["node"].as_str().unwrap().to_owned(),
                stored["platform"].as_str().unwrap_or_default().to_owned(),
                stored["complete"] == true,
            )
        })
    });
    platforms.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_waits_ends_when_the_node_holds_every_platform() {
    let fleet = Builder::apart(PROGRAM).start().await;
    let image = Image::multi(61).build();
    fleet.origin.put("team/app", "1", &image);
    let hops = explain(&fleet, "prod/up/team/app:1").await;
    let nodes: Vec<_> = hops
        .iter()
        .map(|hop| (&hop["node"], &hop["next"]["outcome"]))
        .collect();
    assert_eq!(
        nodes,
        [
            (&"prod".into(), &"fill".into()),
            (&"dev".into(), &Value::from("fill"))
        ]
    );
    assert!(
        !stored(&hops).iter().any(|(.., complete)| *complete),
        "{hops:#?}"
    );
    let pull = [
        "pull",
        "prod/up/team/app:1",
        "--platform",
        "all",
        "--wait",
        "-o",
        "json",
    ];
    let pulled = fleet.regmesh(&pull).await.well().json();
    assert_eq!(
        (&pulled["state"], &pulled["digest"]),
        (&"complete".into(), &image.digest.to_string().into()),
        "{pulled:#}"
    );
    let contents = pulled["contents"].as_array().unwrap();
    assert!(
        !contents.is_empty() && contents.iter().all(|content| content["stored"] == true),
        "{pulled:#}"
    );
    // Everything is there: the origin may go.
    fleet.origin.fail(When::any(), 503);
    for architecture in ["amd64", "arm64"] {
        let pulled = fleet
            .client("prod")
            .pull("up/team/app", "1", architecture)
            .await;
        assert_eq!(pulled.unwrap().digest, image.digest);
    }
    fleet.origin.heal();
    let hops = explain(&fleet, "prod/up/team/app:1").await;
    let complete = stored(&hops);
    for (node, platform) in [("prod", "linux/amd64"), ("prod", "linux/arm64")] {
        let expected = (node.to_owned(), platform.to_owned(), true);
        assert!(complete.contains(&expected), "{expected:?}: {complete:?}");
    }
    let table = fleet
        .regmesh(&["explain", "prod/up/team/app:1"])
        .await
        .well()
        .out;
    assert!(
        table.contains("prod") && table.contains("dev") && table.contains("linux/arm64"),
        "{table}"
    );
    // The spoke was not asked.
    let digest = image.digest.to_string();
    fleet
        .regmesh(&["wait", &digest, "--on", "prod", "--timeout", "10s"])
        .await
        .well();
    let all = [
        "wait",
        &digest,
        "--on",
        "all",
        "--at-least",
        "3",
        "--timeout",
        "1s",
        "-o",
        "json",
    ];
    let waited = fleet.regmesh(&all).await.ends(1);
    assert!(waited.json()["waiting"]["spoke"].is_string(), "{waited:#?}");
    let absent = ["pull", "prod/up/team/none:1", "--wait", "-o", "json"];
    fleet.regmesh(&absent).await.ends(1).says(&["regmesh: "]);
}
