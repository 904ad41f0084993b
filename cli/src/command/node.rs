//! `regmesh node`: one node. Joined to a mesh by a join token or an OIDC token; or with `--topology FILE --name N` of a topology, without a control plane.
//!
//! A joined node needs its token at the first start only; from then on it starts from what is on its disk, whether or not the control
//! plane is there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use control::fixed::Fixed;
use node::{
    agent::{self, ByOidc, End, Join},
    app,
};
use runtime::{clock::Clock, file::Real, tasks::Tasks};
use topology::model::{Node, Topology};
use wire::name::NodeName;

use crate::{args, command, exit::Exit, fault::Code, output};

/// Runs until a signal ends it, or until it may not go on.
///
/// # Errors
/// When the node cannot start.
pub async fn run(args: args::Node, global: args::Global) -> anyhow::Result<Exit> {
    let _log = command::log(&global)?;
    match args.name.clone() {
        Some(name) if !args.topology.is_empty() => alone(&name, args, &global).await,
        _ => joined(args, &global).await,
    }
}

async fn joined(args: args::Node, global: &args::Global) -> anyhow::Result<Exit> {
    let (clock, tasks) = (Clock::system(), Tasks::new("regmesh"));
    let config = agent::Config {
        data_dir: args.data_dir.clone(),
        join: join(&args)?,
        listen: args.listen,
        admin: args.admin,
        defaults: app::Defaults::Node,
        patience: Duration::ZERO,
        settings: command::up::settings(&args.serve)?,
    };
    let agent = config.start(Arc::new(Real), clock, &tasks).await?;
    if let (Some(address), Some(admin)) = (agent.address(), agent.admin()) {
        let text = format!(
            "{} listens on {address}, operational http://{admin}",
            agent.node()
        );
        output::words(global, &text);
    }
    let mut signals = command::Signals::new()?;
    let end = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                command::Signal::End => break None,
                // What it should be comes from the control plane.
                command::Signal::Reload => {}
            },
            end = agent.ended() => break Some(end),
        }
    };
    let exit = match &end {
        Some(End::Refused(why)) => {
            let text = format!("{} may not go on: {why}", agent.node());
            output::wrong(Code::NotAdmitted, &text);
            Exit::Error
        }
        Some(End::Drain) | None => {
            output::words(global, command::ENDING);
            Exit::Ok
        }
    };
    command::drain(agent.drain(args.serve.drain_timeout), &tasks, global).await;
    Ok(exit)
}

/// Why a node ended, for people.
#[must_use]
pub fn told(end: &End) -> String {
    match end {
        End::Drain => "it was asked to drain".to_owned(),
        End::Refused(why) => format!("it may not go on: {why}"),
    }
}

fn join(args: &args::Node) -> anyhow::Result<Option<Join>> {
    let oidc = (&args.oidc_token_file, &args.control_address, &args.ca_pin);
    if let (Some(file), Some(address), Some(pin)) = oidc {
        let name = args.name.as_deref();
        return Ok(Some(Join::Oidc(ByOidc {
            address: address.clone(),
            pin: *pin,
            node: name
                .context(Code::Usage.says("--name is missing"))?
                .parse()?,
            file: file.clone(),
        })));
    }
    let text = match (&args.join, &args.join_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).with_context(|| {
            Code::FileUnreadable.says(format!("cannot read the join token in {}", path.display()))
        })?,
        (None, None) => return Ok(None),
    };
    let token = text.trim().parse();
    Ok(Some(Join::Token(token.context(
        Code::InvalidFile.says("the join token cannot be read"),
    )?)))
}

async fn alone(name: &str, args: args::Node, global: &args::Global) -> anyhow::Result<Exit> {
    let name: NodeName = name.parse()?;
    let loaded = command::up::check(&command::read_files(&args.topology)?, global)?;
    let file = Fixed::new(loaded.topology);
    let slice = file.slice(&name).with_context(|| {
        let topology = file.topology();
        let names: Vec<&str> = topology.nodes.keys().map(NodeName::as_str).collect();
        Code::NotFound.says(format!(
            "the topology has no node '{name}'; it has: {}",
            names.join(", ")
        ))
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
    let running = app::start(config, read(slice)?, clock, &tasks)
        .await
        .with_context(|| Code::CannotStart.says(format!("node {name} cannot start")))?;
    let text = format!(
        "{name} listens on {}, operational http://{}",
        running.address(),
        running.admin()
    );
    output::words(global, &text);
    let mut signals = command::Signals::new()?;
    while signals.next().await == command::Signal::Reload {
        reload(&file, &args.topology, &running, global).await;
    }
    output::words(global, command::ENDING);
    command::drain(running.drain(args.serve.drain_timeout), &tasks, global).await;
    Ok(Exit::Ok)
}

async fn reload(file: &Fixed, paths: &[PathBuf], node: &app::Running, global: &args::Global) {
    let before = file.topology();
    let published = command::read_files(paths)
        .and_then(|files| command::up::check(&files, global))
        .and_then(|loaded| Ok(file.publish(loaded.topology)?));
    let generation = match published {
        Ok(generation) => generation,
        Err(error) => return output::words(global, &format!("nothing was changed: {error:#}")),
    };
    if listens_elsewhere(&before, &file.topology(), node.name()) {
        let text = format!(
            "{} listens elsewhere now: restart to see it there",
            node.name()
        );
        output::words(global, &text);
    }
    let applied = match file.slice(node.name()).map(read) {
        Some(Ok(slice)) => {
            node.apply(slice).await;
            format!("generation {generation} is in force")
        }
        Some(Err(error)) => format!("{} keeps what it has: {error:#}", node.name()),
        None => format!(
            "{} is no longer declared: it keeps what it has until it is stopped",
            node.name()
        ),
    };
    output::words(global, &applied);
}

/// Whether a new topology changes addresses that are bound when the process starts, and not again.
fn listens_elsewhere(before: &Topology, after: &Topology, name: &NodeName) -> bool {
    let bound = |node: &Node| {
        (
            node.endpoint.clone(),
            node.listen,
            node.admin,
            node.tls.clone(),
        )
    };
    match (before.node(name), after.node(name)) {
        (Some(before), Some(after)) => bound(before) != bound(after),
        _ => false,
    }
}

/// Reads a slice as a node does.
///
/// # Errors
/// With every problem of the slice, which a published topology does not give.
pub fn read(slice: control::publish::Slice) -> anyhow::Result<app::Slice> {
    app::Slice::read(slice.generation, slice.node, &slice.document).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| p.render(false)).collect();
        Code::InvalidTopology.error(format!("the slice is not valid:\n{}", lines.join("\n")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(port: u16) -> Topology {
        let text =
            format!("version: 1\nmesh: m\nnodes: {{a: {{endpoint: 'http://127.0.0.1:{port}'}}}}\n");
        topology::load(&[("t.yaml".to_owned(), text)])
            .unwrap()
            .topology
    }

    #[test]
    fn what_a_reload_cannot_bind_is_told() {
        let name = "a".parse().unwrap();
        assert!(listens_elsewhere(&topology(5000), &topology(5009), &name));
        assert!(!listens_elsewhere(&topology(5000), &topology(5000), &name));
    }
}
