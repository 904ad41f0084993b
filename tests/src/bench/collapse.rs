//! 64 clients on one cold blob of 1 GiB: the origin is asked once, and nobody waits for the others.
//!
//! At full speed 64 GiB on loopback are limited by the machine whoever serves them, so nginx with the blob stored stands beside
//! the wall time, and the goal is compared where the origin is the limit, as it is in life: 25 MB/s, 256 MiB.

use anyhow::Result;

use crate::Image;
use crate::bench::fetch::{self, Fetched};
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Mesh, Plan};
use crate::bench::site::{self, Site};
use crate::bench::stored::{REPOSITORY, TAG, blob_path};
use crate::bench::world::{MIB, World};

const CLIENTS: usize = 64;
const SLOW: u64 = 25_000_000;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let mut figures = fast(world).await?;
    figures.extend(slow(world).await?);
    Ok(figures)
}

async fn fast(world: &World) -> Result<Vec<Figure>> {
    let stored = world.big().await?;
    let path = blob_path(&stored.image);
    let counting = site::Config {
        counts: true,
        ..site::Config::default()
    };
    let origin = counting
        .start(world, REPOSITORY, TAG, &stored.image)
        .await?;
    let direct = wall(&fetch::many(&format!("{}{path}", stored.site.url()), CLIENTS).await?);
    let (mut together, mut gets, mut peak) = (None, None, None);
    if let Some(mesh) = cold(world, &origin).await? {
        let idle = mesh.meter().resident()?;
        together = Some(wall(
            &fetch::many(&format!("{}{path}", mesh.leaf().url), CLIENTS).await?,
        ));
        gets = Some(origin.count("GET", &path)? as f64);
        peak = Some(mesh.meter().peak()? - idle);
    }
    Ok(vec![
        Figure::new("64 clients, cold 1 GiB, origin GETs", Unit::Count)
            .ours(gets)
            .goal(Goal::Exactly(1.0))
            .note(world.size_note()),
        Figure::new("64 clients, cold 1 GiB, last one done", Unit::Seconds)
            .ours(together)
            .peer("nginx, stored", Some(direct))
            .note("limited by the machine"),
        Figure::new("64 clients, cold 1 GiB, memory over idle", Unit::Bytes)
            .ours(peak)
            .goal(Goal::AtMost((512 * MIB) as f64)),
    ])
}

async fn slow(world: &World) -> Result<Vec<Figure>> {
    let image = Image::single(4)
        .layer_of(world.scaled(256, 32) * MIB)
        .build();
    let limited = site::Config {
        counts: true,
        limit: Some(SLOW),
        ..site::Config::default()
    };
    let origin = limited.start(world, REPOSITORY, TAG, &image).await?;
    let path = blob_path(&image);
    let mut walls = Vec::new();
    for clients in [1, CLIENTS] {
        if let Some(mesh) = cold(world, &origin).await? {
            walls.push(wall(
                &fetch::many(&format!("{}{path}", mesh.leaf().url), clients).await?,
            ));
        }
    }
    Ok(vec![
        Figure::new(
            "64 clients, cold 256 MiB, origin 25 MB/s, last one done",
            Unit::Seconds,
        )
        .ours(walls.get(1).copied())
        .peer("one client", walls.first().copied())
        .goal(Goal::RatioAtMost(1.3)),
    ])
}

async fn cold(world: &World, origin: &Site) -> Result<Option<Mesh>> {
    mesh::Config::new(Plan::of(origin.host()).chain(1))
        .start(world)
        .await
}

fn wall(all: &[Fetched]) -> f64 {
    all.iter().map(|fetched| fetched.total).fold(0.0, f64::max)
}
