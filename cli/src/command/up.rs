//! `regmesh up FILE`: every node of a topology in one process. SIGHUP reads the files again and puts a new generation in force;
//! a topology that is not valid changes nothing.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use control::fixed::Fixed;
use node::{app, settings::Settings};
use runtime::{clock::Clock, tasks::Tasks};
use serde::Serialize;
use topology::model::{Node, Topology};
use wire::name::NodeName;

use crate::{
    args::{self, Format},
    command,
    exit::Exit,
    output,
};

/// A node as it came up.
#[derive(Debug, Serialize)]
pub struct Started {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: u8,
    /// Where clients reach it.
    pub endpoint: String,
    /// The address it listens on.
    pub listen: String,
    /// The address of its operational listener.
    pub admin: String,
}

/// Runs until a signal ends it.
///
/// # Errors
/// When the topology is not valid or a node cannot start.
pub async fn run(up: args::Up, global: args::Global) -> anyhow::Result<Exit> {
    let _log = command::log(&global)?;
    let publisher = publish(&up.files, &global)?;
    let (clock, tasks) = (Clock::system(), Tasks::new("regmesh"));
    let settings = settings(&up.serve)?;
    let mut running = Vec::new();
    for slice in publisher.slices() {
        let slice = read(slice)?;
        let config = app::Config {
            name: slice.node.clone(),
            data_dir: up.data_dir.join(slice.node.as_str()),
            listen: None,
            admin: None,
            defaults: app::Defaults::Up,
            settings: settings.clone(),
        };
        let name = slice.node.clone();
        let node = app::start(config, slice, clock.clone(), &tasks)
            .await
            .with_context(|| format!("node {name} cannot start"))?;
        running.push(node);
    }
    announce(&running, &publisher.topology(), &global)?;
    command::until_ended(&global, async || {
        reload(&publisher, &up.files, &running, &global).await
    })
    .await?;
    command::drain(running, &tasks, up.serve.drain_timeout, &global).await;
    Ok(Exit::Ok)
}

/// Reads, checks and publishes the files.
///
/// # Errors
/// With every problem of the topology.
pub fn publish(paths: &[PathBuf], global: &args::Global) -> anyhow::Result<Fixed> {
    let loaded = load(paths, global)?;
    Ok(Fixed::new(loaded))
}

fn load(paths: &[PathBuf], global: &args::Global) -> anyhow::Result<Topology> {
    check(&command::read_files(paths)?, global)
}

/// Checks files and prints what is wrong or unwise.
///
/// # Errors
/// When they are not a valid topology.
pub fn check(files: &[(String, String)], global: &args::Global) -> anyhow::Result<Topology> {
    match topology::load(files) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::words(global, &warning.render(output::is_lively(global)));
            }
            Ok(loaded.topology)
        }
        Err(problems) => {
            for problem in &problems {
                output::complain(&problem.render(output::is_lively(global)));
            }
            anyhow::bail!(
                "the topology is not valid: {}",
                output::count(problems.iter().filter(|p| p.is_error()).count(), "problem")
            )
        }
    }
}

pub(super) async fn reload(
    publisher: &Fixed,
    paths: &[PathBuf],
    running: &[app::Running],
    global: &args::Global,
) {
    let before = publisher.topology();
    let published = load(paths, global).and_then(|topology| Ok(publisher.publish(topology)?));
    match published {
        Ok(generation) => {
            // `regmesh node` runs one of them: what happens to the others is not its affair.
            let whole = before.nodes.len() == running.len();
            let after = publisher.topology();
            let ours = |name: &&NodeName| whole || running.iter().any(|node| node.name() == *name);
            for name in restarts(&before, &after).into_iter().filter(ours) {
                let text =
                    format!("{name} listens elsewhere now, or is new: restart to see it there");
                output::words(global, &text);
            }
            for node in running {
                match publisher.slice(node.name()).map(read) {
                    Some(Ok(slice)) => node.apply(slice).await,
                    Some(Err(error)) => output::words(
                        global,
                        &format!("{} keeps what it has: {error:#}", node.name()),
                    ),
                    None => output::words(
                        global,
                        &format!(
                            "{} is no longer declared: it keeps what it has until it is stopped",
                            node.name()
                        ),
                    ),
                }
            }
            output::words(global, &format!("generation {generation} is in force"));
        }
        Err(error) => output::words(global, &format!("nothing was changed: {error:#}")),
    }
}

/// The nodes whose addresses a new topology changes or adds: those are bound when the process starts, and not again.
fn restarts<'a>(before: &Topology, after: &'a Topology) -> Vec<&'a NodeName> {
    let same = |new: &Node| {
        before.node(&new.name).is_some_and(|old| {
            (&old.endpoint, old.listen, old.admin, &old.tls)
                == (&new.endpoint, new.listen, new.admin, &new.tls)
        })
    };
    let changed = after.nodes.values().filter(|node| !same(node));
    changed.map(|node| &node.name).collect()
}

/// Reads a slice as a node does.
///
/// # Errors
/// With every problem of the slice, which a published topology does not give.
pub fn read(slice: control::publish::Slice) -> anyhow::Result<app::Slice> {
    app::Slice::read(slice.generation, slice.node, &slice.document).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| p.render(false)).collect();
        anyhow::anyhow!("the slice is not valid:\n{}", lines.join("\n"))
    })
}

/// The settings that the flags say.
///
/// # Errors
/// When a setting is unknown or its value does not parse.
pub fn settings(serve: &args::Serve) -> anyhow::Result<Settings> {
    let mut settings = Settings {
        memory_cache: serve.memory_cache,
        traced: command::otlp_endpoint().is_some(),
        ..Settings::default()
    };
    for (name, value) in &serve.settings {
        settings.set(name, value)?;
    }
    Ok(settings)
}

fn announce(
    running: &[app::Running],
    topology: &Topology,
    global: &args::Global,
) -> anyhow::Result<()> {
    let started: Vec<Started> = running
        .iter()
        .map(|node| Started {
            name: node.name().to_string(),
            tier: topology.tier(node.name()),
            endpoint: node.endpoint(),
            listen: node.address().to_string(),
            admin: node.admin().to_string(),
        })
        .collect();
    match global.output {
        Format::Json => output::data(&serde_json::to_string(&started)?),
        Format::Table | Format::Yaml => {
            output::object(global, &started, || {
                started.iter().map(line).collect::<Vec<_>>().join("\n")
            })?;
            output::words(
                global,
                "ready; end with Ctrl-C, read the topology again with SIGHUP",
            );
        }
    }
    Ok(())
}

fn line(node: &Started) -> String {
    let indent = "  ".repeat(usize::from(node.tier.saturating_sub(1)));
    format!(
        "{indent}{}  {}  (listens on {}, operational http://{})",
        node.name, node.endpoint, node.listen, node.admin
    )
}

/// How long idle reconcilers may take to end after the nodes were drained.
pub const LAST_TASKS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(ports: &[(&str, u16)]) -> Topology {
        let nodes: Vec<String> = ports
            .iter()
            .map(|(name, port)| format!("  {name}: {{endpoint: 'http://127.0.0.1:{port}'}}"))
            .collect();
        let text = format!("version: 1\nmesh: m\nnodes:\n{}\n", nodes.join("\n"));
        topology::load(&[("t.yaml".to_owned(), text)])
            .unwrap()
            .topology
    }

    #[test]
    fn what_a_reload_cannot_bind_is_told() {
        let before = topology(&[("a", 5000), ("b", 5001), ("c", 5002)]);
        let after = topology(&[("a", 5000), ("b", 5009), ("d", 5003)]);
        let names: Vec<&str> = restarts(&before, &after)
            .iter()
            .map(|n| n.as_str())
            .collect();
        assert_eq!(names, ["b", "d"]);
    }
}
