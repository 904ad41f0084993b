//! The first byte of a cold 1 GiB blob through three tiers, beside a direct one: it must not wait for anyone's copy.

use anyhow::Result;

use crate::Client;
use crate::bench::fetch;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::median;
use crate::bench::stored::{REPOSITORY, TAG, blob_path};
use crate::bench::world::World;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let stored = world.big().await?;
    let (path, origin) = (blob_path(&stored.image), &stored.site);
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    let (mut direct_wall, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..world.runs() {
        let fetched = fetch::get(&format!("{}{path}", origin.url())).await?;
        direct.push(fetched.first_byte);
        direct_wall.push(fetched.total);
        // `up` starts each time with nothing stored. One HEAD by tag opens the connections between the tiers, as any client's
        // first request would.
        let Some(mesh) = mesh::Config::new(Plan::of(origin.host()).chain(3))
            .start(world)
            .await?
        else {
            continue;
        };
        Client::new(&mesh.leaf().url)
            .head_manifest(REPOSITORY, TAG)
            .await?;
        let fetched = fetch::get(&format!("{}{path}", mesh.leaf().url)).await?;
        through.push(fetched.first_byte);
        wall.push(fetched.total);
    }
    Ok(vec![
        Figure::new(
            "first byte of a cold 1 GiB blob, three tiers",
            Unit::Seconds,
        )
        .ours(median(through))
        .peer("nginx direct", median(direct))
        .goal(Goal::ExcessAtMost(3e-3)),
        Figure::new("all of a cold 1 GiB blob, three tiers", Unit::Seconds)
            .ours(median(wall))
            .peer("nginx direct", median(direct_wall))
            .note("three times hashed and stored, on the cores of client and origin"),
    ])
}
