//! A blob of 1 GiB from storage, in the page cache: throughput of one transfer by curl, and the server's CPU for it.

use anyhow::Result;

use crate::bench::fetch;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::sample::{Compared, NGINX, REGISTRY, REGMESH, Server, in_turns};
use crate::bench::stored::blob_path;
use crate::bench::world::World;

/// One transfer and what it cost.
pub(super) struct Transfer {
    rate: f64,
    /// CPU seconds of the server for each GiB.
    pub(super) cpu: f64,
}

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let stored = world.big().await?;
    let (path, servers) = (blob_path(&stored.image), stored.servers());
    let transfers = compare(world, &servers, &path).await?;
    let mut figures = figures("blob 1 GiB", &transfers, world.size_note());
    figures.push(
        Figure::new("blob 1 GiB, throughput", Unit::BytesPerSecond)
            .ours(transfers.of(REGMESH, |transfer| transfer.rate))
            .peer(REGISTRY, transfers.of(REGISTRY, |transfer| transfer.rate)),
    );
    Ok(figures)
}

/// Several transfers of each, in turns, after one that warms the page cache.
pub(super) async fn compare(
    world: &World,
    servers: &[Server],
    path: &str,
) -> Result<Compared<Transfer>> {
    in_turns(1, servers, async |server| {
        fetch::get(&format!("{}{path}", server.url)).await
    })
    .await?;
    let runs = if world.options.quick { 3 } else { 9 };
    in_turns(runs, servers, async |server| transfer(server, path).await).await
}

pub(super) async fn transfer(server: &Server, path: &str) -> Result<Transfer> {
    let before = server.meter.cpu()?;
    let fetched = fetch::get(&format!("{}{path}", server.url)).await?;
    let gib = fetched.bytes / (1024.0 * 1024.0 * 1024.0);
    Ok(Transfer {
        rate: fetched.rate(),
        cpu: (server.meter.cpu()? - before) / gib,
    })
}

/// Throughput and CPU beside nginx.
pub(super) fn figures(what: &str, transfers: &Compared<Transfer>, note: &str) -> Vec<Figure> {
    let beside = |what: String, unit, quantity: fn(&Transfer) -> f64| {
        Figure::new(what, unit)
            .ours(transfers.of(REGMESH, quantity))
            .peer(NGINX, transfers.of(NGINX, quantity))
            .note(note)
    };
    vec![
        beside(
            format!("{what}, throughput"),
            Unit::BytesPerSecond,
            |transfer| transfer.rate,
        )
        .goal(Goal::RatioAtLeast(0.9)),
        beside(format!("{what}, CPU"), Unit::SecondsPerGib, |transfer| {
            transfer.cpu
        })
        .goal(Goal::RatioAtMost(1.0)),
    ]
}
