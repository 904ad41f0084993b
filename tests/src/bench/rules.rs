//! 10,000 rules on one node: resolving a repository, and putting a topology with all of them in force in a running node.

use std::hint::black_box;

use anyhow::{Context, Result};
use topology::resolve::Resolver;
use wire::repository::RepositoryName;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::median;
use crate::bench::world::World;
use crate::eventually::eventually_async;

const RULES: usize = 10_000;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let small = Plan::of("127.0.0.1:1").chain(1);
    let large = with_rules(&small)?;
    let (resolve, misses) = resolving(world, &large)?;
    let applied = applying(world, &small, &large).await?;
    let note = "half fixed, half wildcards";
    Ok(vec![
        Figure::new("10,000 rules, resolve", Unit::Seconds)
            .ours(resolve)
            .goal(Goal::AtMost(1e-6))
            .note(note),
        Figure::new("10,000 rules, find that none matches", Unit::Seconds)
            .ours(misses)
            .goal(Goal::AtMost(1e-6)),
        Figure::new("10,000 rules, SIGHUP to in force", Unit::Seconds)
            .ours(applied)
            .goal(Goal::AtMost(1.0))
            .note("reads, checks, publishes, cuts the slice, reads it again"),
    ])
}

/// The topology with 10,000 rules more.
fn with_rules(topology: &str) -> Result<String> {
    let (before, after) = topology
        .split_once("rules:\n")
        .context("a topology with rules")?;
    let rules: String = (0..RULES)
        .map(|number| match number % 2 {
            0 => format!("  r{number}: {{on: tier1, source: '127.0.0.1:1/team-{number}/app/api', target: 'mirror/team-{number}/app/api'}}\n"),
            _ => format!("  r{number}: {{on: tier1, source: '127.0.0.1:1/team-{number}/app/*', target: 'mirror/team-{number}/app/*'}}\n"),
        })
        .collect();
    Ok(format!("{before}rules:\n{rules}{after}"))
}

/// Seconds for one resolution of a repository that a rule covers, and of one that none does.
fn resolving(world: &World, text: &str) -> Result<(Option<f64>, Option<f64>)> {
    let loaded = topology::load(&[("mesh.yaml".to_owned(), text.to_owned())]);
    let loaded = loaded.map_err(|problems| anyhow::anyhow!("{} problems", problems.len()))?;
    let node = loaded.topology.nodes.values().next().context("a node")?;
    let resolver = Resolver::new(&node.rules);
    let names = |prefix: &str| -> Result<Vec<RepositoryName>> {
        (0..RULES)
            .map(|number| Ok(format!("{prefix}/team-{number}/app/api").parse()?))
            .collect()
    };
    let (covered, foreign) = (names("mirror")?, names("other")?);
    anyhow::ensure!(
        covered.iter().all(|name| resolver.resolve(name).is_some()),
        "a rule does not resolve"
    );
    let time = |names: &[RepositoryName]| {
        let start = world.clock.now();
        for name in names.iter().cycle().take(20 * RULES) {
            black_box(resolver.resolve(black_box(name)));
        }
        (world.clock.now() - start).as_secs_f64() / (20 * RULES) as f64
    };
    let five = |names: &[RepositoryName]| median((0..5).map(|_| time(names)).collect());
    Ok((five(&covered), five(&foreign)))
}

async fn applying(world: &World, small: &str, large: &str) -> Result<Option<f64>> {
    let Some(mesh) = mesh::Config::new(small.to_owned()).start(world).await? else {
        return Ok(None);
    };
    let mut times = Vec::new();
    for _ in 0..world.runs() {
        for topology in [large, small] {
            let before = mesh.leaf().metric("regmesh_config_generation", &[]).await?;
            let start = world.clock.now();
            mesh.apply(topology)?;
            eventually_async(
                crate::eventually::BOUND,
                "the next generation is in force",
                async || {
                    let now = mesh
                        .leaf()
                        .metric("regmesh_config_generation", &[])
                        .await
                        .map_err(|error| error.to_string())?;
                    if now > before {
                        Ok(())
                    } else {
                        Err(format!("generation {now}"))
                    }
                },
            )
            .await;
            if topology == large {
                times.push((world.clock.now() - start).as_secs_f64());
            }
        }
    }
    Ok(median(times))
}
