//! The CPU of a pull-through GB (fetch, hash, store, serve) beside what hashing and serving alone cost here.
//!
//! What writing a file costs the kernel stands beside it, by dd: on a virtual machine whose host has to find the pages first it
//! can be more than all the rest, whoever writes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::bench::blob;
use crate::bench::fetch;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::{REGMESH, Server, median};
use crate::bench::stored::{Stored, blob_path};
use crate::bench::usage::Meter;
use crate::bench::world::{MIB, World};
use crate::eventually::{BOUND, within};
use crate::peer::DockerRegistry;
use crate::process::Process;

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
        let (digest, _) = stored.image.largest();
        within(BOUND * 6, "docker-registry stores it", || {
            if proxy.stores(&digest.to_string()) {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        proxied.push((meter.cpu()? - before) / gib);
    }
    let (hashing, writing) = (hashing(world).await?, writing(world, stored).await? / gib);
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
        figure()
            .peer(
                "hashing + serving + writing by dd",
                serving.map(|serving| serving + hashing + writing),
            )
            .note(format!("writing {writing:.2}")),
        figure()
            .peer("docker-registry proxy", median(proxied))
            .note("until it has stored it, by a second GET"),
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

/// CPU seconds of writing the blob once to a file that is not flushed.
async fn writing(world: &World, stored: &Stored) -> Result<f64> {
    let dir = world.fresh()?;
    let (digest, content) = stored.image.largest();
    let from = world.file(digest, content)?;
    let command = "dd if=\"$1\" of=\"$2\" bs=1M status=none; sed 's/.*) //' /proc/$$/stat";
    let mut seconds = Vec::new();
    for run in 0..world.runs() {
        let to = dir.path().join(run.to_string());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command, "sh"]).arg(&from).arg(&to);
        let (_, said) = Process::spawn(shell)?
            .finish(Duration::from_secs(120))
            .await;
        seconds.push(of_children(&said.join("")).context("no /proc/PID/stat")?);
    }
    median(seconds).context("no run")
}

/// `cutime + cstime` of what follows the name in `/proc/PID/stat`, in seconds.
fn of_children(stat: &str) -> Option<f64> {
    let mut fields = stat.split(' ').skip(13);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read() {
        assert_eq!(
            of_children("S 1 7 7 0 -1 4194560 10 0 0 0 25 50 1 149 20 0 4"),
            Some(1.5)
        );
    }
}
