//! A blob of 64 KiB, stored: what most config blobs and small layers cost.

use anyhow::Result;

use crate::bench::figure::Figure;
use crate::bench::load::{self, CONNECTIONS};
use crate::bench::manifest::compared;
use crate::bench::sample::in_turns;
use crate::bench::stored::blob_path;
use crate::bench::world::World;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let stored = world.small().await?;
    let (path, servers) = (blob_path(&stored.image), stored.servers());
    let loads = in_turns(world.runs(), &servers, async |server| {
        load::get(
            server.meter,
            &format!("{}{path}", server.url),
            CONNECTIONS,
            world.seconds(),
        )
        .await
    });
    let figures = compared("blob 64 KiB", &loads.await?, true).into_iter();
    // The table's goals for this row are about requests a second alone.
    Ok(figures
        .map(|figure| match figure.what.ends_with("requests/s") {
            true => figure,
            false => Figure {
                goal: None,
                ..figure
            },
        })
        .collect())
}
