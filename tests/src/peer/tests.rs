//! The peers as the rig drives them, each against Debian's registry: what passes here is not what later tests are about.

use super::*;
use crate::{Client, Image};

/// A registry that holds a two-platform image, and the image's reference there.
async fn stocked() -> (DockerRegistry, Image, String) {
    let registry = DockerRegistry::start().await.unwrap();
    let image = Image::multi(1).build();
    let reference = format!("{}/team/app:1", registry.host());
    Skopeo::new()
        .unwrap()
        .push(&image, &reference)
        .await
        .unwrap();
    (registry, image, reference)
}

#[tokio::test]
async fn skopeo_pushes_what_our_client_pulls() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let (registry, image, reference) = stocked().await;
    let pulled = Client::new(registry.url())
        .pull("team/app", "1", "arm64")
        .await
        .unwrap();
    assert_eq!(pulled.digest, image.digest);
    let layer = &pulled.blobs[1];
    assert_eq!(
        registry.asked(&format!("GET /v2/team/app/blobs/{layer}")),
        1
    );
    Skopeo::new().unwrap().pull(&reference).await.unwrap();
}

#[tokio::test]
async fn our_client_pushes_what_skopeo_pulls() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = DockerRegistry::start().await.unwrap();
    let image = Image::multi(2).build();
    Client::new(registry.url())
        .push("a/b", &["1", "2"], &image)
        .await
        .unwrap();
    let reference = format!("{}/a/b@{}", registry.host(), image.digest);
    Skopeo::new().unwrap().pull(&reference).await.unwrap();
}

#[tokio::test]
async fn podman_pulls() {
    if !available(&["docker-registry", "skopeo", "podman"]) {
        return;
    }
    let (_registry, _, reference) = stocked().await;
    let podman = Containers::podman().unwrap();
    podman.pull(&reference).await.unwrap();
    podman.remove(&reference).await.unwrap();
}

#[tokio::test]
async fn containerd_pulls() {
    if !available(&["docker-registry", "skopeo", "containerd", "ctr"]) {
        return;
    }
    let (registry, _, reference) = stocked().await;
    let containerd = Containerd::start().await.unwrap();
    containerd.pull(&reference).await.unwrap();
    containerd.remove(&reference).await.unwrap();
    let hosts = format!(
        "[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        registry.url()
    );
    let elsewhere = "registry.example/team/app:1";
    containerd
        .pull_by_hosts("registry.example", &hosts, elsewhere)
        .await
        .unwrap();
}

#[tokio::test]
async fn docker_pulls() {
    if !available(&["docker-registry", "skopeo", "dockerd", "docker"]) {
        return;
    }
    let (_registry, _, reference) = stocked().await;
    let docker = Docker::start(&[]).await.unwrap();
    docker.pull(&reference).await.unwrap();
    docker.remove(&reference).await.unwrap();
}
