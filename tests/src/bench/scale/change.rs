//! A rule of one node changes, and a rule of all nodes: from the request to each node's ACK.
//!
//! Every node confirms every generation; whom a change does not concern is sent its number alone.

use anyhow::Result;

use super::fleet::{ALL, Fleet, name};
use super::percentile;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::sample::median;
use crate::bench::world::World;

/// `goal` is for the slowest hundredth, in seconds.
pub async fn run(world: &World, fleet: &Fleet, goal: f64) -> Result<Vec<Figure>> {
    let runs = if world.options.quick { 3 } else { 10 };
    let mut figures = Vec::new();
    for (what, own) in [("one node", true), ("all nodes", false)] {
        let (mut times, mut answers, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..runs {
            let rule = if own {
                name(run % fleet.nodes)
            } else {
                ALL.to_owned()
            };
            let (begun, before) = (world.clock.now(), fleet.meter().cpu()?);
            let generation = fleet.change(&rule, run + 1).await?;
            answers.push((world.clock.now() - begun).as_secs_f64());
            let confirmed = fleet.settled(generation).await;
            times.extend(confirmed.iter().map(|at| (*at - begun).as_secs_f64()));
            cpu.push(fleet.meter().cpu()? - before);
        }
        let figure = |of: &str, value| {
            let what = format!(
                "{} nodes, a rule of {what} changes, to ACK, {of}",
                fleet.nodes
            );
            Figure::new(what, Unit::Seconds).ours(value)
        };
        let text = |value: Option<f64>| Unit::Seconds.text(value.unwrap_or_default());
        figures.push(figure("p50", percentile(&times, 50.0)));
        figures.push(
            figure("p99", percentile(&times, 99.0))
                .goal(Goal::AtMost(goal))
                .note(format!(
                    "{runs} changes; max {}, answered after {}, CPU of the control plane {} each",
                    text(percentile(&times, 100.0)),
                    text(median(answers)),
                    text(median(cpu)),
                )),
        );
    }
    Ok(figures)
}
