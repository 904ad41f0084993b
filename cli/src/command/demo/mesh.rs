//! The demo's mesh: an origin of its own, and three tiers that know each other by accounts and credential sets.

use std::{net::TcpListener, path::Path, time::Duration};

use anyhow::Context;
use node::app::Running;
use runtime::{clock::Clock, tasks::Tasks};

use super::{hook::Hook, start_node};
use crate::command::up;

/// The running demo.
pub(super) struct Mesh {
    origin: Running,
    tiers: Vec<Running>,
    hook: Hook,
    password: String,
}

/// What an origin was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// GETs of anything.
    pub gets: u64,
    /// GETs of blobs.
    pub blob_gets: u64,
    /// HEADs.
    pub heads: u64,
}

impl Counts {
    /// What came after `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            gets: self.gets - before.gets,
            blob_gets: self.blob_gets - before.blob_gets,
            heads: self.heads - before.heads,
        }
    }
}

impl Mesh {
    /// Starts origin, hub, region and spoke on loopback.
    pub(super) async fn start(
        directory: &Path,
        port: u16,
        clock: &Clock,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let password = uuid::Uuid::new_v4().simple().to_string();
        let secret = directory.join("password");
        write_secret(&secret, &password)?;
        write_secret(&directory.join("password.user"), "demo")?;
        let hook = Hook::start(tasks).await?;
        let ports = ports(port)?;
        let origin = topology(&origin_yaml(ports[0], &secret))?;
        let tiers = topology(&tiers_yaml(&ports, &secret, &hook.url()))?;
        let mut started = Vec::new();
        for slice in origin.slices() {
            started
                .push(start_node(up::read(slice)?, directory.join("origin"), clock, tasks).await?);
        }
        let origin = started.pop().context("the origin is one node")?;
        let mut nodes = Vec::new();
        for name in ["hub", "region", "spoke"] {
            let slice = tiers.slice(&name.parse()?).context("declared below")?;
            nodes.push(start_node(up::read(slice)?, directory.join(name), clock, tasks).await?);
        }
        Ok(Self {
            origin,
            tiers: nodes,
            hook,
            password,
        })
    }

    /// The origin's endpoint.
    pub(super) fn origin(&self) -> String {
        self.origin.endpoint()
    }

    /// The leaf's endpoint.
    pub(super) fn spoke(&self) -> String {
        self.tiers.last().map(Running::endpoint).unwrap_or_default()
    }

    /// Who may push to the origin.
    pub(super) fn writer(&self) -> (String, String) {
        ("demo".to_owned(), self.password.clone())
    }

    /// Hub, region, spoke.
    pub(super) fn tiers(&self) -> &[Running] {
        &self.tiers
    }

    /// What the origin has been asked for so far: as the hub counts what it asked, and the origin what kind it was.
    pub(super) fn counts(&self) -> Counts {
        let asked = self.tiers.first().map(Running::metrics).unwrap_or_default();
        let answered = self.origin.metrics();
        Counts {
            gets: sum(&asked, "regmesh_upstream_requests_total", "method=\"GET\""),
            heads: sum(&asked, "regmesh_upstream_requests_total", "method=\"HEAD\""),
            blob_gets: sum(&answered, "regmesh_requests_total", "kind=\"blob\""),
        }
    }

    /// Bytes each tier has stored.
    pub(super) async fn stored(&self) -> Vec<u64> {
        futures_util::future::join_all(self.tiers.iter().map(Running::stored_bytes)).await
    }

    /// Waits until no tier has a copy to do.
    pub(super) async fn settle(&self, clock: &Clock, patience: Duration) -> anyhow::Result<()> {
        let settled = async {
            for node in &self.tiers {
                while node.copies_to_do().await > 0 {
                    clock.sleep(Duration::from_millis(20)).await;
                }
            }
        };
        clock
            .timeout(patience, settled)
            .await
            .map_err(|_| anyhow::anyhow!("copies are still to do after {} s", patience.as_secs()))
    }

    /// The webhook's events, once there are `n`, or what there is when patience ends.
    pub(super) async fn events(
        &self,
        clock: &Clock,
        n: usize,
        patience: Duration,
    ) -> anyhow::Result<Vec<serde_json::Value>> {
        let enough = async {
            while self.hook.events().len() < n {
                clock.sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = clock.timeout(patience, enough).await;
        // One more look a little later would show an event too many.
        clock.sleep(Duration::from_millis(200)).await;
        Ok(self.hook.events())
    }

    /// Ends all of it.
    pub(super) async fn drain(self, patience: Duration) {
        for node in self.tiers.iter().rev() {
            node.drain(patience).await;
        }
        self.origin.drain(patience).await;
    }
}

fn topology(yaml: &str) -> anyhow::Result<control::fixed::Fixed> {
    let files = [("demo.yaml".to_owned(), yaml.to_owned())];
    let loaded = topology::load(&files)
        .map_err(|problems| anyhow::anyhow!("the demo's topology is not valid: {problems:?}"))?;
    Ok(control::fixed::Fixed::new(loaded.topology))
}

/// The sum of a family's series that have this label, from the metrics' text.
fn sum(metrics: &str, family: &str, label: &str) -> u64 {
    let series = metrics.lines().filter(|line| {
        line.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    });
    series
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

/// Ports for origin, hub, region and spoke: from `port` on, or free ones.
fn ports(port: u16) -> anyhow::Result<[u16; 4]> {
    if port != 0 {
        return Ok([
            port.checked_add(3).context("the port is too high")?,
            port,
            port + 1,
            port + 2,
        ]);
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?);
    }
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret.as_bytes())?;
    Ok(())
}

fn origin_yaml(port: u16, secret: &Path) -> String {
    let secret = secret.display();
    format!(
        "version: 1
mesh: origin
nodes:
  origin: {{endpoint: 'http://127.0.0.1:{port}'}}
accounts:
  demo: {{password: {{file: {secret}}}}}
access:
  - {{allow: repository-writer, to: account:demo, on: origin}}
"
    )
}

fn tiers_yaml(ports: &[u16; 4], secret: &Path, hook: &str) -> String {
    let [origin, hub, region, spoke] = ports;
    let secret = secret.display();
    format!(
        "version: 1
mesh: demo
nodes:
  hub: {{endpoint: 'http://127.0.0.1:{hub}'}}
  region: {{parent: hub, endpoint: 'http://127.0.0.1:{region}'}}
  spoke: {{parent: region, endpoint: 'http://127.0.0.1:{spoke}'}}
accounts:
  demo: {{password: {{file: {secret}}}}}
credentials:
  origin:
    loginServer: 127.0.0.1:{origin}
    username: {{file: {secret}.user}}
    password: {{file: {secret}}}
  hub:
    loginServer: 127.0.0.1:{hub}
    username: {{file: {secret}.user}}
    password: {{file: {secret}}}
  region:
    loginServer: 127.0.0.1:{region}
    username: {{file: {secret}.user}}
    password: {{file: {secret}}}
rules:
  from-origin: {{on: hub, source: '127.0.0.1:{origin}/demo/*', target: demo/*, credentials: origin}}
  from-hub: {{on: region, source: parent://demo/*, target: demo/*, credentials: hub}}
  from-region: {{on: spoke, source: parent://demo/*, target: demo/*, credentials: region}}
access:
  - {{allow: repository-reader, to: account:demo, on: [hub, region]}}
  - {{allow: repository-reader, to: anonymous, on: spoke}}
webhooks:
  show: {{on: spoke, url: '{hook}', actions: [push]}}
"
    )
}
