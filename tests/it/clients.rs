//! Real clients through three tiers from one file, against Debian's registry: cold, warm, and with nobody but the leaf left.
//!
//! Each client has a repository of its own at the origin, so that its first pull is cold on every tier. What the origin's access log
//! shows is the oracle of economy.

use anyhow::Result;
use tests::eventually::BOUND;
use tests::peer::{Containerd, Containers, Docker, Skopeo, available, is_root};
use tests::{Client, Image};

mod push;
mod tiers;

use tiers::Tiers;

/// Pulls an image of two platforms in every way there is; `pull` gets a reference, `forget` the same one.
async fn pulls_in_every_way(
    seed: u64,
    name: impl Fn(&Tiers, &str) -> String,
    pull: impl AsyncFn(&Tiers, &str) -> Result<String>,
    forget: impl AsyncFn(&str) -> Result<String>,
) {
    let mut tiers = Tiers::start().await;
    let image = Image::multi(seed).layer_of(3 << 20).layer_of(5_000).build();
    tiers.push_at_origin(&image, "team/app:1").await;
    let tag = name(&tiers, "team/app:1");
    let digest = name(&tiers, &format!("team/app@{}", image.digest));
    for way in ["cold", "warm"] {
        pull(&tiers, &tag)
            .await
            .unwrap_or_else(|error| panic!("{way}: {error:#}"));
        forget(&tag).await.unwrap();
        tiers.assert_one_get_per_blob(&image, way);
    }
    tiers.only_the_leaf_remains().await;
    for reference in [&tag, &digest] {
        pull(&tiers, reference)
            .await
            .unwrap_or_else(|error| panic!("alone: {error:#}"));
        forget(reference).await.unwrap();
    }
    tiers.assert_stale(&image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_pulls_through_three_tiers_and_when_only_the_leaf_is_left() {
    if !available(&["docker-registry", "skopeo", "dockerd", "docker"]) || !is_root() {
        return;
    }
    let docker = Docker::start(&[]).await.unwrap();
    pulls_in_every_way(
        1,
        Tiers::at_leaf,
        async |_, reference| docker.pull(reference).await,
        async |reference| docker.remove(reference).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_pulls_through_three_tiers_and_when_only_the_leaf_is_left() {
    if !available(&["docker-registry", "skopeo", "containerd", "ctr"]) || !is_root() {
        return;
    }
    let containerd = Containerd::start().await.unwrap();
    pulls_in_every_way(
        2,
        Tiers::at_leaf,
        async |_, reference| containerd.pull(reference).await,
        async |reference| containerd.remove(reference).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_pulls_by_the_origins_name_from_the_leaf_as_its_mirror() {
    if !available(&["docker-registry", "skopeo", "containerd", "ctr"]) || !is_root() {
        return;
    }
    let containerd = Containerd::start().await.unwrap();
    pulls_in_every_way(
        3,
        |tiers, rest| format!("{}/{rest}", tiers.origin_host()),
        async |tiers, reference| {
            // The client only ever asks the leaf: `server` is the leaf too, so there is no way around it.
            let leaf = tiers.leaf_url();
            let hosts = format!(
                "server = \"{leaf}\"\n[host.\"{leaf}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
            );
            containerd
                .pull_by_hosts(&tiers.origin_host(), &hosts, reference)
                .await
        },
        async |reference| containerd.remove(reference).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_pulls_through_three_tiers_and_when_only_the_leaf_is_left() {
    if !available(&["docker-registry", "skopeo", "podman"]) {
        return;
    }
    let podman = Containers::podman().unwrap();
    pulls_in_every_way(
        4,
        Tiers::at_leaf,
        async |_, reference| podman.pull(reference).await,
        async |reference| podman.remove(reference).await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_pulls_through_three_tiers_and_when_only_the_leaf_is_left() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let skopeo = Skopeo::new().unwrap();
    pulls_in_every_way(
        5,
        Tiers::at_leaf,
        async |_, reference| skopeo.pull(reference).await.map(|()| String::new()),
        async |_| Ok(String::new()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buildah_pulls_through_three_tiers_and_when_only_the_leaf_is_left() {
    if !available(&["docker-registry", "skopeo", "buildah"]) {
        return;
    }
    let buildah = Containers::buildah().unwrap();
    pulls_in_every_way(
        6,
        Tiers::at_leaf,
        async |_, reference| buildah.pull(reference).await,
        async |reference| buildah.remove(reference).await,
    )
    .await;
}

/// Hub and region are killed as they stand, the leaf goes on running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_leaf_serves_on_when_everything_above_it_is_killed() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let mut tiers = Tiers::start_apart().await;
    let image = Image::multi(7).layer_of(3 << 20).build();
    tiers.push_at_origin(&image, "team/app:1").await;
    let skopeo = Skopeo::new().unwrap();
    let (tag, digest) = (
        tiers.at_leaf("team/app:1"),
        tiers.at_leaf(&format!("team/app@{}", image.digest)),
    );
    skopeo.pull(&tag).await.unwrap();
    tiers.copied().await;
    tiers.kill_above_the_leaf().await;
    for reference in [&tag, &digest] {
        skopeo.pull(reference).await.unwrap();
    }
    tiers.assert_stale(&image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_events_for_one_platform_one_more_for_the_other_three_when_the_tag_moves() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let mut tiers = Tiers::start().await;
    let image = Image::multi(8).build();
    tiers.push_at_origin(&image, "team/app:1").await;
    let (tag, skopeo) = (tiers.at_leaf("team/app:1"), Skopeo::new().unwrap());
    skopeo.pull(&tag).await.unwrap();
    let events = tiers.hook.pushes(3).await;
    let told = |digest: &wire::digest::Digest, tag: Option<&str>| {
        let same = |event: &&serde_json::Value| {
            event["target"]["digest"] == digest.as_str() && event["target"]["tag"].as_str() == tag
        };
        events.iter().filter(same).count()
    };
    let platform = &image.platform("amd64").digest;
    assert_eq!(
        (
            told(&image.digest, Some("1")),
            told(&image.digest, None),
            told(platform, None)
        ),
        (1, 1, 1),
        "{events:#?}"
    );
    Client::new(tiers.leaf_url())
        .pull("up/team/app", "1", "arm64")
        .await
        .unwrap();
    let events = tiers.hook.pushes(4).await;
    let other = image.platform("arm64").digest.as_str();
    assert_eq!(events[3]["target"]["digest"], other, "{events:#?}");
    let moved = Image::multi(9).build();
    tiers.push_at_origin(&moved, "team/app:1").await;
    skopeo.pull(&tag).await.unwrap();
    tiers.hook.pushes(7).await;
    skopeo.pull(&tag).await.unwrap();
    tiers.copied().await;
    tiers.end().await;
    assert_eq!(tiers.hook.pushes(7).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_sees_no_more_than_one_head_for_an_unchanged_tag() {
    if !available(&["docker-registry", "skopeo"]) {
        return;
    }
    let tiers = Tiers::start().await;
    let image = Image::multi(10).build();
    tiers.push_at_origin(&image, "team/app:1").await;
    let (tag, skopeo) = (tiers.at_leaf("team/app:1"), Skopeo::new().unwrap());
    skopeo.pull(&tag).await.unwrap();
    tiers.copied().await;
    let before = tiers.origin.access_log().len();
    skopeo.pull(&tag).await.unwrap();
    let more = tests::eventually::within(BOUND, "the log shows the HEAD", || {
        let log = tiers.origin.access_log().split_off(before);
        if log.is_empty() { Err(log) } else { Ok(log) }
    })
    .await;
    assert!(
        more.len() == 1 && more[0].contains("\"HEAD /v2/team/app/manifests/1 "),
        "{more:#?}"
    );
}
