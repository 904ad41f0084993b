//! Resident memory: idle, and its peak under 64 readers of a stored 1 GiB blob. The memory cache is set to 16 MiB, so that the
//! bound is about transfers.

use std::time::Duration;

use anyhow::Result;

use crate::bench::fetch;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::load;
use crate::bench::mesh::{self, Plan};
use crate::bench::stored::blob_path;
use crate::bench::usage::Meter;
use crate::bench::world::{MIB, World};
use crate::peer::DockerRegistry;

const READERS: u32 = 64;
const CACHE: u64 = 16;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let stored = world.big().await?;
    let path = blob_path(&stored.image);
    let empty = DockerRegistry::quiet().await?;
    let peer_idle = Meter::of(empty.pid()).resident()?;
    let config = mesh::Config::new(Plan::of(stored.site.host()).check("never").chain(1));
    let mesh = config
        .flag("--memory-cache", &format!("{CACHE}MiB"))
        .start(world)
        .await?;
    let (mut idle, mut filled, mut peak) = (None, None, None);
    if let Some(mesh) = &mesh {
        let meter = mesh.meter();
        world.clock.sleep(Duration::from_secs(2)).await;
        idle = Some(meter.resident()?);
        fetch::get(&format!("{}{path}", mesh.leaf().url)).await?;
        mesh.settled().await?;
        filled = Some(meter.peak()? - idle.unwrap_or_default());
        meter.forget_peak()?;
        load_many(world, meter, &format!("{}{path}", mesh.leaf().url)).await?;
        peak = Some(meter.peak()? - idle.unwrap_or_default());
    }
    stored.site.meter().forget_peak()?;
    let nginx_idle = stored.site.meter().resident()?;
    load_many(
        world,
        stored.site.meter(),
        &format!("{}{path}", stored.site.url()),
    )
    .await?;
    let nginx = stored.site.meter().peak()? - nginx_idle;
    Ok(vec![
        Figure::new("memory, idle", Unit::Bytes)
            .ours(idle)
            .peer("docker-registry", Some(peer_idle))
            .goal(Goal::AtMost((40 * MIB) as f64)),
        Figure::new("memory over idle, one cold 1 GiB blob", Unit::Bytes).ours(filled),
        Figure::new("memory over idle, 64 readers of 1 GiB", Unit::Bytes)
            .ours(peak)
            .peer("nginx", Some(nginx))
            .goal(Goal::AtMost(((256 + CACHE) * MIB) as f64))
            .note(format!("memory cache {CACHE} MiB")),
    ])
}

/// 64 readers at once; their transfers need not end.
async fn load_many(world: &World, meter: Meter, url: &str) -> Result<()> {
    load::readers(meter, url, READERS, world.scaled(10, 3)).await
}
