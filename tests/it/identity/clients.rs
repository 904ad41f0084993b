//! Real clients sign in with an issuer's token and pull: docker, podman, skopeo, containerd.

use tests::fleet::Builder;
use tests::issuer::{Issuer, kubernetes};
use tests::peer::{Containerd, Containers, Docker, Skopeo, available, is_root};
use tests::{Fleet, Image};

use crate::PROGRAM;

/// A plain node, since these clients take loopback as insecure by themselves, whose only readers are a cluster's pods.
async fn plain() -> (Fleet, Issuer, String, Image) {
    let mut fleet = Builder::here(PROGRAM, crate::control_away::brisk())
        .tiers(1)
        .start()
        .await;
    let issuer = Issuer::github().await;
    for role in ["repository-reader", "repository-writer"] {
        fleet
            .topology
            .deny(&format!("{{allow: {role}, to: anonymous, on: [dev]}}"));
    }
    fleet.topology.set(
        "issuers",
        "cluster",
        &format!("{{url: \"{}\"}}", issuer.url()),
    );
    fleet.topology.allow("{allow: repository-reader, to: {issuer: cluster, claims: {/kubernetes.io/namespace: apps}}, on: dev}");
    fleet.apply().await.well();
    let (repository, image) = fleet.image("clients", 8_600);
    let token = issuer.token(&kubernetes("apps", "puller", &fleet.host("dev")));
    let refused = fleet
        .client("dev")
        .get_manifest(&repository, "1")
        .await
        .unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
    (fleet, issuer, token, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_and_skopeo_log_in_with_a_token_and_pull() {
    if !available(&["podman", "skopeo"]) {
        return;
    }
    let (fleet, _issuer, token, _) = plain().await;
    let (host, user) = (fleet.host("dev"), "00000000-0000-0000-0000-000000000000");
    let reference = format!("{host}/up/team/clients:1");
    let podman = Containers::podman().unwrap();
    assert!(podman.pull(&reference).await.is_err());
    podman
        .run(&[
            "login",
            "--tls-verify=false",
            "-u",
            user,
            "-p",
            &token,
            &host,
        ])
        .await
        .unwrap();
    podman.pull(&reference).await.unwrap();
    let skopeo = Skopeo::new().unwrap();
    assert!(skopeo.pull(&reference).await.is_err());
    skopeo
        .with_account("oidc", &token)
        .pull(&reference)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_logs_in_with_a_token_and_pulls() {
    if !available(&["docker", "dockerd"]) || !is_root() {
        return;
    }
    let (fleet, _issuer, token, _) = plain().await;
    let (host, docker) = (fleet.host("dev"), Docker::start(&[]).await.unwrap());
    let reference = format!("{host}/up/team/clients:1");
    assert!(docker.pull(&reference).await.is_err());
    docker
        .run(&["login", "-u", "oidc", "-p", &token, &host])
        .await
        .unwrap();
    docker.pull(&reference).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_pulls_with_a_token() {
    if !available(&["containerd", "ctr"]) || !is_root() {
        return;
    }
    let (fleet, _issuer, token, _) = plain().await;
    let (host, containerd) = (fleet.host("dev"), Containerd::start().await.unwrap());
    let reference = format!("{host}/up/team/clients:1");
    assert!(containerd.pull(&reference).await.is_err());
    containerd
        .pull_as(&format!("oidc:{token}"), &reference)
        .await
        .unwrap();
}
