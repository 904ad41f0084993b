//! A cold pull of 12 layers of 20 MB: by skopeo straight from the origin, through one node, two and three; and by twelve curls at
//! once, which saturate loopback where skopeo does not.
//!
//! The origin is Debian's docker-registry; nginx, which leaves no slack to hide in; and nginx at 25 MB/s a connection, as origins
//! beyond loopback are: at full speed the processors are the limit, and a wall time says only how much CPU all of them need.

use anyhow::Result;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Mesh, Plan};
use crate::bench::sample::median;
use crate::bench::stored::{REPOSITORY, TAG};
use crate::bench::world::World;
use crate::bench::{fetch, site};
use crate::peer::{DockerRegistry, Skopeo};
use crate::{Client, Image};

const TIERS: usize = 3;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let layer = world.scaled(20_000_000, 2_000_000);
    let image = (0..12)
        .fold(Image::single(3), |image, _| image.layer_of(layer))
        .build();
    let registry = DockerRegistry::quiet().await?;
    Skopeo::new()?
        .push(&image, &format!("{}/{REPOSITORY}:{TAG}", registry.host()))
        .await?;
    let site = site::Config::default()
        .start(world, REPOSITORY, TAG, &image)
        .await?;
    let mut figures = by_skopeo(world, "docker-registry", &registry.host()).await?;
    figures.extend(by_skopeo(world, "nginx", &site.host()).await?);
    let limited = site::Config {
        limit: Some(25_000_000),
        ..site::Config::default()
    };
    let limited = limited.start(world, REPOSITORY, TAG, &image).await?;
    figures.extend(by_skopeo(world, "nginx at 25 MB/s", &limited.host()).await?);
    figures.extend(by_streams(world, &image, "docker-registry", &registry.host()).await?);
    figures.extend(by_streams(world, &image, "nginx", &site.host()).await?);
    Ok(figures)
}

async fn by_skopeo(world: &World, name: &str, origin: &str) -> Result<Vec<Figure>> {
    let mut walls: Vec<Vec<f64>> = vec![Vec::new(); TIERS + 1];
    let mut proxied = Vec::new();
    for _ in 0..world.runs() {
        walls[0].push(pull(world, origin).await?);
        for (tiers, walls) in walls.iter_mut().enumerate().skip(1) {
            if let Some(mesh) = cold(world, origin, tiers).await? {
                walls.push(pull(world, mesh.leaf().host()).await?);
            }
        }
        let proxy = DockerRegistry::quiet_proxy_of(&format!("http://{origin}")).await?;
        proxied.push(pull(world, &proxy.host()).await?);
    }
    let walls: Vec<Option<f64>> = walls.into_iter().map(median).collect();
    let mut figures = vec![
        Figure::new(
            format!("cold pull of 12 layers, one node, origin {name}"),
            Unit::Seconds,
        )
        .ours(walls[1])
        .peer("skopeo direct", walls[0])
        .goal(Goal::RatioAtMost(1.05)),
        Figure::new(
            format!("cold pull of 12 layers, one node, origin {name}"),
            Unit::Seconds,
        )
        .ours(walls[1])
        .peer("docker-registry proxy", median(proxied)),
    ];
    for tiers in 2..=TIERS {
        figures.push(
            Figure::new(
                format!("cold pull of 12 layers, {tiers} tiers, origin {name}"),
                Unit::Seconds,
            )
            .ours(walls[tiers])
            .peer(format!("{} tiers", tiers - 1), walls[tiers - 1])
            .goal(Goal::RatioAtMost(1.1)),
        );
    }
    Ok(figures)
}

async fn by_streams(world: &World, image: &Image, name: &str, origin: &str) -> Result<Vec<Figure>> {
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..world.runs() {
        direct.push(streams(world, image, origin).await?);
        if let Some(mesh) = cold(world, origin, 1).await? {
            through.push(streams(world, image, mesh.leaf().host()).await?);
        }
    }
    let figure = Figure::new(
        format!("cold pull by 12 streams, one node, origin {name}"),
        Unit::Seconds,
    )
    .ours(median(through))
    .peer("curl direct", median(direct))
    .goal(Goal::RatioAtMost(1.6));
    Ok(vec![figure])
}

/// A mesh that has nothing yet.
async fn cold(world: &World, origin: &str, tiers: usize) -> Result<Option<Mesh>> {
    mesh::Config::new(Plan::of(origin).chain(tiers))
        .start(world)
        .await
}

/// Seconds that skopeo takes.
async fn pull(world: &World, host: &str) -> Result<f64> {
    let start = world.clock.now();
    Skopeo::new()?
        .pull(&format!("{host}/{REPOSITORY}:{TAG}"))
        .await?;
    Ok((world.clock.now() - start).as_secs_f64())
}

/// Seconds for the manifest and then all blobs at once.
async fn streams(world: &World, image: &Image, host: &str) -> Result<f64> {
    let base = format!("http://{host}");
    let urls: Vec<String> = image
        .blobs
        .iter()
        .map(|(digest, _)| format!("{base}/v2/{REPOSITORY}/blobs/{digest}"))
        .collect();
    let start = world.clock.now();
    Client::new(&base).manifest(REPOSITORY, TAG).await?;
    fetch::each(&urls).await?;
    Ok((world.clock.now() - start).as_secs_f64())
}
