//! One control plane and 1,000 nodes: how soon a change is everywhere, what a storm of reconnects costs, what status, apply and idle
//! streams cost.
//!
//! The control plane is the real program in a process of its own, over SQLite; the nodes are a [`crate::Crowd`] in this process, real on the
//! wire and light behind it, on the same cores. Times of a change run from before its request is sent until a node hands over its ACK.

use anyhow::Result;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::world::{MIB, World};

mod apply;
mod change;
mod fleet;
mod idle;
mod status;
mod storm;

use fleet::Fleet;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let Some(program) = &world.options.regmesh else {
        return Ok(Vec::new());
    };
    let three = Fleet::start(world, program, 3).await?;
    let mut figures = change::run(world, &three, 0.3).await?;
    drop(three);
    let nodes = usize::try_from(world.scaled(1_000, 100))?;
    let begun = world.clock.now();
    let mut fleet = Fleet::start(world, program, nodes).await?;
    let joined = (world.clock.now() - begun).as_secs_f64();
    figures.push(
        Figure::new(
            format!("{nodes} nodes, from an empty directory"),
            Unit::Seconds,
        )
        .ours(joined)
        .note("tokens made, joined, connected, current and reported"),
    );
    figures.extend(change::run(world, &fleet, 1.0).await?);
    figures.extend(status::run(world, &fleet).await?);
    figures.extend(idle::run(world, &fleet).await?);
    figures.extend(apply::run(world, &fleet).await?);
    figures.extend(storm::cut(world, &fleet).await?);
    let peak = fleet.meter().peak()?;
    figures.extend(storm::restart(world, &mut fleet).await?);
    let peak = peak.max(fleet.meter().peak()?);
    figures.push(
        Figure::new(
            format!("{nodes} nodes, control plane, peak memory"),
            Unit::Bytes,
        )
        .ours(peak)
        .goal(Goal::AtMost((1024 * MIB) as f64))
        .note("of all of the above"),
    );
    Ok(figures)
}

/// What so many of a hundred values do not exceed.
fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share / 100.0).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let of = |share| percentile(&values, share);
        assert_eq!(
            (of(50.0), of(99.0), of(100.0)),
            (Some(500.0), Some(990.0), Some(1000.0))
        );
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }
}
