//! What comes into force, what is refused, and what the node then has (T34, T35, T37).

use wire::api::status::RuleState;

use super::*;

#[tokio::test]
async fn a_node_is_closed_until_its_first_slice_and_open_after_it() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    control.stop().await;
    let agent = machine.start(Some(control.token())).await.unwrap();
    let (registry, pages) = (agent.address().unwrap(), agent.admin().unwrap());
    let (status, answer) = get(registry, "/v2/library/nginx/manifests/latest?ns=docker.io").await;
    assert_eq!(status, 503, "T34: never an open proxy");
    let answer = answer.to_lowercase();
    assert!(
        answer.contains("unavailable") && answer.contains("retry-after: 5"),
        "{answer}"
    );
    assert_eq!(get(pages, "/livez").await.0, 200);
    assert_eq!(get(pages, "/readyz").await.0, 503);
    assert!(
        get(pages, "/metrics")
            .await
            .1
            .contains("regmesh_control_connected 0")
    );
    let status = get(pages, "/status").await.1;
    assert!(
        status.contains(r#""node":"prod""#) && status.contains(r#""generation":0"#),
        "{status}"
    );

    control.again().await;
    let mut stream = control.stream().await;
    assert_eq!(
        (stream.hello.generation, stream.hello.document_digest.len()),
        (0, 0)
    );
    stream.welcome(&machine.clock).await;
    stream.slice(7, &control.sign(3, &document(&["a"]))).await;
    assert_eq!(stream.outcome(7).await, Ok(3));
    assert_eq!(
        (agent.address(), agent.admin()),
        (Some(registry), Some(pages)),
        "the ports stay"
    );
    assert_eq!(get(pages, "/readyz").await.0, 200);
    assert_eq!(get(registry, "/v2/").await.0, 401);
    let metrics = get(pages, "/metrics").await.1;
    assert!(
        metrics.contains("regmesh_control_connected 1")
            && metrics.contains("regmesh_config_generation 3")
    );
    assert_eq!(
        slice_on_disk(&machine, "slice.json"),
        Some(3),
        "durable before the ACK"
    );
    for name in ["enrolment.json", "key.pem", "slice.json"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(machine.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    agent.drain(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn what_is_not_the_control_planes_slice_for_this_node_is_refused_and_the_last_good_one_stays()
{
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    stream.slice(2, &control.sign(5, &document(&["a"]))).await;
    assert_eq!(stream.outcome(2).await, Ok(5));

    let good = document(&["b"]);
    let signed = |generation| control.sign(generation, &good);
    let mut altered = signed(6);
    altered.document = Some(document(&["c"]));
    let mut forged = signed(6);
    forged.generation = Generation(7);
    let other_ca =
        identity::certificate::Authority::generate(control::now(&machine.clock)).unwrap();
    let foreign = control::signer(&other_ca, "spiffe://acme/control", &machine.clock);
    let peer = control::signer(&control.authority, "spiffe://acme/node/dev", &machine.clock);
    let own = control::signer(&control.authority, "spiffe://acme/control", &machine.clock);
    let mut missing = signed(6);
    missing.document = None;
    let other_mesh = document(&["a"]).replace("mesh: acme", "mesh: evil");
    let unsupported =
        document(&[]).replace("endpoint:", "storage: {blobs: 's3://x'}\n    endpoint:");
    let cases = [
        ("altered", altered, "slice-not-believed"),
        ("forged", forged, "slice-not-believed"),
        (
            "another CA",
            control.sign_as(&foreign, "prod", 6, &good),
            "slice-not-believed",
        ),
        (
            "signed by a node",
            control.sign_as(&peer, "prod", 6, &good),
            "slice-not-believed",
        ),
        (
            "for another node",
            control.sign_as(&own, "dev", 6, &good),
            "slice-not-believed",
        ),
        ("without its document", missing, "slice-not-believed"),
        ("older", signed(4), "older-generation"),
        (
            "no topology",
            control.sign(6, "version: 1\nnodes: [\n"),
            "wrong-type",
        ),
        ("empty", control.sign(6, ""), "wrong-type"),
        ("another mesh", control.sign(6, &other_mesh), "other-mesh"),
        (
            "not for this release",
            control.sign(6, &unsupported),
            "unsupported",
        ),
    ];
    for (nonce, (name, envelope, code)) in (10..).zip(cases) {
        stream.slice(nonce, &envelope).await;
        let codes = stream.outcome(nonce).await.expect_err(name);
        assert!(code == "wrong-type" || codes == [code], "{name}: {codes:?}");
        assert!(!codes.is_empty());
    }
    stream.raw_slice(99, b"garbage".to_vec()).await;
    assert_eq!(
        stream.outcome(99).await,
        Err(vec!["not-a-slice".to_owned()])
    );

    let status = agent.running().unwrap().status();
    assert_eq!((status.generation, status.rules.len()), (Generation(5), 1));
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(5));

    // The same document under a later generation travels without it.
    let mut moved = control.sign(8, &document(&["a"]));
    moved.document = None;
    stream.slice(100, &moved).await;
    assert_eq!(stream.outcome(100).await, Ok(8));
    assert_eq!(agent.generation(), Generation(8));
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(8));
    assert_eq!(slice_on_disk(&machine, "slice.previous.json"), Some(5));
}

#[tokio::test]
async fn a_rule_over_pushed_content_refuses_the_whole_generation_and_only_that() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    let running = agent.running().unwrap();
    push(&running, "taken").await;

    stream
        .slice(2, &control.sign(2, &document(&["free", "taken"])))
        .await;
    assert_eq!(
        stream.outcome(2).await,
        Err(vec!["repository-conflict".to_owned()])
    );
    assert!(
        running.status().rules.is_empty(),
        "nothing of it is in force"
    );
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(1));
    stream
        .slice(3, &control.sign(3, &document(&["free"])))
        .await;
    assert_eq!(stream.outcome(3).await, Ok(3), "the next one may be better");

    // What is in conflict already, because the node began with it, does not stop what comes later.
    drop((running, stream));
    let envelope = control.sign(4, &document(&["taken"]));
    std::fs::write(
        machine.file("slice.json"),
        serde_json::to_vec(&envelope).unwrap(),
    )
    .unwrap();
    let agent = machine.again(agent, None).await.unwrap();
    let states = |agent: &Agent| -> Vec<RuleState> {
        let status = agent.running().unwrap().status();
        status.rules.iter().map(|rule| rule.status).collect()
    };
    assert_eq!(states(&agent), [RuleState::Conflict]);
    let mut stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    stream
        .slice(5, &control.sign(5, &document(&["free", "taken"])))
        .await;
    assert_eq!(stream.outcome(5).await, Ok(5));
    let mut after = states(&agent);
    after.sort();
    assert_eq!(after, [RuleState::Active, RuleState::Conflict]);
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_the_rest_is_applied() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    let bigger = document(&["a"]).replace("endpoint:", "storage: {maxSize: 9GiB}\n    endpoint:");
    stream.slice(2, &control.sign(2, &bigger)).await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    let status = agent.running().unwrap().status();
    assert_eq!(status.rules.len(), 1);
    assert!(
        status.warnings[0].contains("'storage'"),
        "{:?}",
        status.warnings
    );
}
