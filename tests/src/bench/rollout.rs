//! 500 clients over 3 spokes of one hub pull one image at once: counts at the origin and at the hub. No rates, so the clients are
//! the rig's own, which check every digest.

use anyhow::Result;
use futures_util::future::try_join_all;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::site;
use crate::bench::stored::{REPOSITORY, TAG};
use crate::bench::world::{MIB, World};
use crate::{Client, Image};

const CLIENTS: usize = 500;
const SPOKES: usize = 3;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let image = (0..4)
        .fold(Image::single(6), |image, _| image.layer_of(MIB))
        .build();
    let counting = site::Config {
        counts: true,
        ..site::Config::default()
    };
    let origin = counting.start(world, REPOSITORY, TAG, &image).await?;
    let Some(mesh) = mesh::Config::new(Plan::of(origin.host()).star(SPOKES))
        .start(world)
        .await?
    else {
        return Ok(Vec::new());
    };
    let start = world.clock.now();
    let pulls = (0..CLIENTS).map(async |number| {
        let spoke = mesh.node(&format!("spoke{}", number % SPOKES + 1));
        Client::new(&spoke.url).pull(REPOSITORY, TAG, "amd64").await
    });
    try_join_all(pulls).await?;
    let took = (world.clock.now() - start).as_secs_f64();
    mesh.settled().await?;
    let mut most = 0;
    for (digest, _) in &image.blobs {
        most = most.max(origin.count("GET", &format!("/blobs/{digest}"))?);
    }
    let blobs = image.blobs.len() as f64;
    let hub = mesh
        .node("hub")
        .metric("regmesh_requests_total", &["kind=\"blob\""])
        .await?;
    Ok(vec![
        Figure::new("500 clients, 3 spokes, origin GETs per blob", Unit::Count)
            .ours(most as f64)
            .goal(Goal::Exactly(1.0)),
        Figure::new(
            "500 clients, 3 spokes, hub requests per blob and spoke",
            Unit::Count,
        )
        .ours(hub / blobs / SPOKES as f64)
        .goal(Goal::Exactly(1.0))
        .note(format!("all 500 done in {took:.1} s")),
        Figure::new(
            "500 clients, 3 spokes, origin HEADs and GETs of the manifest",
            Unit::Count,
        )
        .ours(
            (origin.count("HEAD", TAG)?
                + origin.count("GET", &image.digest.to_string())?
                + origin.count("GET", TAG)?) as f64,
        )
        .note("checks are shared while one is under way"),
    ])
}
