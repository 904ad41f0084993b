//! One file per command. A command reads its flags, does its work through the crates below and prints what came of it.

use std::{
    future::Future,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::Context;
use runtime::{tasks::Tasks, telemetry};
use tokio::signal::unix::{self, SignalKind, signal};

use crate::{
    args,
    exit::{Exit, Wrong},
    fault::Code,
    output,
};

pub mod apply;
pub mod audit;
pub mod cache;
pub mod client_config;
pub mod completion;
pub mod control;
pub mod credential_provider;
pub mod credential_set;
pub mod demo;
pub mod doctor;
pub mod event;
pub mod explain;
pub mod export;
pub mod identity;
pub mod import;
pub mod keys;
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
    // Without it, fewer connections are served; that is no reason not to start.
    let _ = runtime::open_files::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(Code::CannotStart.says("cannot start the runtime"))?;
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
        .context(Code::CannotStart.says("cannot start the runtime"))?;
    runtime.block_on(command)
}

/// What a command takes away, and whether that was agreed to before. Every command that takes something away has its arguments in here:
/// what is deleted, removed, revoked or drained was needed by somebody.
#[derive(Debug, Clone, clap::Args)]
pub struct Certain<T: clap::Args> {
    /// What it is about.
    #[command(flatten)]
    pub it: T,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

impl<T: clap::Args> Certain<T> {
    /// What it is about, once somebody agrees to `what`.
    ///
    /// # Errors
    /// When nobody agrees.
    pub fn agreed(self, what: impl FnOnce(&T) -> String) -> anyhow::Result<T> {
        agree(self.yes, &what(&self.it))?;
        Ok(self.it)
    }

    /// The same for what is declared, which can be declared again: asks on a terminal, and goes on where nobody can be asked.
    ///
    /// # Errors
    /// When somebody was asked and does not agree.
    pub fn not_denied(self, what: impl FnOnce(&T) -> String) -> anyhow::Result<T> {
        agree(self.yes || !can_ask(), &what(&self.it))?;
        Ok(self.it)
    }
}

/// Asks whether to go on, on a terminal; elsewhere `--yes` must have been said.
///
/// # Errors
/// When nobody agrees.
pub fn agree(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        return Err(Wrong(format!("this would {what}; say --yes to do it")).into());
    }
    let asked = dialoguer::Confirm::new().with_prompt(format!("This will {what}. Go on?"));
    anyhow::ensure!(
        asked.default(false).interact()?,
        Code::NotAgreed.says("nothing was done")
    );
    Ok(())
}

fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
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
        Code::FileUnreadable.says(format!("there is no topology file in {}", display(paths)))
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
        text.with_context(|| Code::FileUnreadable.says(format!("cannot read {name}")))?,
    ))
}

fn yaml_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| {
        Code::FileUnreadable.says(format!("cannot read {}", directory.display()))
    })?;
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
    telemetry::init(config).context(Code::CannotStart.says("cannot start logging"))
}

/// What people say to a serving command while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: end well.
    End,
    /// SIGHUP: read the files again.
    Reload,
}

/// What is said when a serving command begins to end.
pub const ENDING: &str = "ending: finishing transfers; once more to end at once";

/// The signals of this process.
pub struct Signals {
    term: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Takes them from here on.
    ///
    /// # Errors
    /// When signals cannot be waited for.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

/// Waits for SIGTERM or SIGINT, and says that it came.
///
/// # Errors
/// When signals cannot be waited for.
pub async fn until_ended(global: &args::Global) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    while signals.next().await != Signal::End {}
    output::words(global, ENDING);
    Ok(())
}

/// Carries out `draining`, then ends what is left of `tasks`; a second signal ends at once.
pub async fn drain(draining: impl Future<Output = ()>, tasks: &Tasks, global: &args::Global) {
    let draining = async {
        draining.await;
        tasks.drain(up::LAST_TASKS).await;
    };
    let again = async {
        let Ok(mut signals) = Signals::new() else {
            return std::future::pending().await;
        };
        while signals.next().await != Signal::End {}
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
