//! `regmesh control`: the control plane alone. Nodes join it with tokens.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand};
use control::{
    app,
    config::{API, Config, NODE_SERVICE, OPERATIONAL, Settings},
};
use runtime::{clock::Clock, tasks::Tasks};
use wire::api::resource::{Apply, File};

use http::Method;

use crate::{
    args::Global,
    client::{Client, NOTHING},
    command,
    exit::Exit,
    fault::Code,
    output,
};

/// `regmesh control`
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Control {
    /// What to do with a control plane that runs, instead of running one
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Where it keeps `admin.token` and, below `control/`, everything else
    #[arg(long, default_value = ".regmesh", env = "REGMESH_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address of the API
    #[arg(long, default_value = API, value_name = "HOST:PORT")]
    pub api: SocketAddr,
    /// Address of the node service
    #[arg(long, default_value = NODE_SERVICE, value_name = "HOST:PORT")]
    pub node_service: SocketAddr,
    /// Address of the operational listener
    #[arg(long, default_value = OPERATIONAL, value_name = "HOST:PORT")]
    pub admin: SocketAddr,
    /// Where nodes reach the node service, for join tokens; where it listens without
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// A PostgreSQL (`postgres://…`) that several control planes may share; SQLite in the data directory without
    #[arg(
        long,
        env = "REGMESH_STORE",
        value_name = "URL",
        hide_env_values = true
    )]
    pub store: Option<String>,
    /// The key that keys in the store are sealed with, shared by control planes over one store; made in the data directory without
    #[arg(long, value_name = "FILE")]
    pub seal_key: Option<PathBuf>,
    /// Certificate of the API
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A topology to apply at the first start (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub topology: Vec<PathBuf>,
    /// How long entries of the audit log are kept; a day at least
    #[arg(long, default_value = "400d", value_parser = crate::args::retention, value_name = "DURATION")]
    pub audit_retention: Duration,
    /// How long requests may go on after SIGTERM
    #[arg(long, default_value = "10s", value_parser = crate::args::duration, value_name = "DURATION")]
    pub drain_timeout: Duration,
}

/// What to do with a control plane that runs.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// After a restore from an older backup: publish what is in force under a number above every one that nodes have seen
    Recover(Recover),
}

/// `regmesh control recover`
#[derive(Debug, Clone, Args)]
pub struct Recover {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Does it, on the control plane that flags and environment name.
///
/// # Errors
/// When nobody agrees, or the control plane cannot be asked or refuses.
pub async fn act(action: Action, global: &Global) -> anyhow::Result<Exit> {
    let Action::Recover(recover) = action;
    command::agree(
        recover.yes,
        "put what this control plane has in force on every node, also on those that have newer rules",
    )?;
    let client = Client::new(global)?;
    let done: serde_json::Value = client
        .send(
            Method::POST,
            "/api/v1/recover",
            NOTHING,
            &serde_json::json!({}),
        )
        .await?;
    output::object(global, &done, || {
        format!("generation {} is published", done["generation"])
    })?;
    Ok(Exit::Ok)
}

/// Runs until a signal ends it.
///
/// # Errors
/// When it cannot start, or the topology for the first start is not valid.
pub async fn run(args: Control, global: Global) -> anyhow::Result<Exit> {
    let _log = command::log(&global)?;
    let (clock, tasks) = (Clock::system(), Tasks::new("regmesh"));
    let scheme = if args.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let config = Config {
        data_dir: args.data_dir.clone(),
        api: args.api,
        node_service: args.node_service,
        operational: args.admin,
        advertise: args.advertise,
        store: args.store,
        seal_key: args.seal_key,
        tls: args.tls_cert.zip(args.tls_key),
        settings: Settings {
            audit: args.audit_retention,
            ..Settings::default()
        },
    };
    let running = app::start(config, clock, &tasks)
        .await
        .context(Code::CannotStart.says("the control plane cannot start"))?;
    first(&running, &args.topology, &global).await?;
    let token = args.data_dir.join(control::sign_in::admin_token::FILE);
    output::words(
        &global,
        &format!(
            "API {scheme}://{}, node service {}, operational http://{}; the admin token is in {}",
            running.api(),
            running.node_service(),
            running.operational(),
            token.display()
        ),
    );
    let address =
        command::up::Address::leave(&args.data_dir, &format!("{scheme}://{}", running.api()))?;
    command::until_ended(&global).await?;
    command::drain(running.drain(args.drain_timeout), &tasks, &global).await;
    drop(address);
    Ok(Exit::Ok)
}

/// Applies a topology where nothing was applied yet.
async fn first(running: &app::Running, paths: &[PathBuf], global: &Global) -> anyhow::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    if running.publisher().current().topology.is_some() {
        output::words(
            global,
            "a topology is in force; --topology is for the first start",
        );
        return Ok(());
    }
    let files = command::read_files(paths)?.into_iter();
    let apply = Apply {
        files: files.map(|(name, text)| File { name, text }).collect(),
        dry_run: false,
        prune: false,
    };
    let applied = running.publisher().apply(&apply, "control", None).await;
    if let Err(control::publish::Error::Invalid(problems)) = &applied {
        for problem in problems {
            output::complain(&problem.render(false));
        }
    }
    let applied = applied.context(Code::InvalidTopology.says("the topology is not applied"))?;
    output::words(
        global,
        &format!("applied generation {}", applied.generation),
    );
    Ok(())
}
