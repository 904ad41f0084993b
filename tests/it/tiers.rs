//! What adds up along the chain and what must not: hops, age, attempts (T26, T43, T44).

use std::time::Duration;

use tests::{Fault, Image, Mesh, Script, When};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_finds_itself_in_the_chain_answers_508() {
    // By another name for its own address: no document can be seen to lead in a circle this way.
    let circle = "version: 1\nmesh: rig\nrules:\n  circle: {on: dev, source: \"localhost:{dev.port}/circle/*\", target: \"circle/*\"}\naccess:\n  - {allow: repository-reader, to: anonymous, on: dev, repositories: [\"circle/*\"]}\n";
    let mesh = Mesh::builder().tiers(1).with(circle).start().await;
    let digest = wire::digest::Digest::sha256(b"nowhere");
    for path in [
        "manifests/1".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{digest}"),
    ] {
        let reply = mesh
            .anonymous("dev")
            .get(&format!("/v2/circle/app/{path}"))
            .await
            .unwrap();
        assert_eq!(reply.status, 508, "{path}: {reply:?}");
    }
    // A request of each kind at most twice around, by HEAD and by GET.
    let connections = mesh.node("dev").path.connections();
    assert!(connections <= 8, "{connections} connections to itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_hop_adds_its_name_for_the_origin_to_see() {
    let mesh = Mesh::start().await;
    let image = Image::single(1).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.anonymous("spoke")
        .manifest("up/team/app", "1")
        .await
        .unwrap();
    let all = mesh.origin.record().all();
    let chain = all[0]
        .headers
        .iter()
        .filter(|(name, _)| name == "via" || name == "cdn-loop");
    let chain: String = chain.map(|(_, value)| format!("{value} ")).collect();
    for node in ["dev", "prod", "spoke"] {
        assert!(chain.contains(node), "{chain}");
    }
}

/// Pitfall 16 of `reference/protocols.md`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_chain_fails_nobody_but_who_forged_it() {
    let mesh = Mesh::start().await;
    let image = Image::single(6).build();
    mesh.origin.put("team/app", "1", &image);
    let forged = |nodes: &str| mesh.anonymous("spoke").with_header("cdn-loop", nodes);
    let itself = forged("regmesh-spoke; mesh=rig");
    let honest = mesh.anonymous("spoke");
    for path in [
        "manifests/1".to_owned(),
        format!("blobs/{}", image.largest().0),
    ] {
        let path = format!("/v2/up/team/app/{path}");
        let (refused, served) = tokio::join!(itself.get(&path), honest.get(&path));
        assert_eq!(refused.unwrap().status, 508, "{path}");
        assert_eq!(served.unwrap().status, 200, "{path}");
    }
    // Were it passed on, the parent would find itself in it.
    mesh.origin.put("team/other", "1", &image);
    let another = forged("regmesh-prod; mesh=rig, regmesh-forged; mesh=rig");
    another.manifest("up/team/other", "1").await.unwrap();
    let all = mesh.origin.record().all();
    let mut chains = all.iter().filter_map(|r| r.header("cdn-loop"));
    assert!(chains.all(|chain| !chain.contains("forged")), "{all:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_through_all_tiers() {
    let mesh = Mesh::start().await;
    let image = Image::single(2).build();
    mesh.origin.put("team/app", "1", &image);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let client = mesh
        .anonymous("spoke")
        .with_header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    client.manifest("up/team/app", "1").await.unwrap();
    let all = mesh.origin.record().all();
    let pulled: Vec<_> = all
        .iter()
        .filter(|r| r.path.contains("/manifests/1"))
        .collect();
    assert!(!pulled.is_empty());
    assert!(
        pulled
            .iter()
            .all(|r| r.header("traceparent").is_some_and(|t| t.contains(trace))),
        "{all:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn age_adds_up_along_the_chain() {
    let mesh = Mesh::builder()
        .rules("freshness: {check: 100s}")
        .manual_clock()
        .start()
        .await;
    let image = Image::single(3).build();
    mesh.origin.put("team/app", "1", &image);
    let age = async |node: &str| -> u64 {
        let (_, reply) = mesh
            .client(node)
            .manifest("up/team/app", "1")
            .await
            .unwrap();
        reply.header("age").expect("Age").parse().expect("seconds")
    };
    assert_eq!(age("dev").await, 0);
    mesh.advance(Duration::from_secs(40));
    assert_eq!(age("prod").await, 40);
    mesh.advance(Duration::from_secs(40));
    assert_eq!(age("spoke").await, 80);
    mesh.advance(Duration::from_secs(10));
    assert_eq!(age("spoke").await, 90);
    // The spoke's record is 30 s old where it stands, and the origin's answer 120 s: what counts is the origin.
    mesh.advance(Duration::from_secs(20));
    let shown = age("spoke").await;
    assert!(shown <= 100, "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_is_never_more_than_three_at_a_failing_origin() {
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::NoAnswer(tests::Cut::Reset),
        Fault::TooMany(Some("1".to_owned())),
    ] {
        let what = format!("{fault:?}");
        let mesh = Mesh::start().await;
        let failing = mesh.origin.play(Script::new(When::any(), [fault]));
        let reply = mesh
            .anonymous("spoke")
            .get_manifest("up/team/app", "1")
            .await
            .unwrap();
        assert_eq!(reply.status, 503, "{what}: {reply:?}");
        assert!(failing.met() <= 3, "{what}: {:#?}", mesh.origin.record());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_fails_is_not_asked_for_by_every_tier_anew() {
    let mesh = Mesh::start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    let layer = image.largest().0;
    let client = mesh.anonymous("spoke");
    // Without a manifest there is no copy that asks besides us.
    let failing = mesh.origin.fail(When::any().blob(layer), 500);
    let reply = client.get_blob("up/team/app", layer).await.unwrap();
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(failing.met() <= 3, "{:#?}", mesh.origin.record());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_is_503_in_time_and_heals_by_itself() {
    let mesh = Mesh::builder()
        .set(|s| s.first_byte = Duration::from_secs(1))
        .start()
        .await;
    let image = Image::single(5).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    mesh.node("dev").path.refuse().await;
    assert_eq!(
        client
            .get_manifest("up/team/app", "1")
            .await
            .unwrap()
            .status,
        503
    );
    mesh.node("dev").path.restore().await;
    tests::eventually::eventually_async(Duration::from_secs(10), "the pull succeeds", async || {
        client.pull("up/team/app", "1", "amd64").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_hangs_is_found_by_its_silence() {
    let mesh = Mesh::builder()
        .set(|s| s.first_byte = Duration::from_millis(700))
        .start()
        .await;
    let image = Image::single(6).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.anonymous("spoke");
    mesh.node("dev")
        .path
        .change(|weather| weather.hold_down = true);
    let reply = tests::eventually::soon("an answer", client.get_manifest("up/team/app", "1"))
        .await
        .unwrap();
    assert_eq!(reply.status, 503, "{reply:?}");
    mesh.node("dev").path.clear();
    tests::eventually::eventually_async(Duration::from_secs(10), "the pull succeeds", async || {
        client.pull("up/team/app", "1", "amd64").await
    })
    .await;
}
