//! The real binary serving: `regmesh up` or `regmesh node` as a process, known by what it prints when it is ready.
//!
//! A start that ends is an error with everything the process said, because refusing to start is often the right answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use runtime::Clock;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Client;
use crate::eventually::{BOUND, eventually_async};
use crate::process::Process;

/// Hashing everything takes its time on a busy machine.
const VERIFY: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// Where the control plane of an `up` listens: tests run side by side, and its usual addresses are for one of them only.
pub const CONTROL: [&str; 6] = [
    "--api",
    "127.0.0.1:0",
    "--node-service",
    "127.0.0.1:0",
    "--control-admin",
    "127.0.0.1:0",
];

/// A serving process and its nodes. Killed when dropped.
pub struct Regmesh {
    pub process: Process,
    nodes: Vec<Value>,
}

impl Regmesh {
    /// `regmesh up TOPOLOGY --data-dir DATA`, ready.
    pub async fn up(program: &str, topology: &Path, data: &Path, more: &[&str]) -> Result<Self> {
        let mut args = vec![program, "up", text(topology), "--data-dir", text(data)];
        args.extend(CONTROL);
        args.extend(more);
        Self::start(&args).await
    }

    /// `regmesh node --topology TOPOLOGY --name NAME --data-dir DATA`, on the address of its endpoint, ready.
    pub async fn node(
        program: &str,
        topology: &Path,
        name: &str,
        listen: &str,
        data: &Path,
    ) -> Result<Self> {
        let args = ["node", "--topology", text(topology), "--name", name];
        let at = ["--listen", listen, "--admin", "127.0.0.1:0"];
        let data = ["--data-dir", text(data)];
        let all = [&[program][..], &args, &at, &data].concat();
        Self::start(&all).await
    }

    /// Any command line that ends in one that serves; `-o json` is added.
    pub async fn start(command: &[&str]) -> Result<Self> {
        let (program, args) = command.split_first().context("no program")?;
        let args = args.iter().chain(&["-o", "json", "--log", "info"]);
        let mut process = Process::start(&PathBuf::from(program), args, &[])?;
        let clock = Clock::system();
        let end = clock.now() + BOUND;
        loop {
            let said = process.said();
            if let Some(nodes) = said.iter().find_map(|line| announced(line)) {
                return Ok(Self { process, nodes });
            }
            if let Some(status) = process.has_ended() {
                let (_, said) = process.finish(BOUND).await;
                bail!("ended with {status}:\n{}", said.join("\n"));
            }
            if clock.now() > end {
                bail!("not ready within {BOUND:?}:\n{}", said.join("\n"));
            }
            clock.sleep(LOOK).await;
        }
    }

    /// `http://` and where the only node, or the one of that name, listens.
    pub fn url(&self, node: &str) -> String {
        format!("http://{}", self.host(node))
    }

    /// `127.0.0.1:PORT`, as references begin.
    pub fn host(&self, node: &str) -> &str {
        self.field(node, "listen")
    }

    /// A path on its operational listener.
    pub fn admin(&self, node: &str, path: &str) -> String {
        format!("http://{}{path}", self.field(node, "admin"))
    }

    fn field(&self, node: &str, field: &str) -> &str {
        let found = self.nodes.iter().find(|each| each["name"] == node);
        let found = found.and_then(|each| each[field].as_str());
        found.unwrap_or_else(|| panic!("no {field} of {node} in {:?}", self.nodes))
    }

    /// A client without an account.
    pub fn client(&self, node: &str) -> Client {
        Client::new(self.url(node))
    }

    /// `/status` of a node.
    pub async fn status(&self, node: &str) -> Result<Value> {
        let answer = reqwest::get(self.admin(node, "/status")).await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Waits until a node has nothing left to copy.
    pub async fn copied(&self, node: &str) {
        let what = format!("{node} has copied everything");
        eventually_async(BOUND, &what, async || {
            let status = self.status(node).await.map_err(|error| error.to_string())?;
            let copies = &status["copies"];
            if copies["queued"] == 0 && copies["running"] == 0 {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
    }

    /// SIGTERM, and everything it said; it must end well.
    pub async fn end(self) -> Vec<String> {
        self.process.terminate();
        let (status, said) = self.process.finish(BOUND * 2).await;
        assert_eq!(status.code(), Some(0), "{said:#?}");
        said
    }

    /// SIGKILL.
    pub async fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.ended(BOUND).await;
    }
}

/// The exit code of `regmesh verify DATA`, and its words.
pub async fn verify(program: &str, data: &Path) -> (Option<i32>, String) {
    let process = Process::start(Path::new(program), ["verify", text(data)], &[]);
    let (status, said) = process.expect("the program starts").finish(VERIFY).await;
    (status.code(), said.join("\n"))
}

/// What `up` prints once ready, a list of nodes, or `node`: "NAME listens on ADDRESS, operational http://ADDRESS".
fn announced(line: &str) -> Option<Vec<Value>> {
    if let Some((name, addresses)) = line.split_once(" listens on ") {
        let (listen, admin) = addresses.split_once(", operational http://")?;
        return Some(vec![
            json!({"name": name, "listen": listen, "admin": admin}),
        ]);
    }
    serde_json::from_str(line).ok()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the rig are text")
}
