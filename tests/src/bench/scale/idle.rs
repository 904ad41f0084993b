//! Streams on which nothing happens: heartbeats and reports every ten seconds, and what they cost the control plane.

use std::time::Duration;

use anyhow::Result;

use super::fleet::Fleet;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::world::World;

pub async fn run(world: &World, fleet: &Fleet) -> Result<Vec<Figure>> {
    let time = Duration::from_secs(world.scaled(30, 10));
    let (before, heard) = (fleet.meter().cpu()?, fleet.crowd.heard());
    world.clock.sleep(time).await;
    let cpu = (fleet.meter().cpu()? - before) / time.as_secs_f64();
    let (heard, nodes) = (fleet.crowd.heard() - heard, fleet.nodes as f64);
    let each = |count: u64| count as f64 / nodes / time.as_secs_f64() * 10.0;
    Ok(vec![
        Figure::new(
            format!("{} idle streams, CPU in a second", fleet.nodes),
            Unit::Seconds,
        )
        .ours(cpu)
        .goal(Goal::AtMost(0.05))
        .note(format!(
            "each node reports {} rules every 10 s, and in 10 s is sent {:.1} heartbeats, {:.1} confirmations of reports, {:.1} others",
            10,
            each(heard.heartbeats),
            each(heard.reported),
            each(heard.all() - heard.heartbeats - heard.reported),
        )),
        Figure::new(
            format!("{} idle streams, memory", fleet.nodes),
            Unit::Bytes,
        )
        .ours(fleet.meter().resident()?),
    ])
}
