//! Lists are merged, ordered and bounded; what an upstream sends without end has an end here (T56, T61).

use std::time::Duration;

use tests::{Client, Content, Fault, Image, Mesh, Script, When};

fn tagged(mesh: &Mesh, tags: &[&str]) -> Image {
    let image = Image::single(1).build();
    for tag in tags {
        mesh.origin.put("team/app", tag, &image);
    }
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_s_tags_are_the_upstream_s_and_those_kept() {
    let mesh = Mesh::start().await;
    tagged(&mesh, &["1", "2", "10", "latest"]);
    let client = mesh.anonymous("spoke");
    client.pull("up/team/app", "2", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.shelf().untag("team/app", "2");
    assert_eq!(
        client.tags("up/team/app").await.unwrap(),
        ["1", "10", "2", "latest"]
    );
    mesh.origin.stop().await;
    let away = client.get("/v2/up/team/app/tags/list").await.unwrap();
    assert_eq!(away.status, 200, "{away:?}");
    assert!(
        away.header("warning")
            .is_some_and(|w| w.starts_with("299 ")),
        "{away:?}"
    );
    assert!(
        String::from_utf8_lossy(&away.body).contains("\"2\""),
        "{away:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_followed_and_lead_to_us() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let tags: Vec<String> = (0..25).map(|n| format!("t{n:02}")).collect();
    let shown: Vec<&str> = tags.iter().map(String::as_str).collect();
    tagged(&mesh, &shown);
    let client = mesh.client("dev");
    let mut seen = Vec::new();
    let mut path = "/v2/up/team/app/tags/list?n=10".to_owned();
    for _ in 0..10 {
        let page = client.get(&path).await.unwrap();
        let listed = page.json().unwrap()["tags"].as_array().unwrap().clone();
        assert!(listed.len() <= 10);
        seen.extend(listed.iter().filter_map(|t| t.as_str().map(str::to_owned)));
        let Some(next) = page.next_page() else { break };
        assert!(
            next.starts_with("/v2/up/team/app/tags/list?")
                || next.contains(&mesh.node("dev").path.host()),
            "{next}"
        );
        path = next;
    }
    assert_eq!(seen, tags);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_in_n_and_last_is_clamped_or_refused_and_never_an_error_of_ours() {
    let mesh = Mesh::builder().tiers(1).start().await;
    tagged(&mesh, &["1", "2"]);
    let client = mesh.client("dev");
    client
        .push("own/app", &["1", "2"], &Image::single(2).build())
        .await
        .unwrap();
    for repository in ["up/team/app", "own/app"] {
        for query in [
            "n=-1",
            "n=0",
            "n=1000000000",
            "n=9223372036854775808",
            "n=text",
            "n=",
            "last=%00",
            "last=zzz",
            "last=/../..",
            "n=1&n=2",
        ] {
            let reply = client
                .get(&format!("/v2/{repository}/tags/list?{query}"))
                .await
                .unwrap();
            assert!(
                matches!(reply.status, 200 | 400),
                "{repository} {query}: {reply:?}"
            );
        }
        let none = client
            .get(&format!("/v2/{repository}/tags/list?n=0"))
            .await
            .unwrap();
        assert_eq!(
            (none.status, &none.json().unwrap()["tags"]),
            (200, &serde_json::json!([])),
            "{none:?}"
        );
        assert_eq!(none.header("link"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_pages_and_bodies_end() {
    let mesh = Mesh::builder()
        .tiers(1)
        .set(|s| s.progress = Duration::from_secs(5))
        .start()
        .await;
    tagged(&mesh, &["1"]);
    let client = mesh.client("dev");
    let cycle = "</v2/team/app/tags/list?n=1&last=0>; rel=\"next\"".to_owned();
    mesh.origin.play(Script::new(
        When::get().path_ends("/tags/list"),
        [Fault::Header("link", cycle)],
    ));
    let list = tests::eventually::soon("the list ends", client.get("/v2/up/team/app/tags/list"))
        .await
        .unwrap();
    assert!(matches!(list.status, 200 | 502 | 503), "{list:?}");
    assert!(
        mesh.origin.record().len() < 1100,
        "{} requests",
        mesh.origin.record().len()
    );
    mesh.origin.heal();
    mesh.origin.play(Script::new(
        When::get().path_ends("/tags/list"),
        [Fault::Endless],
    ));
    let list =
        tests::eventually::soon("the list ends", client.get("/v2/up/team/app/tags/list?n=7"))
            .await
            .unwrap();
    assert!(matches!(list.status, 200 | 502 | 503), "{list:?}");
    mesh.origin.heal();
    mesh.origin
        .play(Script::new(When::get().manifests(), [Fault::Endless]));
    let manifest =
        tests::eventually::soon("the manifest ends", client.get_manifest("up/team/app", "1"))
            .await
            .unwrap();
    assert!(matches!(manifest.status, 502 | 503), "{manifest:?}");
    mesh.origin.heal();
    let huge = Content::pattern(1, (4 << 20) + 1);
    mesh.origin
        .play(Script::new(When::get().manifests(), [Fault::Body(huge)]));
    let manifest = client.get_manifest("up/team/app", "1").await.unwrap();
    assert!(matches!(manifest.status, 502 | 503), "{manifest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn referrers_reach_the_last_tier_and_an_empty_list_is_a_statement() {
    let mesh = Mesh::start().await;
    let image = tagged(&mesh, &["1"]);
    let client = mesh.anonymous("spoke");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let (none, _) = client
        .referrers("up/team/app", &image.digest)
        .await
        .unwrap();
    assert!(none.is_empty());
    let signature = Image::signature_of(image.top(), 1);
    mesh.origin.shelf().put("team/app", &signature);
    let (listed, reply) = client
        .referrers("up/team/app", &image.digest)
        .await
        .unwrap();
    assert_eq!(listed[0]["digest"], signature.digest.as_str());
    assert_eq!(
        listed[0]["artifactType"],
        "application/vnd.dev.cosign.artifact.sig.v1+json"
    );
    assert_eq!(
        reply.header("content-type"),
        Some(wire::media_type::OCI_INDEX)
    );
    client
        .pull("up/team/app", &signature.digest, "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    mesh.origin.stop().await;
    let away = client
        .get(&format!("/v2/up/team/app/referrers/{}", image.digest))
        .await
        .unwrap();
    let empty = String::from_utf8_lossy(&away.body).contains("\"manifests\":[]");
    assert!(
        away.status == 503 || away.header("warning").is_some(),
        "{away:?}"
    );
    assert!(
        away.status == 503 || !empty,
        "an empty list reads as unsigned: {away:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_without_the_referrers_api_is_read_by_its_tag() {
    let mesh = Mesh::start().await;
    let image = tagged(&mesh, &["1"]);
    mesh.origin.shelf().offer_referrers(false);
    let signature = Image::signature_of(image.top(), 1);
    mesh.origin.shelf().put("team/app", &signature);
    let list = Image::list_of(&[signature.top()]);
    mesh.origin
        .put("team/app", &format!("sha256-{}", image.digest.hex()), &list);
    let (listed, _) = mesh
        .anonymous("spoke")
        .referrers("up/team/app", &image.digest)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["digest"], signature.digest.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ns_chooses_among_rules_and_forms_no_address() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = tagged(&mesh, &["1"]);
    let client: Client = mesh.client("dev");
    let by_ns = client
        .get(&format!(
            "/v2/team/app/manifests/1?ns={}",
            mesh.origin.host()
        ))
        .await
        .unwrap();
    assert_eq!(by_ns.verified().unwrap(), image.digest);
    assert_eq!(
        by_ns.header("oci-namespace"),
        Some(mesh.origin.host().as_str())
    );
    let thief = tests::Thief::start().await;
    let elsewhere = client
        .get(&format!("/v2/team/app/manifests/1?ns={}", thief.address()))
        .await
        .unwrap();
    assert_eq!(
        (elsewhere.status, elsewhere.code().as_str()),
        (404, "NAME_UNKNOWN"),
        "{elsewhere:?}"
    );
    thief.assert_silent();
    assert_eq!(mesh.origin.record().count(|r| r.query.contains("ns=")), 0);
}
