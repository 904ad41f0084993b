//! Storms: every stream cut at once, and the control plane killed and started again on its data.
//!
//! A rule of all nodes changes as soon as the API answers, so that coming back is not enough. Nodes come back after the pauses of a real
//! node, which grow with the outage and which spread them: after an outage the time until all are back is theirs, not the control plane's.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;

use super::fleet::{ALL, Fleet};
use super::percentile;
use crate::bench::figure::{Figure, Unit};
use crate::bench::usage::Meter;
use crate::bench::world::World;

/// How often the cost is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub async fn cut(world: &World, fleet: &Fleet) -> Result<Vec<Figure>> {
    let begun = world.clock.now();
    let storm = async {
        fleet.crowd.cut();
        let generation = fleet.change(ALL, 100).await?;
        let confirmed = fleet.settled(generation).await;
        let times = confirmed.into_iter().map(|at| (at - begun).as_secs_f64());
        anyhow::Ok(times.collect::<Vec<_>>())
    };
    let (times, cost) = watched(world, fleet.meter(), storm).await?;
    let what = format!("{} streams cut at once", fleet.nodes);
    Ok(figures(&what, &times?, &cost, String::new()))
}

pub async fn restart(world: &World, fleet: &mut Fleet) -> Result<Vec<Figure>> {
    let outage = Duration::from_secs(world.scaled(5, 1));
    fleet.kill().await;
    world.clock.sleep(outage).await;
    let begun = world.clock.now();
    let ready = fleet.restart().await?;
    let storm = async {
        let generation = fleet.change(ALL, 101).await?;
        let confirmed = fleet.settled(generation).await;
        let times = confirmed.into_iter().map(|at| (at - begun).as_secs_f64());
        anyhow::Ok(times.collect::<Vec<_>>())
    };
    let (times, cost) = watched(world, fleet.meter(), storm).await?;
    let what = format!(
        "{} nodes, control plane killed, started again after {} s",
        fleet.nodes,
        outage.as_secs()
    );
    let note = format!("ready after {}; ", Unit::Seconds.text(ready));
    Ok(figures(&what, &times?, &cost, note))
}

fn figures(what: &str, times: &[f64], cost: &Cost, note: String) -> Vec<Figure> {
    let figure = |of: &str, share| {
        let figure = Figure::new(format!("{what}, current again, {of}"), Unit::Seconds);
        figure.ours(percentile(times, share))
    };
    let note = format!(
        "{note}control plane: {:.1} s of CPU in all, at most {:.0} % of a core in {} ms, {} at most",
        cost.cpu,
        cost.peak * 100.0,
        LOOK.as_millis(),
        Unit::Bytes.text(cost.memory),
    );
    vec![figure("p50", 50.0), figure("all", 100.0).note(note)]
}

/// What a process cost while something happened.
struct Cost {
    /// CPU seconds.
    cpu: f64,
    /// The most in one look, in cores.
    peak: f64,
    /// The most bytes resident.
    memory: f64,
}

async fn watched<T>(
    world: &World,
    meter: Meter,
    happening: impl Future<Output = T>,
) -> Result<(T, Cost)> {
    meter.forget_peak()?;
    let start = meter.cpu()?;
    let (mut before, mut peak) = ((world.clock.now(), start), 0.0_f64);
    let mut happening = std::pin::pin!(happening);
    loop {
        let done = tokio::select! {
            biased;
            done = &mut happening => Some(done),
            () = world.clock.sleep(LOOK) => None,
        };
        let now = (world.clock.now(), meter.cpu()?);
        let elapsed = (now.0 - before.0).as_secs_f64();
        if elapsed >= LOOK.as_secs_f64() / 2.0 {
            peak = peak.max((now.1 - before.1) / elapsed);
            before = now;
        }
        if let Some(done) = done {
            let cost = Cost {
                cpu: now.1 - start,
                peak,
                memory: meter.peak()?,
            };
            return Ok((done, cost));
        }
    }
}
