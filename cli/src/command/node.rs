//! `regmesh node --topology FILE --name N`: one node of a topology, without a control plane.

use anyhow::Context;
use node::app;
use runtime::{clock::Clock, tasks::Tasks};
use wire::name::NodeName;

use crate::{args, command, exit::Exit, output};

/// Runs until a signal ends it. SIGHUP reads the topology again.
///
/// # Errors
/// When the topology is not valid, has no such node, or the node cannot start.
pub async fn run(args: args::Node, global: args::Global) -> anyhow::Result<Exit> {
    let _log = command::log(&global)?;
    let name: NodeName = args.name.unwrap_or_default().parse()?;
    let file = command::up::publish(&args.topology, &global)?;
    let slice = file.slice(&name).with_context(|| {
        let names: Vec<String> = file
            .topology()
            .nodes
            .keys()
            .map(ToString::to_string)
            .collect();
        format!(
            "the topology has no node '{name}'; it has: {}",
            names.join(", ")
        )
    })?;
    let (clock, tasks) = (Clock::system(), Tasks::new("regmesh"));
    let config = app::Config {
        name: name.clone(),
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        admin: args.admin,
        defaults: app::Defaults::Node,
        settings: command::up::settings(&args.serve)?,
    };
    let running = app::start(config, command::up::read(slice)?, clock, &tasks)
        .await
        .with_context(|| format!("node {name} cannot start"))?;
    output::words(
        &global,
        &format!(
            "{name} listens on {}, operational http://{}",
            running.address(),
            running.admin()
        ),
    );
    let nodes = [running];
    command::until_ended(&global, async || {
        command::up::reload(&file, &args.topology, &nodes, &global).await
    })
    .await?;
    command::drain(nodes.into(), &tasks, args.serve.drain_timeout, &global).await;
    Ok(Exit::Ok)
}
