//! Manifest by tag with `check: always`: what a pull costs beyond the upstream's own round trip, and what it costs the upstream.
//!
//! One connection, so that times are latencies: (always - never) is compared with a round trip to the origin itself. With many
//! connections checks are shared, which the origin's access log shows.

use anyhow::Result;

use crate::Client;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::load::{self, CONNECTIONS};
use crate::bench::mesh::{self, Mesh, Plan};
use crate::bench::sample::{NGINX, REGISTRY_PROXY, REGMESH, Server, in_turns};
use crate::bench::site::{self, Site};
use crate::bench::stored::{REPOSITORY, TAG, manifest_path};
use crate::bench::world::World;

const NEVER: &str = "never";

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let (stored, path) = (world.small().await?, manifest_path());
    let counting = site::Config {
        counts: true,
        ..site::Config::default()
    };
    let origin = counting
        .start(world, REPOSITORY, TAG, &stored.image)
        .await?;
    let mut servers = vec![Server {
        name: NGINX,
        url: origin.url(),
        meter: origin.meter(),
    }];
    servers.extend(
        stored
            .servers()
            .into_iter()
            .filter(|server| server.name == REGISTRY_PROXY),
    );
    let always = mesh(world, &origin, "always").await?;
    let never = mesh(world, &origin, NEVER).await?;
    for (name, mesh) in [(REGMESH, &always), (NEVER, &never)] {
        servers.extend(mesh.iter().map(|mesh| Server {
            name,
            url: mesh.leaf().url.clone(),
            meter: mesh.meter(),
        }));
    }
    let loads = in_turns(world.runs(), &servers, async |server| {
        load::get(
            server.meter,
            &format!("{}{path}", server.url),
            1,
            world.seconds(),
        )
        .await
    });
    let loads = loads.await?;
    let latency = |name| loads.of(name, |load| load.median);
    let added = latency(REGMESH)
        .zip(latency(NEVER))
        .map(|(always, never)| always - never);
    let mut figures = vec![
        Figure::new(
            "check: always, latency added to check: never",
            Unit::Seconds,
        )
        .ours(added)
        .peer("round trip to the origin", latency(NGINX))
        .goal(Goal::ExcessAtMost(200e-6)),
        Figure::new("check: always, latency of a GET", Unit::Seconds)
            .ours(latency(REGMESH))
            .peer(REGISTRY_PROXY, latency(REGISTRY_PROXY)),
    ];
    if let Some(mesh) = &always {
        figures.push(heads(world, mesh, &origin, 1).await?);
        figures.push(heads(world, mesh, &origin, CONNECTIONS).await?);
    }
    Ok(figures)
}

async fn mesh(world: &World, origin: &Site, check: &'static str) -> Result<Option<Mesh>> {
    let mesh = mesh::Config::new(Plan::of(origin.host()).check(check).chain(1))
        .start(world)
        .await?;
    if let Some(mesh) = &mesh {
        Client::new(&mesh.leaf().url)
            .pull(REPOSITORY, TAG, "amd64")
            .await?;
        mesh.settled().await?;
    }
    Ok(mesh)
}

/// How many HEADs the origin sees for each GET of a client. A load's last answers may be cut off uncounted: one more for each
/// connection is allowed for.
async fn heads(world: &World, mesh: &Mesh, origin: &Site, connections: u32) -> Result<Figure> {
    let path = manifest_path();
    let before = origin.count("HEAD", &path)?;
    let load = load::get(
        mesh.meter(),
        &format!("{}{path}", mesh.leaf().url),
        connections,
        world.seconds(),
    )
    .await?;
    let heads = (origin.count("HEAD", &path)? - before) as f64;
    let counted = if heads > load.requests && heads <= load.requests + f64::from(connections) {
        load.requests
    } else {
        heads
    };
    Ok(Figure::new(
        format!("check: always, origin HEADs per pull, {connections} at once"),
        Unit::Count,
    )
    .ours((counted / load.requests * 1e4).round() / 1e4)
    .goal(Goal::AtMost(1.0))
    .note(format!(
        "{heads} HEADs, {} pulls, {:.0}/s",
        load.requests, load.rate
    )))
}
