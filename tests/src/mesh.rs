//! Mesh: three tiers, their origin and a receiver of their events, in this process, on loopback, gone when dropped.
//!
//! `dev` fills `up/*` from the origin, `prod` from `dev`, `spoke` from `prod`, each hop with a credential set of its own. A node's
//! endpoint is a breakable path ([`Node::path`]) which children take and clients do not. Each node gets its slice as text and
//! reads it as it would read one from a control plane.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use node::app::Running;
use runtime::{Clock, Tasks};
use tempfile::TempDir;
use wire::generation::Generation;

use crate::eventually::{BOUND, eventually, eventually_async};
use crate::{Client, FaultProxy, Hook, Origin, canary};

mod builder;
mod topology;

pub use builder::Builder;

/// The nodes of the usual mesh, the hub first.
pub const TIERS: [&str; 3] = ["dev", "prod", "spoke"];

/// A running mesh.
pub struct Mesh {
    pub origin: Origin,
    pub hook: Hook,
    nodes: BTreeMap<String, Node>,
    builder: Builder,
    clock: Clock,
    tasks: Tasks,
    generation: Generation,
    dir: TempDir,
}

/// A node of the mesh, running or not.
pub struct Node {
    pub name: String,
    /// The way by which children reach it.
    pub path: FaultProxy,
    running: Option<Running>,
    data: PathBuf,
}

impl Mesh {
    /// Three tiers with nothing special.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    pub fn node(&self, name: &str) -> &Node {
        self.nodes
            .get(name)
            .unwrap_or_else(|| panic!("no node {name}"))
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Somebody with every repository role on every node.
    pub fn client(&self, node: &str) -> Client {
        Client::new(self.url(node)).with_account("ci", &canary::secret("ci"))
    }

    /// Nobody in particular: a reader at the last tier.
    pub fn anonymous(&self, node: &str) -> Client {
        Client::new(self.url(node))
    }

    /// Where clients reach a node, past its path.
    pub fn url(&self, node: &str) -> String {
        format!("http://{}", self.running(node).address())
    }

    pub fn running(&self, node: &str) -> &Running {
        let running = self.node(node).running.as_ref();
        running.unwrap_or_else(|| panic!("{node} does not run"))
    }

    /// Moves the mesh's time, if it was built with a clock of its own.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Where everything of the mesh lies: a folder per node, and `secrets`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until no node fills anything, however it ends.
    pub async fn filled(&self) {
        eventually("no fill is left", || {
            let running = self.nodes.values().filter(|node| node.running.is_some());
            let left: Vec<(&str, f64)> = running
                .map(|node| (node.name.as_str(), self.fills_in_flight(&node.name)))
                .filter(|(_, fills)| *fills > 0.0)
                .collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }

    fn fills_in_flight(&self, node: &str) -> f64 {
        self.metric(node, "regmesh_fills_in_flight", "")
    }

    /// Waits until no node has anything left to copy.
    pub async fn copied(&self) {
        for node in self.nodes.values().filter(|node| node.running.is_some()) {
            let running = self.running(&node.name);
            let what = format!("{} has copied everything", node.name);
            eventually_async(BOUND, &what, async || match running.copies_to_do().await {
                0 => Ok(()),
                left => Err((left, running.status())),
            })
            .await;
        }
    }

    /// The sum of a metric's samples at a node whose labels contain `labels` (`rule="hub"`).
    pub fn metric(&self, node: &str, name: &str, labels: &str) -> f64 {
        let text = self.running(node).metrics();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let of_name = samples.filter(|line| {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            line[..end] == *name && line.contains(labels)
        });
        of_name
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Ends a node as SIGTERM would; its path refuses.
    pub async fn stop(&mut self, name: &str) {
        let node = self.nodes.get_mut(name).expect("a node of the mesh");
        node.path.refuse().await;
        if let Some(running) = node.running.take() {
            running.drain(Duration::from_secs(2)).await;
        }
    }

    /// Starts it again on the same data.
    pub async fn restart(&mut self, name: &str) {
        self.stop(name).await;
        self.start_node(name).await;
        self.node(name).path.restore().await;
    }

    /// Publishes a changed topology to all nodes: the next generation.
    pub async fn apply(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.builder = change(std::mem::take(&mut self.builder));
        self.generation = Generation(self.generation.0 + 1);
        for node in self.nodes.values() {
            if let Some(running) = &node.running {
                running.apply(self.slice(&node.name)).await;
            }
        }
    }
}

impl Node {
    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }
}
