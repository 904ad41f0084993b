//! From the PUT of a manifest to its event at the receiver: the commit lies between, so this is more than the delivery takes.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::median;
use crate::bench::world::World;
use crate::{Client, Hook, Image};

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let hook = Hook::start().await;
    let topology = format!(
        "{}webhooks:\n  bench: {{on: tier1, url: '{}', actions: [push]}}\n",
        Plan::of("127.0.0.1:1").chain(1),
        hook.url(),
    );
    let Some(mesh) = mesh::Config::new(topology).start(world).await? else {
        return Ok(Vec::new());
    };
    let client = Client::new(&mesh.leaf().url);
    let mut times = Vec::new();
    for number in 0..world.scaled(30, 10) {
        let image = Image::single(1000 + number).build();
        for (digest, content) in &image.blobs {
            client.push_blob("local/app", digest, content).await?;
        }
        let start = world.clock.now();
        let (top, tag) = (image.top(), format!("t{number}"));
        let reply = client.put_manifest("local/app", tag, &top.media_type, top.bytes.clone());
        ensure!(reply.await?.status == 201, "a manifest was not taken");
        let wanted = times.len() + 1;
        for _ in 0..20_000 {
            if hook.record().len() >= wanted {
                break;
            }
            world.clock.sleep(Duration::from_micros(500)).await;
        }
        times.push((world.clock.now() - start).as_secs_f64());
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    let figure = |what: &str| Figure::new(what, Unit::Seconds).goal(Goal::AtMost(1.0));
    Ok(vec![
        figure("event, PUT to receiver, median").ours(median(times)),
        figure("event, PUT to receiver, slowest").ours(worst),
    ])
}
