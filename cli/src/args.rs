//! The commands and their flags, as `spec/operations.md` names them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use identity::certificate::Pin;

use crate::{
    command::{
        apply::Apply, audit::Audit, cache::Cache, credential_provider::CredentialProvider,
        credential_set::CredentialSet, doctor::Doctor, event::Event, explain::Explain,
        identity::Identity, import::Import, keys::Keys, login::SignIn, manifest::Manifest,
        nodes::Nodes, pull::Pull, recall::Recall, repository::Repository, role::Role,
        status::Status, wait::Wait, webhook::Webhook,
    },
    fault::Code,
};

/// A self-hosted mesh of OCI registries that fill themselves from upstreams.
#[derive(Debug, Parser)]
#[command(
    name = "regmesh",
    version,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Args {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Flags)]
pub struct Global {
    /// How to print data
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Table, global = true)]
    pub output: Format,
    /// Print no words, only data and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Where the control plane is (default: http://127.0.0.1:7080, or where `regmesh up` here says it is)
    #[arg(
        long,
        env = "REGMESH_CONTROL",
        value_name = "URL",
        global = true,
        help_heading = "Control plane"
    )]
    pub control: Option<String>,
    /// A file with the token for it (default: .regmesh/admin.token, else the login)
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        help_heading = "Control plane"
    )]
    pub token_file: Option<PathBuf>,
    /// The token itself comes from the environment alone: arguments are seen by everybody on the machine.
    #[arg(skip = std::env::var("REGMESH_TOKEN").ok().filter(|token| !token.is_empty()))]
    pub token: Option<String>,
    /// PEM certificates trusted beside the platform's, for a control plane with its own CA
    #[arg(
        long,
        env = "REGMESH_CA",
        value_name = "FILE",
        global = true,
        help_heading = "Control plane"
    )]
    pub ca: Option<PathBuf>,
    /// What to log: a level, or directives such as `info,node=debug`
    #[arg(long, env = "REGMESH_LOG", default_value = "info", global = true)]
    pub log: String,
}

impl Global {
    /// The certificates of `--ca`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| {
                Code::FileUnreadable.says(format!("cannot read {}", path.display()))
            })
        };
        self.ca.as_ref().map(read).transpose()
    }
}

impl std::fmt::Debug for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Global");
        shown
            .field("output", &self.output)
            .field("quiet", &self.quiet);
        shown
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For machines; stable.
    Json,
    /// For machines and people.
    Yaml,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a mesh of three tiers at work, on this machine, with nothing else needed
    Demo(Demo),
    /// Run the control plane and every node of a topology in one process
    Up(Up),
    /// Run the control plane
    Control(crate::command::control::Control),
    /// Run one node, or look after the nodes of a mesh
    Node(Node),
    /// Check a topology, and show what it would change
    Plan(Plan),
    /// Publish a topology as the next generation
    Apply(Apply),
    /// Print the topology in force, or what else others need of the mesh
    Export(Export),
    /// Print the JSON Schema of the topology document
    Schema,
    /// Show the tree of nodes: health, generation, rules, hit ratio, fills, storage
    Status(Status),
    /// Say what a pull would do, tier by tier, without doing it
    Explain(Explain),
    /// Check nodes, tree and this machine's clients
    Doctor(Doctor),
    /// Have a node fill and copy an image, without a client
    Pull(Pull),
    /// End when enough nodes hold an image
    Wait(Wait),
    /// Cache rules
    #[command(subcommand)]
    Cache(Cache),
    /// Credential sets
    #[command(subcommand)]
    CredentialSet(CredentialSet),
    /// Identities of rules
    #[command(subcommand)]
    Identity(Identity),
    /// Role assignments
    #[command(subcommand)]
    Role(Role),
    /// Webhooks
    #[command(subcommand)]
    Webhook(Webhook),
    /// Repositories that nodes hold
    #[command(subcommand)]
    Repository(Repository),
    /// Manifests that nodes hold
    #[command(subcommand)]
    Manifest(Manifest),
    /// What happened in the mesh
    #[command(subcommand)]
    Event(Event),
    /// Who changed what
    #[command(subcommand)]
    Audit(Audit),
    /// Have every node refuse a digest, and what contains it
    Recall(Recall),
    /// Sign in to the control plane and keep the login
    Login(SignIn),
    /// Forget the kept login
    Logout,
    /// Print the token that commands use here, for other programs
    Token,
    /// The mesh's keys
    #[command(subcommand)]
    Keys(Keys),
    /// Print another system's rules as a topology
    Import(Import),
    /// Check everything that a data directory holds
    Verify(Verify),
    /// Print or write a client's configuration for pulling through a node
    ClientConfig(ClientConfig),
    /// Answer a kubelet that asks for an image's credentials
    CredentialProvider(CredentialProvider),
    /// Print a completion script
    Completion(Completion),
}

/// `regmesh demo`
#[derive(Debug, Clone, Flags)]
pub struct Demo {
    /// End by itself when everything was shown
    #[arg(long)]
    pub once: bool,
    /// Where the nodes listen: this port and the two above it (0 for any that are free)
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// `regmesh up FILE`
#[derive(Debug, Clone, Flags)]
pub struct Up {
    /// Topology files; several are merged
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where everything is kept: a folder for each node and one for the control plane
    #[arg(long, default_value = ".regmesh", env = "REGMESH_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address of the control plane's API (default: 127.0.0.1:7080, or any port where that is taken)
    #[arg(long, value_name = "HOST:PORT")]
    pub api: Option<SocketAddr>,
    /// Address of the node service (default: 127.0.0.1:7443, or any port where that is taken)
    #[arg(long, value_name = "HOST:PORT")]
    pub node_service: Option<SocketAddr>,
    /// Address of the control plane's operational listener (default: 127.0.0.1:7081, or any port where that is taken)
    #[arg(long, value_name = "HOST:PORT")]
    pub control_admin: Option<SocketAddr>,
    /// How long entries of the audit log are kept; a day at least
    #[arg(long, default_value = "400d", value_parser = retention, value_name = "DURATION")]
    pub audit_retention: Duration,
    /// Flags of every serving command
    #[command(flatten)]
    pub serve: Serve,
}

/// `regmesh node`
#[derive(Debug, Clone, Flags)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Node {
    /// What to do with the nodes of a mesh, instead of running one
    #[command(subcommand)]
    pub action: Option<Nodes>,
    /// Join a mesh with this token, of `regmesh node join-token`; needed at the first start only
    #[arg(
        long,
        env = "REGMESH_JOIN_TOKEN",
        value_name = "TOKEN",
        alias = "join-token",
        hide_env_values = true
    )]
    pub join: Option<String>,
    /// A file with the token
    #[arg(long, value_name = "FILE", conflicts_with = "join")]
    pub join_file: Option<PathBuf>,
    /// Join a mesh with the OIDC token of a declared issuer in this file, read again at each attempt; needed at the first start only
    #[arg(
        long,
        env = "REGMESH_OIDC_TOKEN_FILE",
        value_name = "FILE",
        group = "named",
        conflicts_with_all = ["join", "join_file"],
        requires_all = ["control_address", "ca_pin", "name"]
    )]
    pub oidc_token_file: Option<PathBuf>,
    /// With --oidc-token-file: where the node service of the control plane is
    #[arg(
        long,
        env = "REGMESH_CONTROL_ADDRESS",
        value_name = "HOST:PORT",
        value_parser = address
    )]
    pub control_address: Option<String>,
    /// With --oidc-token-file: the SHA-256 of the public key of the mesh's CA, as `sha256:` and hex
    #[arg(long, env = "REGMESH_CA_PIN", value_name = "PIN")]
    pub ca_pin: Option<Pin>,
    /// Run without a control plane, from this topology file (may be repeated)
    #[arg(
        long,
        value_name = "FILE",
        group = "named",
        conflicts_with_all = ["join", "join_file", "oidc_token_file"],
        requires = "name"
    )]
    pub topology: Vec<PathBuf>,
    /// With --topology or --oidc-token-file: which node this is
    #[arg(long, value_name = "NODE", requires = "named")]
    pub name: Option<String>,
    /// Where it keeps its data
    #[arg(long, default_value = ".regmesh", env = "REGMESH_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address to bind, whatever the topology says
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Address of the operational listener, whatever the topology says
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Flags of every serving command
    #[command(flatten)]
    pub serve: Serve,
}

/// Flags of every serving command.
#[derive(Debug, Clone, Flags)]
pub struct Serve {
    /// How long transfers may go on after SIGTERM
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub drain_timeout: Duration,
    /// Bytes of the memory cache of each node
    #[arg(long, default_value = "256MiB", value_parser = size, value_name = "SIZE")]
    pub memory_cache: u64,
    /// Names and values for tests and tuning, for example `tag-check=500ms`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
}

/// `regmesh plan FILE…`
#[derive(Debug, Clone, Flags)]
pub struct Plan {
    /// Topology files; several are merged
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Ask no control plane: check, and compare with nothing or with --from
    #[arg(long)]
    pub offline: bool,
    /// With `--offline`: the topology in force, to show what would change from it
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub from: Vec<PathBuf>,
    /// Exit 2 when there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `regmesh verify DATA_DIR`
#[derive(Debug, Clone, Flags)]
pub struct Verify {
    /// A node's data directory, or one that holds several
    pub data_dir: PathBuf,
}

/// `regmesh export`
#[derive(Debug, Clone, Flags)]
pub struct Export {
    /// What to print instead of the topology
    #[command(subcommand)]
    pub what: Option<Exported>,
}

/// What is exported beside the topology.
#[derive(Debug, Clone, Subcommand)]
pub enum Exported {
    /// The mesh's CA certificates as PEM, for clients of nodes that serve their mesh certificate
    Ca,
    /// The issuer's discovery document and public keys, as files of a static host
    Issuer {
        /// The folder that is served at the issuer's URL; made when there is none
        dir: PathBuf,
    },
}

/// `regmesh client-config CLIENT NODE`
#[derive(Debug, Clone, Flags)]
pub struct ClientConfig {
    /// Whose configuration
    #[arg(value_enum)]
    pub client: Client,
    /// The node to pull through
    pub node: String,
    /// The topology that declares it (may be repeated); default: the control plane's
    #[arg(long, value_name = "FILE")]
    pub topology: Vec<PathBuf>,
    /// Write the files below this directory (`/` for this machine) instead of printing them; what is there is kept as a backup
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// A client we write configuration for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// `hosts.toml`
    Containerd,
    /// `registries.conf.d`
    Crio,
    /// `registries.conf.d`
    Podman,
    /// `daemon.json`
    Docker,
}

/// `regmesh completion SHELL`
#[derive(Debug, Clone, Flags)]
pub struct Completion {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    topology::value::duration(text)
        .ok_or_else(|| "a duration is written like 500ms, 30s, 5m, 2h or 7d".to_owned())
}

pub(crate) fn retention(text: &str) -> Result<Duration, String> {
    let shortest = control::audit::SHORTEST;
    let enough = |retention: &Duration| *retention >= shortest;
    let retention = Some(duration(text)?).filter(enough);
    retention.ok_or_else(|| "it is a day (1d) at least".to_owned())
}

fn address(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok());
    match parts.filter(|(host, _)| !host.is_empty()) {
        Some(_) if port.is_some_and(|port| port > 0) => Ok(text.to_owned()),
        _ => Err("it is written like control.example:7443".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    topology::value::size(text).ok_or_else(|| "a size is written like 512MiB or 10GB".to_owned())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    let checked = node::settings::Settings::default().set(name, value);
    checked.map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        super::Args::command().debug_assert();
    }

    /// What takes something away, by its name.
    const TAKES_AWAY: [&str; 5] = ["delete", "remove", "revoke", "drain", "recover"];

    fn without_yes(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let mut flags = command.get_arguments().filter_map(|it| it.get_long());
        if TAKES_AWAY.contains(&command.get_name()) && !flags.any(|flag| flag == "yes") {
            found.push(path.clone());
        }
        for each in command.get_subcommands() {
            without_yes(each, &path, found);
        }
    }

    #[test]
    fn whatever_takes_something_away_asks() {
        let mut found = Vec::new();
        without_yes(&super::Args::command(), "", &mut found);
        assert_eq!(found, [""; 0]);
    }
}
