//! A control plane and the nodes of a topology in one process: what `up` and `demo` run.
//!
//! The nodes join over loopback with tokens, as they would from other machines, so that everything people do to a mesh works on this
//! one too. What is published starts nodes that are new and drains those that are gone; the others change while they serve.

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use control::{app as control_plane, config};
use futures_util::future::join_all;
use node::{agent, app, settings::Settings};
use runtime::{clock::Clock, file::Real, tasks::Tasks};
use topology::model::Topology;
use wire::{
    api::resource::{Applied, Apply, File},
    name::NodeName,
};

use crate::fault::Code;

/// How a mesh in one process is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// A folder per node below it, one for the control plane, and `admin.token`.
    pub data_dir: PathBuf,
    /// Address of the API; without it the default one, or any where that is taken.
    pub api: Option<SocketAddr>,
    /// Address of the node service; without it the default one, or any where that is taken.
    pub node_service: Option<SocketAddr>,
    /// Address of the control plane's operational listener; without it the default one, or any where that is taken.
    pub operational: Option<SocketAddr>,
    /// How long entries of the audit log are kept.
    pub audit_retention: Duration,
    /// The numbers of every node.
    pub settings: Settings,
}

/// A running mesh.
pub struct Mesh {
    config: Config,
    control: control_plane::Running,
    agents: BTreeMap<NodeName, agent::Agent>,
    clock: Clock,
    tasks: Tasks,
}

/// How long a node that is enrolled waits for what the control plane has, before it starts on what it had.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a node that does not come up is asked why.
const LOOK: Duration = Duration::from_millis(20);
/// How long a node may take to come up.
const START: Duration = Duration::from_secs(120);

impl Mesh {
    /// Starts the control plane, publishes `files` and starts their nodes. They serve when this returns.
    ///
    /// # Errors
    /// When the topology is not valid, or the control plane or a node cannot start.
    pub async fn start(
        config: Config,
        files: &[(String, String)],
        clock: Clock,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let control = start_control(&config, &clock, tasks).await?;
        let mut mesh = Self {
            config,
            control,
            agents: BTreeMap::new(),
            clock,
            tasks: tasks.clone(),
        };
        mesh.apply(files).await?;
        Ok(mesh)
    }

    /// Publishes `files` as the whole topology: new nodes start, nodes that are gone end.
    ///
    /// # Errors
    /// When it is not published, and then nothing changed; or when a new node cannot start.
    pub async fn apply(&mut self, files: &[(String, String)]) -> anyhow::Result<Applied> {
        let files = files.iter().map(|(name, text)| File {
            name: name.clone(),
            text: text.clone(),
        });
        // The files were named by whoever runs this process: they may take everything away.
        let apply = Apply {
            files: files.collect(),
            dry_run: false,
            prune: true,
        };
        let applied = self.control.publisher().apply(&apply, "up", None).await?;
        self.follow().await?;
        Ok(applied)
    }

    /// Makes the running nodes those of the topology in force.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let topology = self.topology();
        let declared: Vec<NodeName> = topology.nodes.keys().cloned().collect();
        let gone: Vec<NodeName> = self
            .agents
            .keys()
            .filter(|name| !declared.contains(name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(agent) = self.agents.remove(&name) {
                agent.drain(Duration::from_secs(10)).await;
            }
        }
        for name in declared {
            if !self.agents.contains_key(&name) {
                let agent = self.join(&name).await?;
                self.agents.insert(name, agent);
            }
        }
        let serving = join_all(self.agents.keys().map(|name| self.until_serving(name))).await;
        serving.into_iter().collect()
    }

    async fn join(&self, name: &NodeName) -> anyhow::Result<agent::Agent> {
        let token = self
            .control
            .enrol()
            .join_token(name, Duration::ZERO, 1, "up")
            .await?;
        let config = agent::Config {
            data_dir: self.config.data_dir.join(name.as_str()),
            join: Some(agent::Join::Token(token.token.parse()?)),
            listen: None,
            admin: None,
            defaults: app::Defaults::Up,
            patience: PATIENCE,
            settings: self.config.settings.clone(),
        };
        let started = config.start(Arc::new(Real), self.clock.clone(), &self.tasks);
        started
            .await
            .with_context(|| Code::CannotStart.says(format!("node {name} cannot start")))
    }

    /// Waits until a node serves; a slice that it cannot start on is the reason why it does not.
    async fn until_serving(&self, name: &NodeName) -> anyhow::Result<()> {
        let Some(agent) = self.agents.get(name) else {
            return Ok(());
        };
        let refused = async {
            loop {
                if let Some(why) = self.refusal(name) {
                    return why;
                }
                self.clock.sleep(LOOK).await;
            }
        };
        tokio::select! {
            _ = agent.until_running() => Ok(()),
            why = refused => anyhow::bail!(Code::CannotStart.says(format!("node {name} cannot start: {why}"))),
            end = agent.ended() => anyhow::bail!(Code::CannotStart.says(format!("node {name} cannot start: {end:?}"))),
            () = self.clock.sleep(START) => anyhow::bail!(Code::CannotStart.says(format!("node {name} does not come up within {START:?}"))),
        }
    }

    fn refusal(&self, name: &NodeName) -> Option<String> {
        let status = self.control.status();
        let node = status.nodes.into_iter().find(|node| node.name == *name)?;
        let problems = node.refused?.problems.into_iter();
        Some(
            problems
                .map(|problem| problem.message)
                .collect::<Vec<_>>()
                .join("; "),
        )
    }

    /// The control plane.
    #[must_use]
    pub fn control(&self) -> &control_plane::Running {
        &self.control
    }

    /// The topology in force.
    ///
    /// # Panics
    /// Never: a mesh begins with one.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        let current = self.control.publisher().current();
        Arc::clone(
            current
                .topology
                .as_ref()
                .expect("a mesh begins with a topology"),
        )
    }

    /// The nodes that serve, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<app::Running>> {
        self.agents
            .values()
            .filter_map(agent::Agent::running)
            .collect()
    }

    /// A node that serves.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Arc<app::Running>> {
        let agent = self.agents.iter().find(|(node, _)| node.as_str() == name);
        agent.and_then(|(_, agent)| agent.running())
    }

    /// Ends when a node was asked to drain, or may not go on: which, and why.
    pub async fn ended(&self) -> (NodeName, agent::End) {
        let ends = self
            .agents
            .iter()
            .map(|(name, agent)| Box::pin(async move { (name.clone(), agent.ended().await) }));
        let ends: Vec<_> = ends.collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(ends).await.0
    }

    /// Ends one node well, and goes on without it.
    pub async fn end(&mut self, name: &NodeName, timeout: Duration) {
        if let Some(agent) = self.agents.remove(name) {
            agent.drain(timeout).await;
        }
    }

    /// Ends the nodes, then the control plane that heard of it.
    pub async fn drain(&self, timeout: Duration) {
        join_all(self.agents.values().map(|agent| agent.drain(timeout))).await;
        self.control.drain(timeout).await;
    }
}

/// Starts the control plane; where a default address is taken by somebody else, on any port instead.
async fn start_control(
    config: &Config,
    clock: &Clock,
    tasks: &Tasks,
) -> anyhow::Result<control_plane::Running> {
    let [api, node_service, operational] = [
        (config.api, config::API),
        (config.node_service, config::NODE_SERVICE),
        (config.operational, config::OPERATIONAL),
    ]
    .map(|(named, default)| match named {
        Some(named) => Ok((named, true)),
        None => default.parse().map(|default: SocketAddr| (default, false)),
    });
    let mut addresses = [api?, node_service?, operational?];
    loop {
        let of_control = config::Config {
            data_dir: config.data_dir.clone(),
            api: addresses[0].0,
            node_service: addresses[1].0,
            operational: addresses[2].0,
            advertise: None,
            store: None,
            seal_key: None,
            tls: None,
            settings: config::Settings {
                audit: config.audit_retention,
                ..config::Settings::default()
            },
        };
        let error = match control_plane::start(of_control, clock.clone(), tasks).await {
            Ok(running) => return Ok(running),
            Err(error) => error,
        };
        let mut taken = None;
        if let control_plane::Error::Listen { address, source } = &error
            && source.kind() == io::ErrorKind::AddrInUse
        {
            let mut all = addresses.iter_mut();
            taken = all.find(|(tried, named)| tried == address && !named && tried.port() != 0);
        }
        let Some((address, _)) = taken else {
            return Err(anyhow::Error::new(error)
                .context(Code::CannotStart.says("the control plane cannot start")));
        };
        address.set_port(0);
    }
}
