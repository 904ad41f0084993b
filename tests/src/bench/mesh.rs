//! The program under test as users run it: `regmesh up FILE`, every node of a topology in one process.
//!
//! Its log goes to a file, as a service's does: a pipe into this process would cost CPU that the figures are about. Rates are
//! measured with `--log warn`, since nginx writes no access log either, and once more with the log of requests that is the default.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::Client;
use crate::bench::site::Certificate;
use crate::bench::usage::Meter;
use crate::bench::world::World;
use crate::eventually::eventually_async;
use crate::process::{Process, free_port};

/// A topology and how to run it.
pub struct Config {
    pub topology: String,
    /// A level: `warn`, or `info` for a line each request.
    pub log: &'static str,
    /// More flags of `up`.
    pub flags: Vec<String>,
}

/// Running nodes; killed when dropped.
pub struct Mesh {
    process: Process,
    pub nodes: Vec<Node>,
    file: PathBuf,
    _dir: TempDir,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    /// `http://HOST:PORT`, without a slash.
    pub url: String,
    /// The operational listener, as a URL.
    pub admin: String,
}

/// The account with which nodes ask each other.
const PASSWORD: (&str, &str) = ("REGMESH_BENCH_PASSWORD", "between-nodes");
const USER: (&str, &str) = ("REGMESH_BENCH_USER", "mesh");

impl Config {
    pub fn new(topology: String) -> Self {
        Self {
            topology,
            log: "warn",
            flags: Vec::new(),
        }
    }

    pub fn log(mut self, level: &'static str) -> Self {
        self.log = level;
        self
    }

    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// Starts it with nothing stored. `None` when there is no program under test.
    pub async fn start(self, world: &World) -> Result<Option<Mesh>> {
        let dir = world.fresh()?;
        self.start_in(world, dir).await
    }

    /// Starts it on what `dir` holds.
    pub async fn start_in(self, world: &World, dir: TempDir) -> Result<Option<Mesh>> {
        let Some(program) = &world.options.regmesh else {
            return Ok(None);
        };
        let (process, file) = self.spawn(program, dir.path())?;
        let ready = process.says("\"listen\"").await;
        let nodes: Value = serde_json::from_str(&ready).context(ready)?;
        let nodes = nodes
            .as_array()
            .into_iter()
            .flatten()
            .map(Node::read)
            .collect::<Result<_>>()?;
        Ok(Some(Mesh {
            process,
            nodes,
            file,
            _dir: dir,
        }))
    }

    /// Starts the process and does not wait; it and its topology file.
    pub fn spawn(&self, program: &Path, dir: &Path) -> Result<(Process, PathBuf)> {
        let file = dir.join("mesh.yaml");
        fs::write(&file, &self.topology)?;
        let log = dir.join("log").display().to_string();
        let data = dir.join("data");
        let mut args: Vec<String> = ["-c", "exec \"$@\" 2>>\"$REGMESH_BENCH_LOG\"", "sh"]
            .map(str::to_owned)
            .into();
        args.extend(
            [
                program,
                Path::new("up"),
                &file,
                Path::new("--data-dir"),
                &data,
            ]
            .map(|part| part.display().to_string()),
        );
        args.extend(["-o", "json", "--log", self.log].map(str::to_owned));
        args.extend(self.flags.iter().cloned());
        let env = [("REGMESH_BENCH_LOG", log.as_str()), PASSWORD, USER];
        Ok((Process::start(Path::new("/bin/sh"), args, &env)?, file))
    }
}

impl Mesh {
    /// The one furthest from the origin.
    pub fn leaf(&self) -> &Node {
        self.nodes
            .iter()
            .max_by(|a, b| a.name.cmp(&b.name))
            .expect("a mesh has a node")
    }

    pub fn node(&self, name: &str) -> &Node {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .expect("a node of the topology")
    }

    pub fn meter(&self) -> Meter {
        Meter::of(self.process.pid())
    }

    /// Writes another topology and has it read.
    pub fn apply(&self, topology: &str) -> Result<()> {
        fs::write(&self.file, topology)?;
        self.process.signal(Signal::HUP);
        Ok(())
    }

    /// Waits until no node fills or copies any more.
    pub async fn settled(&self) -> Result<()> {
        for node in &self.nodes {
            eventually_async(
                crate::eventually::BOUND * 6,
                "everything is stored",
                async || {
                    let busy = node
                        .metric("regmesh_fills_in_flight", &[])
                        .await
                        .map_err(|error| error.to_string())?
                        + node
                            .metric("regmesh_copy_queue_length", &[])
                            .await
                            .map_err(|error| error.to_string())?;
                    if busy == 0.0 {
                        Ok(())
                    } else {
                        Err(format!("{busy} fills and copies"))
                    }
                },
            )
            .await;
        }
        Ok(())
    }
}

impl Node {
    fn read(value: &Value) -> Result<Self> {
        let text = |key: &str| -> Result<String> {
            let text = value[key].as_str();
            Ok(text
                .with_context(|| format!("no {key}: {value}"))?
                .to_owned())
        };
        let scheme = if text("endpoint")?.starts_with("https") {
            "https"
        } else {
            "http"
        };
        Ok(Self {
            name: text("name")?,
            url: format!("{scheme}://{}", text("listen")?),
            admin: format!("http://{}", text("admin")?),
        })
    }

    /// `HOST:PORT`.
    pub fn host(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, host)| host)
    }

    /// The sum of a metric over the series that hold all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let reply = Client::new(&self.admin).get("/metrics").await?;
        ensure!(reply.status == 200, "/metrics: {reply:?}");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        Ok(sum(&text, name, labels))
    }
}

/// Source: the Prometheus text format.
fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    series
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// What the topologies of the bench differ in.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `HOST:PORT` of the origin.
    pub origin: String,
    /// `freshness.check`.
    pub check: &'static str,
    pub tls: Option<Certificate>,
}

impl Plan {
    pub fn of(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            check: "always",
            tls: None,
        }
    }

    pub fn check(mut self, check: &'static str) -> Self {
        self.check = check;
        self
    }

    /// A chain of so many tiers: `tier1` asks the origin, each other one its parent.
    pub fn chain(&self, tiers: usize) -> String {
        self.tree(
            &(1..=tiers)
                .map(|tier| {
                    (
                        format!("tier{tier}"),
                        tier.checked_sub(2).map(|up| format!("tier{}", up + 1)),
                    )
                })
                .collect::<Vec<_>>(),
        )
    }

    /// One hub and so many spokes of it: `hub`, `spoke1`, ….
    pub fn star(&self, spokes: usize) -> String {
        let mut nodes = vec![("hub".to_owned(), None)];
        nodes.extend((1..=spokes).map(|spoke| (format!("spoke{spoke}"), Some("hub".to_owned()))));
        self.tree(&nodes)
    }

    fn tree(&self, nodes: &[(String, Option<String>)]) -> String {
        let ports: Vec<u16> = nodes.iter().map(|_| free_port()).collect();
        let port_of = |name: &String| {
            ports[nodes
                .iter()
                .position(|(node, _)| node == name)
                .expect("a parent of the tree")]
        };
        let (mut declared, mut rules, mut credentials) =
            (String::new(), String::new(), String::new());
        for ((name, parent), port) in nodes.iter().zip(&ports) {
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            let mut node = format!("endpoint: '{scheme}://127.0.0.1:{port}'");
            if let Some(Certificate { cert, key }) = &self.tls {
                node += &format!(", tls: {{cert: '{cert}', key: '{key}'}}");
            }
            let mut rule = format!(
                "on: {name}, target: 'bench/*', freshness: {{check: {}}}",
                self.check
            );
            if let Some(parent) = parent {
                node += &format!(", parent: {parent}");
                rule += &format!(", source: 'parent://bench/*', credentials: {parent}");
                let set = format!(
                    "  {parent}: {{loginServer: '127.0.0.1:{}', username: {{env: {}}}, password: {{env: {}}}}}\n",
                    port_of(parent),
                    USER.0,
                    PASSWORD.0
                );
                if !credentials.contains(&set) {
                    credentials += &set;
                }
            } else {
                rule += &format!(", source: '{}/bench/*'", self.origin);
            }
            declared += &format!("  {name}: {{{node}}}\n");
            rules += &format!("  {name}: {{{rule}}}\n");
        }
        let credentials = if credentials.is_empty() {
            String::new()
        } else {
            format!("credentials:\n{credentials}")
        };
        let names = nodes
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "version: 1\nmesh: bench\nnodes:\n{declared}{credentials}rules:\n{rules}accounts:\n  {}: {{password: {{env: {}}}}}\naccess:\n  - {{allow: repository-reader, to: anonymous, on: [{names}]}}\n  - {{allow: repository-writer, to: anonymous, on: [{names}], repositories: ['local/*']}}\n",
            USER.1, PASSWORD.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topologies_of_the_bench_are_valid() {
        let plan = Plan::of("127.0.0.1:9").check("never");
        for text in [plan.chain(1), plan.chain(3), plan.star(3)] {
            let loaded = topology::load(&[("mesh.yaml".to_owned(), text.clone())]);
            let problems: Vec<String> = loaded
                .err()
                .into_iter()
                .flatten()
                .map(|problem| problem.render(false))
                .collect();
            assert!(problems.is_empty(), "{text}\n{}", problems.join("\n"));
        }
    }

    #[test]
    fn a_metric_is_summed_over_its_series() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4\nab 5\nc 6\n";
        assert_eq!(sum(text, "a", &[]), 7.0);
        assert_eq!(sum(text, "a", &["x=\"1\""]), 3.0);
        assert_eq!(sum(text, "c", &[]), 6.0);
    }
}
