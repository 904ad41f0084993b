//! The CPU of a pull-through GB (fetch, hash, store, serve) beside what hashing and serving alone cost here.

use anyhow::Result;

use crate::bench::blob;
use crate::bench::fetch;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::{REGMESH, Server, median};
use crate::bench::stored::blob_path;
use crate::bench::usage::Meter;
use crate::bench::world::{MIB, World};
use crate::peer::DockerRegistry;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let stored = world.big().await?;
    let (path, gib) = (
        blob_path(&stored.image),
        world.gib() as f64 / (1024 * MIB) as f64,
    );
    let (mut through, mut serving, mut proxied) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..world.runs() {
        if let Some(mesh) = mesh::Config::new(Plan::of(stored.site.host()).chain(1))
            .start(world)
            .await?
        {
            let before = mesh.meter().cpu()?;
            fetch::get(&format!("{}{path}", mesh.leaf().url)).await?;
            mesh.settled().await?;
            through.push((mesh.meter().cpu()? - before) / gib);
            let server = Server {
                name: REGMESH,
                url: mesh.leaf().url.clone(),
                meter: mesh.meter(),
            };
            serving.push(blob::transfer(&server, &path).await?.cpu);
        }
        let proxy = DockerRegistry::quiet_proxy_of(&stored.site.url()).await?;
        let meter = Meter::of(proxy.pid());
        let before = meter.cpu()?;
        fetch::get(&format!("{}{path}", proxy.url())).await?;
        proxied.push((meter.cpu()? - before) / gib);
    }
    let hashing = hashing(world).await?;
    let (through, serving) = (median(through), median(serving));
    let figure = || Figure::new("CPU of a pull-through GiB", Unit::SecondsPerGib).ours(through);
    Ok(vec![
        figure()
            .peer(
                "hashing + serving",
                serving.map(|serving| serving + hashing),
            )
            .goal(Goal::RatioAtMost(1.5))
            .note(format!(
                "hashing {hashing:.2}, serving {:.2}",
                serving.unwrap_or_default()
            )),
        figure().peer("docker-registry proxy", median(proxied)),
    ])
}

/// CPU seconds of SHA-256 over a GiB in memory, by the library that hashes fills.
async fn hashing(world: &World) -> Result<f64> {
    let tasks = runtime::Tasks::new("hashing");
    let clock = world.clock.clone();
    let hash = tasks.spawn_blocking("sha256", move || {
        let chunk = vec![7_u8; 1 << 20];
        let mut hasher = wire::digest::Hasher::new(wire::digest::Algorithm::Sha256);
        let start = clock.now();
        for _ in 0..256 {
            hasher.update(&chunk);
        }
        let digest = hasher.finish();
        (digest, (clock.now() - start).as_secs_f64())
    });
    let (_, seconds) = hash.await?;
    Ok(seconds * 4.0)
}
