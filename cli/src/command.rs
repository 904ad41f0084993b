//! One file per command. A command reads its flags, does its work through the crates below and prints what came of it.

use std::{
    future::Future,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::Context;
use runtime::{tasks::Tasks, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::{args, exit::Exit, output};

pub mod apply;
pub mod audit;
pub mod cache;
pub mod client_config;
pub mod completion;
pub mod control;
pub mod credential_set;
pub mod demo;
pub mod doctor;
pub mod event;
pub mod explain;
pub mod export;
pub mod identity;
pub mod import;
pub mod login;
pub mod manifest;
pub mod node;
pub mod nodes;
pub mod plan;
pub mod pull;
pub mod recall;
pub mod repository;
pub mod resource;
pub mod role;
pub mod schema;
pub mod status;
pub mod up;
pub mod verify;
pub mod wait;
pub mod webhook;

/// Runs a serving command to its end.
///
/// # Errors
/// What the command says, or that no runtime could be made.
pub fn serve(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let exit = runtime.block_on(command);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}

/// Runs a command that talks to a control plane to its end.
///
/// # Errors
/// What the command says, or that no runtime could be made.
pub fn talk(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(command)
}

/// Asks whether to go on, on a terminal; elsewhere `--yes` must have been said.
///
/// # Errors
/// When nobody agrees.
pub fn agree(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    anyhow::ensure!(
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        "this would {what}; say --yes to do it"
    );
    let asked = dialoguer::Confirm::new().with_prompt(format!("This will {what}. Go on?"));
    anyhow::ensure!(asked.default(false).interact()?, "nothing was done");
    Ok(())
}

/// Reads topology files; a directory stands for its `.yaml` and `.yml` files, in order of name; `-` is standard input.
///
/// # Errors
/// When one cannot be read, or there is none.
pub fn read_files(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            for file in yaml_files(path)? {
                files.push(read_file(&file)?);
            }
        } else {
            files.push(read_file(path)?);
        }
    }
    anyhow::ensure!(
        !files.is_empty(),
        "there is no topology file in {}",
        display(paths)
    );
    Ok(files)
}

fn read_file(path: &Path) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let text = if name == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    Ok((
        name.clone(),
        text.with_context(|| format!("cannot read {name}"))?,
    ))
}

fn yaml_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    files.sort();
    Ok(files)
}

fn display(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|p| p.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Starts logging (and tracing, where an endpoint is set) for a serving command.
///
/// # Errors
/// When the log's filter does not parse.
pub fn log(global: &args::Global) -> anyhow::Result<telemetry::Guard> {
    let config = telemetry::Config {
        filter: global.log.clone(),
        service: "regmesh".to_owned(),
        otlp_endpoint: otlp_endpoint(),
        ..telemetry::Config::default()
    };
    telemetry::init(config).context("cannot start logging")
}

/// Waits for SIGTERM, SIGINT; calls `reload` at each SIGHUP.
///
/// # Errors
/// When signals cannot be waited for.
pub async fn until_ended(global: &args::Global, reload: impl AsyncFn()) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload().await,
        }
    }
    output::words(
        global,
        "ending: finishing transfers; once more to end at once",
    );
    Ok(())
}

/// Finishes what is under way, within `timeout`; a second signal ends at once.
pub async fn drain(
    nodes: Vec<::node::app::Running>,
    tasks: &Tasks,
    timeout: std::time::Duration,
    global: &args::Global,
) {
    let draining = async {
        futures_util::future::join_all(nodes.iter().map(|node| node.drain(timeout))).await;
        tasks.drain(up::LAST_TASKS).await;
    };
    let again = async {
        let (Ok(mut term), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            return std::future::pending().await;
        };
        tokio::select! { _ = term.recv() => (), _ = interrupt.recv() => () }
    };
    tokio::select! {
        () = draining => {}
        () = again => output::words(global, "ended at once"),
    }
}

/// Where traces are sent, if anywhere: `OTEL_EXPORTER_OTLP_ENDPOINT`.
#[must_use]
pub fn otlp_endpoint() -> Option<String> {
    std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT")
        .ok()
        .filter(|endpoint| !endpoint.is_empty())
}
