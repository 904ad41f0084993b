//! Fleet: a control plane and nodes that joined it by tokens, each a process of the real binary, and the CLI that talks to them.
//!
//! `dev` fills `up/*` from the origin, `prod` from `dev`, `spoke` from `prod`; everybody may read. Nodes reach the node service by a
//! breakable [`Fleet::path`], which is what tokens carry. [`Builder::with_identities`] has them speak TLS by their mesh certificates, each
//! rule as a managed identity of its own: no password anywhere. The control plane is a process too ([`Builder::apart`], to be killed) or
//! runs in the test ([`Builder::here`], whose times a test may shorten). Ports are chosen once, so that whoever is restarted is
//! found where it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::eventually::{BOUND, eventually_async};
use crate::process::Process;
use crate::{FaultProxy, Hook, Origin};

mod builder;
mod client;
mod commands;
mod control;
mod topology;

pub use builder::{Builder, reader};
pub use commands::Ran;
use control::Control;
pub use topology::{Topology, Way};

/// The nodes, the hub first.
pub const TIERS: [&str; 3] = ["dev", "prod", "spoke"];

/// What waits after a failure waits less.
const SETTINGS: [&str; 6] = [
    "control-retry=50ms",
    "control-retry-most=300ms",
    "control-connect=2s",
    "resume-pause=10ms",
    "copy-pause=50ms",
    "breaker-probe=200ms",
];

/// A running fleet.
pub struct Fleet {
    pub origin: Origin,
    pub hook: Hook,
    /// The way from the nodes to the node service.
    pub path: FaultProxy,
    /// What was published last, to be changed and applied again.
    pub topology: Topology,
    program: &'static str,
    control: Control,
    nodes: BTreeMap<String, Node>,
    /// The mesh's CA as everybody gets it, where nodes speak TLS.
    authorities: Vec<reqwest::Certificate>,
    dir: TempDir,
}

/// A node, running or not.
struct Node {
    way: Way,
    data: PathBuf,
    /// Of its process.
    environment: Vec<(&'static str, String)>,
    process: Option<Process>,
}

impl Fleet {
    /// Three tiers under a control plane of its own process, all healthy.
    pub async fn start(program: &'static str) -> Self {
        Builder::apart(program).start().await
    }

    /// Where a test may keep something.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A node's data directory.
    pub fn data(&self, node: &str) -> &Path {
        &self.node(node).data
    }

    /// The control plane's data directory.
    pub fn control_data(&self) -> PathBuf {
        self.dir().join("control-plane")
    }

    /// From the next start on a node has this in its environment.
    pub fn environment(&mut self, node: &str, environment: &[(&'static str, String)]) {
        let node = self.nodes.get_mut(node).expect("a node of the fleet");
        node.environment = environment.to_vec();
    }

    /// The process of a running node.
    pub fn pid(&self, node: &str) -> u32 {
        let process = self.node(node).process.as_ref();
        process.expect("it runs").pid()
    }

    /// The URL of a path on a node's operational listener.
    pub fn admin(&self, node: &str, path: &str) -> String {
        format!("http://{}{path}", self.node(node).way.admin())
    }

    fn node(&self, name: &str) -> &Node {
        let node = self.nodes.get(name);
        node.unwrap_or_else(|| panic!("no node {name}"))
    }

    /// What a node said.
    pub fn said(&self, node: &str) -> Vec<String> {
        let process = self.node(node).process.as_ref();
        process.map(Process::said).unwrap_or_default()
    }

    /// Status and text of what an operational listener says; 0 when there is none.
    pub async fn look(&self, url: &str) -> (u16, String) {
        match reqwest::get(url).await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                (status, answer.text().await.unwrap_or_default())
            }
            Err(error) => (0, error.to_string()),
        }
    }

    /// `/status` of a node itself.
    pub async fn own_status(&self, node: &str) -> Result<Value, String> {
        let (status, text) = self.look(&self.admin(node, "/status")).await;
        serde_json::from_str(&text).map_err(|error| format!("{status}: {error}: {text}"))
    }

    /// The first sample of a metric that begins so, at a node.
    pub async fn metric(&self, node: &str, sample: &str) -> Option<f64> {
        let (_, text) = self.look(&self.admin(node, "/metrics")).await;
        let line = text.lines().find(|line| line.starts_with(sample))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until `regmesh_control_connected` of every running node is that.
    pub async fn connected(&self, value: f64) {
        for name in self.running() {
            let what = format!("{name}: regmesh_control_connected {value}");
            eventually_async(BOUND * 2, &what, async || {
                match self.metric(&name, "regmesh_control_connected").await {
                    Some(seen) if seen == value => Ok(()),
                    other => Err((other, self.said(&name))),
                }
            })
            .await;
        }
    }

    fn running(&self) -> Vec<String> {
        let running = self.nodes.iter().filter(|(_, node)| node.process.is_some());
        running.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until a node has nothing left to copy.
    pub async fn copied(&self, node: &str) {
        let what = format!("{node} has copied everything");
        eventually_async(BOUND * 2, &what, async || {
            let status = self.own_status(node).await?;
            let copies = &status["copies"];
            match (&copies["queued"], &copies["running"]) {
                (queued, running) if queued == 0 && running == 0 => Ok(()),
                _ => Err(status.to_string()),
            }
        })
        .await;
    }

    /// Enrols a declared node and starts it, ready or not.
    pub async fn join(&mut self, node: &str) {
        let token = self.token(node).await;
        self.start_node(node, &["--join", &token]);
    }

    /// A join token for a node.
    pub async fn token(&self, node: &str) -> String {
        let ran = self.regmesh(&["node", "join-token", node]).await.well();
        ran.out.trim().to_owned()
    }

    /// Starts a node on its data, with these flags too.
    pub fn start_node(&mut self, name: &str, more: &[&str]) {
        let node = self.nodes.get_mut(name).expect("a node of the fleet");
        let command = node_command(&node.data, &node.way, more);
        let environment = node.environment.iter();
        let environment: Vec<_> = environment
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let process = Process::start(Path::new(self.program), command, &environment);
        node.process = Some(process.expect("the program starts"));
    }

    /// Waits until a running node is ready, at most so long.
    pub async fn ready_within(&mut self, name: &str, bound: Duration) {
        let url = self.admin(name, "/readyz");
        let node = self.nodes.get_mut(name).expect("a node of the fleet");
        let process = node.process.as_mut().expect("it runs");
        let ready = runtime::Clock::system()
            .timeout(bound, process.is_ready_at(&url))
            .await;
        assert!(
            ready.is_ok(),
            "{name} is not ready within {bound:?}: {:#?}",
            process.said()
        );
    }

    /// Waits until a running node is ready.
    pub async fn ready(&mut self, name: &str) {
        self.ready_within(name, BOUND).await;
    }

    /// SIGKILL to a node.
    pub async fn kill(&mut self, name: &str) {
        let node = self.nodes.get_mut(name).expect("a node of the fleet");
        if let Some(mut process) = node.process.take() {
            process.kill().await;
        }
    }

    /// SIGKILL, and a start on the same data without a token; ready when this returns.
    pub async fn restart(&mut self, name: &str) {
        self.kill(name).await;
        self.start_node(name, &[]);
        self.ready(name).await;
    }

    /// Waits for the end of a node's process: its exit code and what it said.
    pub async fn ended(&mut self, name: &str) -> (Option<i32>, String) {
        let node = self.nodes.get_mut(name).expect("a node of the fleet");
        let process = node.process.take().expect("it runs");
        let (status, said) = process.finish(BOUND).await;
        (status.code(), said.join("\n"))
    }

    /// Ends the control plane at once: SIGKILL, if it is a process.
    pub async fn kill_control(&mut self) {
        self.control.kill().await;
    }

    /// Ends the control plane well.
    pub async fn end_control(&mut self) {
        self.control.end().await;
    }

    /// What the control plane said, if it is a process.
    pub fn control_said(&self) -> Vec<String> {
        self.control.said()
    }

    /// Starts it again on its data, at its addresses, in this process and with these times.
    pub async fn start_control_here(&mut self, settings: ::control::config::Settings) {
        self.control.settle(settings);
        self.start_control().await;
    }

    /// Starts it again on its data, at its addresses.
    pub async fn start_control(&mut self) {
        let data = self.control_data();
        self.control.start(self.program, &data).await;
    }

    /// The control plane in this process.
    pub fn control_here(&self) -> &::control::app::Running {
        self.control.here()
    }

    /// `GET /api/v1/status`.
    pub async fn status(&self) -> Value {
        let ran = self.regmesh(&["status", "-o", "json"]).await.well();
        ran.json()
    }

    /// Waits until the control plane says so of a node: `said` looks at its entry of `status`.
    pub async fn until_status(
        &self,
        node: &str,
        what: &str,
        said: impl Fn(&Value) -> bool,
    ) -> Value {
        let what = format!("{node}: {what}");
        eventually_async(BOUND * 2, &what, async || {
            let status = self.status().await;
            let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
            match nodes.into_iter().find(|each| each["name"] == node) {
                Some(seen) if said(&seen) => Ok(seen),
                _ => Err(status),
            }
        })
        .await
    }

    /// Waits until a node is of that health.
    pub async fn until(&self, node: &str, health: &str) -> Value {
        self.until_status(node, health, |seen| seen["health"] == health)
            .await
    }

    /// Publishes `self.topology` and waits until every connected node has it.
    pub async fn apply(&self) -> Ran {
        let file = self.write("mesh.yaml", &self.topology.text());
        self.regmesh(&["apply", &file, "--wait", "-o", "json"])
            .await
    }

    /// Leaves a file in the fleet's directory.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir().join(name);
        fs::write(&path, text).expect("the fleet's directory");
        path.display().to_string()
    }

    /// Puts an image at the origin as `team/NAME:1`; its name at the nodes is what comes back.
    pub fn image(&self, name: &str, seed: u64) -> (String, crate::Image) {
        let image = crate::Image::single(seed).build();
        self.origin.put(&format!("team/{name}"), "1", &image);
        (format!("up/team/{name}"), image)
    }

    /// Pulls `REPOSITORY:1` at a node, all of it hashed, and expects that image.
    pub async fn pulls(&self, node: &str, repository: &str, image: &crate::Image) {
        let pulled = self.client(node).pull(repository, "1", "amd64").await;
        let pulled = pulled.unwrap_or_else(|error| {
            panic!("{node}/{repository}: {error:#}\n{:#?}", self.said(node))
        });
        assert_eq!(pulled.digest, image.digest, "{node}/{repository}");
    }
}

/// The arguments of `regmesh node` for a data directory and addresses.
fn node_command(data: &Path, way: &Way, more: &[&str]) -> Vec<String> {
    let mut command = vec!["node".to_owned(), "--data-dir".to_owned()];
    command.push(data.display().to_string());
    for (flag, value) in [("--listen", way.listen()), ("--admin", way.admin())] {
        command.extend([flag.to_owned(), value]);
    }
    command.extend(SETTINGS.map(|setting| format!("--set={setting}")));
    command.extend(more.iter().map(|flag| (*flag).to_owned()));
    command
}
