//! The three answers never mixed up: gone, not allowed any more, cannot be asked. None of them deletes content (T21, T22).

use std::time::Duration;

use tests::eventually::{BOUND, eventually_async};
use tests::origin::Access;
use tests::{Fault, Image, Mesh, Script, When};

async fn stocked(keys: &str) -> (Mesh, Image) {
    let mesh = Mesh::builder()
        .tiers(1)
        .rules(keys)
        .origin_account()
        .manual_clock()
        .start()
        .await;
    let image = Image::single(1).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.origin.put("team/app", "2", &image);
    for tag in ["1", "2"] {
        mesh.client("dev")
            .pull("up/team/app", tag, "amd64")
            .await
            .unwrap();
    }
    mesh.copied().await;
    (mesh, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_deleted_upstream_stays_or_goes_as_the_rule_says() {
    for (keys, status) in [("whenGone: keep", 200), ("whenGone: deny", 404)] {
        let (mesh, image) = stocked(keys).await;
        mesh.origin.shelf().untag("team/app", "1");
        let client = mesh.client("dev");
        let reply = client.get_manifest("up/team/app", "1").await.unwrap();
        assert_eq!(reply.status, status, "{keys}: {reply:?}");
        if status == 404 {
            assert_eq!(reply.code(), "MANIFEST_UNKNOWN");
        }
        client
            .pull("up/team/app", &image.digest, "amd64")
            .await
            .unwrap();
        client.pull("up/team/app", "2", "amd64").await.unwrap();
        mesh.origin.shelf().tag("team/app", "1", &image.digest);
        mesh.advance(Duration::from_secs(11));
        client.pull("up/team/app", "1", "amd64").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_right_is_403_by_tag_and_takes_nothing_away() {
    for status in [401, 403] {
        let (mesh, image) = stocked("freshness: {deniedGrace: 0s}").await;
        mesh.origin.fail(When::any(), status);
        let client = mesh.client("dev");
        let reply = client.get_manifest("up/team/app", "1").await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "DENIED"),
            "{reply:?}"
        );
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains("dev-up"), "the rule is named: {text}");
        client
            .pull("up/team/app", &image.digest, "amd64")
            .await
            .unwrap();
        let cold = client.get_manifest("up/team/other", "1").await.unwrap();
        assert_eq!(
            (cold.status, cold.code().as_str()),
            (403, "DENIED"),
            "{cold:?}"
        );
        let state = serde_json::to_value(mesh.running("dev").status()).unwrap();
        assert_eq!(state["rules"][0]["status"], "Unauthorized", "{state}");
        mesh.origin.heal();
        client.pull("up/team/app", "1", "amd64").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_right_has_its_days_of_grace() {
    let (mesh, image) = stocked("freshness: {deniedGrace: 10m}").await;
    mesh.origin.fail(When::any(), 403);
    let client = mesh.client("dev");
    let (digest, reply) = client.manifest("up/team/app", "1").await.unwrap();
    assert_eq!(digest, image.digest);
    assert!(
        reply
            .header("warning")
            .is_some_and(|warning| warning.starts_with("299 ")),
        "{reply:?}"
    );
    mesh.advance(Duration::from_secs(601));
    assert_eq!(
        client
            .get_manifest("up/team/app", "1")
            .await
            .unwrap()
            .status,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ran_out_is_renewed_and_costs_nobody_a_pull() {
    let mesh = Mesh::builder().tiers(1).origin_account().start().await;
    mesh.origin.tokens().require(Access::Bearer);
    let image = Image::single(2).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let before = mesh.origin.tokens().issued();
    mesh.origin.tokens().revoke();
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(mesh.origin.tokens().issued(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_404_is_remembered_for_ten_seconds_and_nothing_else_is() {
    let mesh = Mesh::builder().tiers(1).manual_clock().start().await;
    let image = Image::single(3).build();
    mesh.origin.put("team/other", "1", &image);
    let client = mesh.client("dev");
    let mut asked = Vec::new();
    for _ in 0..3 {
        let reply = client.get_manifest("up/team/app", "1").await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "MANIFEST_UNKNOWN")
        );
        asked.push(mesh.origin.record().len());
    }
    assert!(
        asked[0] <= 2 && asked.iter().all(|count| *count == asked[0]),
        "{:#?}",
        mesh.origin.record()
    );
    mesh.origin.put("team/app", "1", &image);
    assert_eq!(
        client
            .get_manifest("up/team/app", "1")
            .await
            .unwrap()
            .status,
        404
    );
    mesh.advance(Duration::from_secs(11));
    client.pull("up/team/app", "1", "amd64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_remembered_as_a_404_nor_a_404_as_a_refusal() {
    for status in [401, 403, 429, 500] {
        let mesh = Mesh::builder().tiers(1).start().await;
        mesh.origin.play(Script::new(
            When::any().repository("team/new"),
            [Fault::Status(status)],
        ));
        let client = mesh.client("dev");
        let refused = client.get_manifest("up/team/new", "1").await.unwrap();
        assert!(matches!(refused.status, 403 | 503), "{status}: {refused:?}");
        mesh.origin.heal();
        let what = format!("the truth is told after {status}");
        eventually_async(BOUND, &what, async || {
            match client.get_manifest("up/team/new", "1").await {
                Ok(reply) if reply.status == 404 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_tag_is_never_hidden_by_an_old_404() {
    let (mesh, image) = stocked("whenGone: keep").await;
    let tag = format!("sha256-{}.sig", image.digest.hex());
    let client = mesh.client("dev");
    assert_eq!(
        client
            .get_manifest("up/team/app", &tag)
            .await
            .unwrap()
            .status,
        404
    );
    let signature = Image::signature_of(image.top(), 1);
    mesh.origin.put("team/app", &tag, &signature);
    assert_eq!(
        client.manifest("up/team/app", &tag).await.unwrap().0,
        signature.digest
    );
}
