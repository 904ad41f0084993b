//! A topology with 10,000 rules more, applied while every node is connected, and taken back.

use anyhow::Result;

use super::fleet::Fleet;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::sample::median;
use crate::bench::world::World;

/// Rules more on each node.
const MORE: usize = 10;

pub async fn run(world: &World, fleet: &Fleet) -> Result<Vec<Figure>> {
    let (mut answers, mut everywhere) = (Vec::new(), Vec::new());
    for _ in 0..world.runs() {
        for more in [MORE, 0] {
            let begun = world.clock.now();
            let generation = fleet.apply(more).await?;
            let answered = (world.clock.now() - begun).as_secs_f64();
            let confirmed = fleet.settled(generation).await;
            if more == MORE {
                answers.push(answered);
                let last = confirmed.into_iter().max().unwrap_or(begun);
                everywhere.push((last - begun).as_secs_f64());
            }
        }
    }
    let what = format!(
        "{} nodes, apply of {} rules",
        fleet.nodes,
        fleet.nodes * MORE
    );
    Ok(vec![
        Figure::new(format!("{what}, answered"), Unit::Seconds)
            .ours(median(answers))
            .goal(Goal::AtMost(5.0))
            .note("read, checked, compared, published, audited"),
        Figure::new(format!("{what}, in force on all nodes"), Unit::Seconds)
            .ours(median(everywhere)),
    ])
}
