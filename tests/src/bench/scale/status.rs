//! `GET /api/v1/status` with every node connected and reporting: one request after the other.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::fleet::Fleet;
use super::percentile;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::world::World;

pub async fn run(world: &World, fleet: &Fleet) -> Result<Vec<Figure>> {
    let runs = if world.options.quick { 10 } else { 100 };
    let (mut times, mut bytes) = (Vec::new(), 0);
    let before = fleet.meter().cpu()?;
    for _ in 0..runs {
        let begun = world.clock.now();
        let body = fleet.status().await?;
        times.push((world.clock.now() - begun).as_secs_f64());
        bytes = body.len();
    }
    let cpu = (fleet.meter().cpu()? - before) / f64::from(runs);
    let status: Value = serde_json::from_slice(&fleet.status().await?)?;
    let shown = status["nodes"].as_array().map_or(0, Vec::len);
    ensure!(shown == fleet.nodes, "{shown} nodes of {}", fleet.nodes);
    let note = format!("{} KiB, {} CPU each", bytes >> 10, Unit::Seconds.text(cpu));
    Ok(vec![
        Figure::new(format!("{} nodes, status, p50", fleet.nodes), Unit::Seconds)
            .ours(percentile(&times, 50.0)),
        Figure::new(format!("{} nodes, status, p99", fleet.nodes), Unit::Seconds)
            .ours(percentile(&times, 99.0))
            .goal(Goal::AtMost(0.2))
            .note(note),
    ])
}
