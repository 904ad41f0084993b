//! The control plane as a process, its API, and the crowd that has joined it.
//!
//! One node in a hundred is a hub, the others are its children. A rule is in force on all nodes, and each has one of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use runtime::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use wire::generation::Generation;

use crate::bench::usage::Meter;
use crate::bench::world::World;
use crate::eventually::within;
use crate::process::{Process, free_port};
use crate::{Client, Crowd, crowd};

/// The rule that is in force on all nodes.
pub(super) const ALL: &str = "all";
/// Requests for join tokens at a time.
const ASKING: usize = 16;
/// How many members of a large crowd check signatures: the others' processors are not here.
const CHECKS: usize = 50;
/// How long anything may take before the row fails.
const LONG: Duration = Duration::from_secs(240);
/// Rules in each report.
const RULES: usize = 10;

pub(super) struct Fleet {
    pub(super) crowd: Crowd,
    pub(super) nodes: usize,
    api: Client,
    process: Process,
    start: Start,
    clock: Clock,
    dir: TempDir,
}

/// How the control plane is started, again on the same addresses.
struct Start {
    program: PathBuf,
    ports: [u16; 3],
}

impl Fleet {
    /// Ends when every node is connected, current and has reported.
    pub(super) async fn start(world: &World, program: &Path, nodes: usize) -> Result<Self> {
        runtime::open_files::raise()?;
        let dir = world.fresh()?;
        let start = Start {
            program: program.to_owned(),
            ports: [free_port(), free_port(), free_port()],
        };
        let process = start.control(dir.path()).await?;
        let token = std::fs::read_to_string(dir.path().join("data/admin.token"))?;
        let api = Client::new(format!("http://127.0.0.1:{}", start.ports[0]))
            .with_header("authorization", &format!("Bearer {}", token.trim()));
        let generation = apply(&api, &topology(nodes, 0)).await?;
        let tokens = tokens(&api, nodes).await?;
        let config = crowd::Config {
            checks: if nodes > CHECKS { CHECKS } else { 1 },
            rules: RULES,
            ..crowd::Config::of_nodes()
        };
        let crowd = config.join(&tokens).await?;
        let fleet = Self {
            crowd,
            nodes,
            api,
            process,
            start,
            clock: world.clock.clone(),
            dir,
        };
        fleet.settled(generation).await;
        within(LONG, "every node has reported", || {
            let heard = fleet.crowd.heard();
            if heard.reported >= nodes as u64 {
                Ok(())
            } else {
                Err(heard)
            }
        })
        .await;
        Ok(fleet)
    }

    pub(super) fn meter(&self) -> Meter {
        Meter::of(self.process.pid())
    }

    /// Waits until all are connected and hold a generation; when each confirmed what it holds.
    pub(super) async fn settled(&self, generation: Generation) -> Vec<Instant> {
        let what = format!("all are at generation {generation}");
        within(LONG, &what, || self.crowd.confirmed(generation)).await
    }

    /// Makes a rule say something that it did not say before.
    pub(super) async fn change(&self, rule: &str, number: usize) -> Result<Generation> {
        let (on, prefix) = match rule {
            ALL => (json!({"labels": {"fleet": "all"}}), ALL.to_owned()),
            own => (json!(own), format!("team/{own}")),
        };
        let spec = json!({
            "on": on,
            "source": format!("registry.example.com/{prefix}/*"),
            "target": format!("{prefix}/*"),
            "freshness": {"check": format!("{}s", 60 + number)},
        });
        let path = format!("/api/v1/rules/{rule}");
        generation(&call(&self.api, Method::PUT, &path, &spec).await?)
    }

    /// Applies the topology with so many more rules on each node.
    pub(super) async fn apply(&self, more: usize) -> Result<Generation> {
        apply(&self.api, &topology(self.nodes, more)).await
    }

    /// The answer to `GET /api/v1/status`, as bytes.
    pub(super) async fn status(&self) -> Result<Bytes> {
        let reply = self.api.get("/api/v1/status").await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(reply.body)
    }

    /// `kill -9` of the control plane.
    pub(super) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again on what it had. How long until it was ready.
    pub(super) async fn restart(&mut self) -> Result<f64> {
        let begun = self.clock.now();
        self.process = self.start.control(self.dir.path()).await?;
        Ok((self.clock.now() - begun).as_secs_f64())
    }
}

impl Start {
    async fn control(&self, dir: &Path) -> Result<Process> {
        let (log, data) = (dir.join("log"), dir.join("data"));
        let mut args: Vec<String> = ["-c", "exec \"$@\" 2>>\"$REGMESH_BENCH_LOG\"", "sh"]
            .map(str::to_owned)
            .into();
        args.extend([&self.program, Path::new("control")].map(|part| part.display().to_string()));
        args.extend(["--data-dir".to_owned(), data.display().to_string()]);
        for (flag, port) in ["--api", "--node-service", "--admin"]
            .iter()
            .zip(self.ports)
        {
            args.extend([(*flag).to_owned(), format!("127.0.0.1:{port}")]);
        }
        let env = [("REGMESH_BENCH_LOG", log.display().to_string())];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut process = Process::start(Path::new("/bin/sh"), args, &env)?;
        process
            .is_ready_at(&format!("http://127.0.0.1:{}/readyz", self.ports[2]))
            .await;
        Ok(process)
    }
}

/// A join token for each node.
async fn tokens(api: &Client, nodes: usize) -> Result<Vec<String>> {
    let tokens = (0..nodes).map(async |number| {
        let path = format!("/api/v1/nodes/{}/join-token", name(number));
        let made = call(
            api,
            Method::POST,
            &path,
            &json!({"ttlSeconds": 3_600, "uses": 1}),
        )
        .await?;
        let token = made["token"].as_str().context("a token")?;
        anyhow::Ok(token.to_owned())
    });
    stream::iter(tokens).buffered(ASKING).try_collect().await
}

async fn apply(api: &Client, text: &str) -> Result<Generation> {
    let body =
        json!({"files": [{"name": "mesh.yaml", "text": text}], "dryRun": false, "prune": true});
    generation(&call(api, Method::POST, "/api/v1/topology:apply", &body).await?)
}

async fn call(api: &Client, method: Method, path: &str, body: &Value) -> Result<Value> {
    let (json, body) = ([("content-type", "application/json")], body.to_string());
    let reply = api.send(method, path, &json, Some(body.into())).await?;
    let text = String::from_utf8_lossy(&reply.body);
    ensure!(
        (200..300).contains(&reply.status),
        "{path}: {} {text}",
        reply.status
    );
    serde_json::from_str(&text).with_context(|| text.into_owned())
}

fn generation(answer: &Value) -> Result<Generation> {
    Ok(Generation(
        answer["generation"].as_u64().context("a generation")?,
    ))
}

/// The name of a node, and of its own rule.
pub(super) fn name(number: usize) -> String {
    format!("n{number:04}")
}

fn topology(nodes: usize, more: usize) -> String {
    let mut text = format!(
        "version: 1\nmesh: scale\nrules:\n  {ALL}: {{on: {{labels: {{fleet: all}}}}, source: 'registry.example.com/{ALL}/*', target: '{ALL}/*'}}\n"
    );
    for name in (0..nodes).map(name) {
        text += &format!(
            "  {name}: {{on: {name}, source: 'registry.example.com/team/{name}/*', target: 'team/{name}/*'}}\n"
        );
        for number in 0..more {
            text += &format!(
                "  {name}-{number}: {{on: {name}, source: 'registry.example.com/app-{number}/{name}/*', target: 'app-{number}/{name}/*'}}\n"
            );
        }
    }
    text += "nodes:\n";
    for number in 0..nodes {
        let hub = number / 100 * 100;
        let parent = if hub == number {
            String::new()
        } else {
            format!(", parent: {}", name(hub))
        };
        let (name, port) = (name(number), 20_000 + number);
        text += &format!(
            "  {name}: {{endpoint: 'http://127.0.0.1:{port}', labels: {{fleet: all}}{parent}}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topology_of_a_fleet_is_valid() {
        for (nodes, more) in [(3, 0), (250, 10)] {
            let text = topology(nodes, more);
            let loaded = topology::load(&[("mesh.yaml".to_owned(), text)]);
            let problems = loaded.err().into_iter().flatten();
            let problems: Vec<String> = problems.map(|problem| problem.render(false)).collect();
            assert!(problems.is_empty(), "{}", problems.join("\n"));
        }
    }
}
