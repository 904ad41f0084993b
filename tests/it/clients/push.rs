//! Signing in, pushing and pulling back by real clients; a wrong password opens nothing.

use tests::peer::{Containers, Docker, Skopeo, available, is_root};
use tests::{Client, Image, canary};

use super::Tiers;

/// A mesh with a small image at the origin, and the `ci` account's password.
async fn stocked(seed: u64) -> (Tiers, String) {
    let tiers = Tiers::start().await;
    let image = Image::multi(seed).build();
    tiers.push_at_origin(&image, "team/app:1").await;
    (tiers, canary::secret("ci"))
}

/// What was pushed is whole, told of, and nobody without the account may read it.
async fn assert_pushed(tiers: &Tiers, repository: &str) {
    let ci = Client::new(tiers.leaf_url()).with_account("ci", &canary::secret("ci"));
    let pulled = ci.pull(repository, "1", "amd64").await.unwrap();
    let events = tiers.client_pushes(1).await;
    assert!(
        events
            .iter()
            .any(|event| event["target"]["digest"] == pulled.digest.as_str()
                && event["target"]["tag"] == "1"
                && event["target"]["repository"] == repository),
        "{events:#?}"
    );
    let anybody = Client::new(tiers.leaf_url());
    let reply = anybody.get_manifest(repository, "1").await.unwrap();
    assert_eq!(reply.status, 401, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_signs_in_pushes_and_pulls_back() {
    if !available(&["docker-registry", "skopeo", "dockerd", "docker"]) || !is_root() {
        return;
    }
    let (tiers, password) = stocked(21).await;
    let docker = Docker::start(&[]).await.unwrap();
    let (leaf, own) = (
        tiers.leaf_host(),
        format!("{}/own/docker:1", tiers.leaf_host()),
    );
    let wrong = docker
        .run(&["login", "-u", "ci", "-p", "wrong", leaf])
        .await;
    assert!(wrong.is_err(), "{wrong:?}");
    docker.pull(&tiers.at_leaf("team/app:1")).await.unwrap();
    docker
        .run(&["tag", &tiers.at_leaf("team/app:1"), &own])
        .await
        .unwrap();
    let refused = docker.run(&["push", &own]).await.unwrap_err().to_string();
    assert!(
        refused.contains("sign in") && !refused.contains("Retrying"),
        "{refused}"
    );
    docker
        .run(&["login", "-u", "ci", "-p", &password, leaf])
        .await
        .unwrap();
    docker.run(&["push", &own]).await.unwrap();
    assert_pushed(&tiers, "own/docker").await;
    docker.remove(&tiers.at_leaf("team/app:1")).await.unwrap();
    docker.remove(&own).await.unwrap();
    docker.pull(&own).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_signs_in_pushes_and_pulls_back() {
    if !available(&["docker-registry", "skopeo", "podman"]) {
        return;
    }
    let (tiers, password) = stocked(22).await;
    let podman = Containers::podman().unwrap();
    let (leaf, own) = (
        tiers.leaf_host(),
        format!("{}/own/podman:1", tiers.leaf_host()),
    );
    let login = ["login", "--tls-verify=false", "-u", "ci", "-p"];
    let wrong = podman.run(&[&login[..], &["wrong", leaf]].concat()).await;
    assert!(wrong.is_err(), "{wrong:?}");
    podman.pull(&tiers.at_leaf("team/app:1")).await.unwrap();
    let push = ["push", "--tls-verify=false"];
    let from = tiers.at_leaf("team/app:1");
    let refused = podman.run(&[&push[..], &[&from, &own]].concat()).await;
    assert!(
        refused.is_err(),
        "nobody signed in, and pushed: {refused:?}"
    );
    podman
        .run(&[&login[..], &[&password, leaf]].concat())
        .await
        .unwrap();
    podman
        .run(&[&push[..], &[&from, &own]].concat())
        .await
        .unwrap();
    assert_pushed(&tiers, "own/podman").await;
    podman.remove(&from).await.unwrap();
    podman.pull(&own).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buildah_signs_in_pushes_and_pulls_back() {
    if !available(&["docker-registry", "skopeo", "buildah"]) {
        return;
    }
    let (tiers, password) = stocked(23).await;
    let buildah = Containers::buildah().unwrap();
    let (leaf, own) = (
        tiers.leaf_host(),
        format!("{}/own/buildah:1", tiers.leaf_host()),
    );
    let login = ["login", "--tls-verify=false", "-u", "ci", "-p"];
    let wrong = buildah.run(&[&login[..], &["wrong", leaf]].concat()).await;
    assert!(wrong.is_err(), "{wrong:?}");
    let from = tiers.at_leaf("team/app:1");
    buildah.pull(&from).await.unwrap();
    buildah
        .run(&[&login[..], &[&password, leaf]].concat())
        .await
        .unwrap();
    let push = ["push", "--tls-verify=false", &from, &own];
    buildah.run(&push).await.unwrap();
    assert_pushed(&tiers, "own/buildah").await;
    buildah.remove(&from).await.unwrap();
    buildah.pull(&own).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_signs_in_copies_all_platforms_between_repositories_and_pulls_back() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let (tiers, password) = stocked(24).await;
    let skopeo = Skopeo::new().unwrap();
    let (leaf, own) = (
        tiers.leaf_host(),
        format!("docker://{}/own/skopeo:1", tiers.leaf_host()),
    );
    let login = ["login", "--tls-verify=false", "-u", "ci", "-p"];
    let wrong = skopeo.run(&[&login[..], &["wrong", leaf]].concat()).await;
    assert!(wrong.is_err(), "{wrong:?}");
    let from = format!("docker://{}", tiers.at_leaf("team/app:1"));
    let copy = [
        "--insecure-policy",
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    let refused = skopeo.run(&[&copy[..], &[&from, &own]].concat()).await;
    assert!(
        refused.is_err(),
        "nobody signed in, and pushed: {refused:?}"
    );
    skopeo
        .run(&[&login[..], &[&password, leaf]].concat())
        .await
        .unwrap();
    skopeo
        .run(&[&copy[..], &[&from, &own]].concat())
        .await
        .unwrap();
    assert_pushed(&tiers, "own/skopeo").await;
    let ci = Client::new(tiers.leaf_url()).with_account("ci", &password);
    ci.pull("own/skopeo", "1", "arm64").await.unwrap();
}
