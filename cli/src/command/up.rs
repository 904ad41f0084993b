//! `regmesh up FILE`: the control plane and every node of a topology in one process.
//!
//! The files are what the mesh should be: they are applied at the start, and again at SIGHUP; files that are not valid change nothing.
//! In between, everything that talks to a control plane works on this one.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use node::settings::Settings;
use runtime::{clock::Clock, tasks::Tasks};
use serde::Serialize;
use topology::{Loaded, model::Topology};
use wire::name::NodeName;

use crate::{
    args::{self, Format},
    command,
    exit::Exit,
    fault::Code,
    login,
    mesh::{self, Mesh},
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
/// When the topology is not valid, or the control plane or a node cannot start.
pub async fn run(up: args::Up, global: args::Global) -> anyhow::Result<Exit> {
    let _log = command::log(&global)?;
    let files = command::read_files(&up.files)?;
    check(&files, &global)?;
    let (clock, tasks) = (Clock::system(), Tasks::new("regmesh"));
    let config = mesh::Config {
        data_dir: up.data_dir.clone(),
        api: up.api,
        node_service: up.node_service,
        operational: up.control_admin,
        audit_retention: up.audit_retention,
        settings: settings(&up.serve)?,
    };
    let mut mesh = Mesh::start(config, &files, clock, &tasks).await?;
    let address = Address::leave(&up.data_dir, &format!("http://{}", mesh.control().api()))?;
    announce(&mesh, &up, &global)?;
    let mut signals = command::Signals::new()?;
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            (node, end) = mesh.ended() => {
                output::words(&global, &format!("node {node} ends: {}", command::node::told(&end)));
                mesh.end(&node, up.serve.drain_timeout).await;
                continue;
            }
        };
        match signal {
            command::Signal::End => break,
            command::Signal::Reload => reload(&mut mesh, &up.files, &global).await,
        }
    }
    output::words(&global, command::ENDING);
    command::drain(mesh.drain(up.serve.drain_timeout), &tasks, &global).await;
    drop(address);
    Ok(Exit::Ok)
}

/// Checks files and prints what is wrong or unwise.
///
/// # Errors
/// When they are not a valid topology.
pub fn check(files: &[(String, String)], global: &args::Global) -> anyhow::Result<Loaded> {
    match topology::load(files) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::words(global, &warning.render(output::is_lively(global)));
            }
            Ok(loaded)
        }
        Err(problems) => {
            for problem in &problems {
                output::complain(&problem.render(output::is_lively(global)));
            }
            anyhow::bail!(Code::InvalidTopology.says(format!(
                "the topology is not valid: {}",
                output::count(problems.iter().filter(|p| p.is_error()).count(), "problem")
            )))
        }
    }
}

async fn reload(mesh: &mut Mesh, paths: &[PathBuf], global: &args::Global) {
    let applied = async {
        let files = command::read_files(paths)?;
        check(&files, global)?;
        mesh.apply(&files).await
    };
    match applied.await {
        Ok(applied) if applied.published => {
            let text = format!("generation {} is in force", applied.generation);
            output::words(global, &text);
        }
        Ok(applied) => {
            let text = format!(
                "nothing has changed; generation {} stays",
                applied.generation
            );
            output::words(global, &text);
        }
        Err(error) => output::words(global, &format!("the files are not in force: {error:#}")),
    }
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

fn announce(mesh: &Mesh, up: &args::Up, global: &args::Global) -> anyhow::Result<()> {
    let topology = mesh.topology();
    let nodes = mesh.nodes();
    let order = depth_first(&topology);
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_by_key(|node| order.iter().position(|name| name == node.name()));
    let started: Vec<Started> = nodes
        .into_iter()
        .map(|node| Started {
            name: node.name().to_string(),
            tier: topology.tier(node.name()),
            endpoint: node.endpoint(),
            listen: node.address().to_string(),
            admin: node.admin().to_string(),
        })
        .collect();
    let control = format!(
        "control plane at http://{}, its token in {}",
        mesh.control().api(),
        up.data_dir
            .join(control::sign_in::admin_token::FILE)
            .display()
    );
    output::words(global, &control);
    match global.output {
        Format::Json => output::data(&serde_json::to_string(&started)?),
        Format::Table | Format::Yaml => {
            output::object(global, &started, || {
                started.iter().map(line).collect::<Vec<_>>().join("\n")
            })?;
            output::words(
                global,
                "ready; end with Ctrl-C, read the topology again with SIGHUP, look with `regmesh status`",
            );
        }
    }
    Ok(())
}

/// The nodes of a topology, each parent before its children.
fn depth_first(topology: &Topology) -> Vec<NodeName> {
    let children = |parent: Option<&NodeName>| {
        let all = topology.nodes.values();
        let of_parent = all.filter(|node| node.parent.as_ref() == parent);
        of_parent.map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    let mut order = Vec::new();
    let mut open = children(None);
    open.reverse();
    while let Some(name) = open.pop() {
        let mut below = children(Some(&name));
        below.reverse();
        open.extend(below);
        order.push(name);
    }
    order
}

fn line(node: &Started) -> String {
    let indent = "  ".repeat(usize::from(node.tier.saturating_sub(1)));
    format!(
        "{indent}{}  {}  (listens on {}, operational http://{})",
        node.name, node.endpoint, node.listen, node.admin
    )
}

/// The control plane's address, in a file beside its token for as long as it runs.
#[derive(Debug)]
pub struct Address(PathBuf);

impl Address {
    /// Leaves it in `data_dir`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn leave(data_dir: &std::path::Path, address: &str) -> anyhow::Result<Self> {
        let path = data_dir.join(login::ADDRESS_FILE);
        std::fs::write(&path, format!("{address}\n")).with_context(|| {
            Code::FileUnwritable.says(format!("cannot write {}", path.display()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // Left behind it only misleads until the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How long idle reconcilers may take to end after the nodes were drained.
pub const LAST_TASKS: Duration = Duration::from_secs(2);
