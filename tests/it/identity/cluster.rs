//! An issuer inside a cluster, which shows what it is to known callers alone: `discoveryToken` from its file to the wire, and nowhere else.
//!
//! The issuer refuses every request without its bearer, so whoever is let in here was verified by keys that the token fetched.

use tests::canary::assert_absent;
use tests::issuer::{Issuer, kubernetes};
use tests::thief::Thief;
use tests::{Fleet, client::Reply};

use super::basic;
use super::callers::{ask, closed, declare, let_in};

const AUDIENCE: &str = "mesh.cluster.example";
const FIRST: &str = "canary-discovery-first";
const SECOND: &str = "canary-discovery-second";

/// Declares the cluster, with `more` besides its URL; its pods of `apps` read at dev and look at the mesh.
async fn declared(fleet: &mut Fleet, issuer: &Issuer, more: &str) {
    let spec = format!("{{url: \"{}\", audience: {AUDIENCE}{more}}}", issuer.url());
    let claims = "{/kubernetes.io/namespace: apps}";
    declare(fleet, "cluster", &spec, "repository-reader", claims, "dev");
    fleet.topology.allow(&format!(
        "{{allow: mesh-reader, to: {{issuer: cluster, claims: {claims}}}}}"
    ));
    fleet.apply().await.well();
}

async fn pod(fleet: &Fleet, issuer: &Issuer) -> Reply {
    let token = issuer.token(&kubernetes("apps", "puller", AUDIENCE));
    ask(fleet, &basic("oidc", &token)).await
}

/// The status of the API for a pod.
async fn pod_at_the_api(fleet: &Fleet, issuer: &Issuer) -> u16 {
    let token = issuer.token(&kubernetes("apps", "looker", AUDIENCE));
    let asked = fleet.http(None).get(fleet.api() + "/api/v1/nodes");
    let answer = asked.bearer_auth(token).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_asked_with_the_token_of_the_file_as_it_is_now() {
    let mut fleet = closed().await;
    let issuer = Issuer::kubernetes(FIRST).await;
    let file = fleet.write("discovery.token", &format!("{FIRST}\n"));
    declared(
        &mut fleet,
        &issuer,
        &format!(", discoveryToken: {{file: \"{file}\"}}"),
    )
    .await;
    let reply = pod(&fleet, &issuer).await;
    assert!(let_in(&reply), "{reply:?}");
    assert_eq!(pod_at_the_api(&fleet, &issuer).await, 200);
    assert!(issuer.discoveries() >= 2 && issuer.key_fetches() >= 2);
    // The kubelet writes a new token, the cluster forgets the old one and signs by other keys; a new process asks at once.
    issuer.wants(SECOND);
    issuer.rotate();
    fleet.write("discovery.token", &format!("{SECOND}\n"));
    fleet.restart("dev").await;
    let reply = pod(&fleet, &issuer).await;
    assert!(let_in(&reply), "{reply:?}");
    let shown = issuer.record().text();
    assert!(shown.contains(FIRST) && shown.contains(SECOND));
    let said = fleet.said("dev").join("\n");
    assert_absent("what dev says", said, &[FIRST, SECOND]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_token_a_cluster_cannot_be_asked_and_that_is_not_the_pods_fault() {
    let mut fleet = closed().await;
    let issuer = Issuer::kubernetes(FIRST).await;
    declared(&mut fleet, &issuer, "").await;
    let reply = pod(&fleet, &issuer).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(pod_at_the_api(&fleet, &issuer).await, 503);
    assert!(issuer.discoveries() > 0 && issuer.key_fetches() == 0);
}

/// T49: a discovery document names a place of its choice, and is followed there without the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_a_cluster_goes_nowhere_that_only_a_document_names() {
    let mut fleet = closed().await;
    let (issuer, thief) = (Issuer::kubernetes(FIRST).await, Thief::start().await);
    issuer.names_keys_at(&(thief.url() + "/keys"));
    let file = fleet.write("discovery.token", FIRST);
    let more = format!(", discoveryToken: {{file: \"{file}\"}}");
    declared(&mut fleet, &issuer, &more).await;
    let reply = pod(&fleet, &issuer).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(pod_at_the_api(&fleet, &issuer).await, 503);
    assert!(issuer.record().text().contains(FIRST));
    assert!(!thief.record().is_empty(), "nobody looked for keys there");
    assert_absent("what the thief got", thief.record().text(), &[FIRST]);
}
