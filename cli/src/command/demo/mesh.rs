//! The demo's mesh: an origin of its own, and a control plane with three tiers. Towards the origin a rule has a credential set, between
//! tiers each rule calls as a managed identity.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use node::{
    app::{self, Running},
    settings::Settings,
};
use runtime::{clock::Clock, tasks::Tasks};
use wire::{
    api::{
        ask::{Answer, Question},
        pull::{Platforms, Progress, Request, State},
    },
    name::NodeName,
};

use super::hook::Hook;
use crate::{command, mesh};

/// What is pushed to the hub for the promotion.
pub(super) const PUSHED: (&str, &str) = ("team-a/api", "1.4.0");
/// What it is called further down.
pub(super) const PROMOTED: (&str, &str) = ("promoted/api", "1.4.0");

/// The running demo.
pub(super) struct Mesh {
    origin: Running,
    mesh: mesh::Mesh,
    tiers: Vec<Arc<Running>>,
    hook: Hook,
    password: String,
    directory: PathBuf,
}

/// A pull that was asked for and is complete.
pub(super) struct Promoted(pub(super) Progress);

impl Promoted {
    /// How many platforms it took along.
    pub(super) fn platforms(&self) -> usize {
        let platforms = self
            .0
            .contents
            .iter()
            .filter_map(|content| content.platform.clone());
        platforms.collect::<std::collections::BTreeSet<_>>().len()
    }
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
        let origin = start_origin(&origin_yaml(ports[0], &secret), directory, clock, tasks).await?;
        let anywhere = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let config = mesh::Config {
            data_dir: directory.join("mesh"),
            api: anywhere,
            node_service: anywhere,
            operational: anywhere,
            audit_retention: control::audit::RETENTION,
            settings: settings(),
        };
        std::fs::create_dir(&config.data_dir)?;
        let files = [(
            "demo.yaml".to_owned(),
            tiers_yaml(&ports, &secret, &hook.url()),
        )];
        let mesh = mesh::Mesh::start(config, &files, clock.clone(), tasks).await?;
        let tiers =
            ["hub", "region", "spoke"].map(|name| mesh.node(name).context("declared below"));
        Ok(Self {
            origin,
            tiers: tiers.into_iter().collect::<anyhow::Result<_>>()?,
            mesh,
            hook,
            password,
            directory: directory.to_owned(),
        })
    }

    /// The control plane's address, and where its token is.
    pub(super) fn control(&self) -> (String, PathBuf) {
        let token = self
            .directory
            .join("mesh")
            .join(control::sign_in::admin_token::FILE);
        (format!("http://{}", self.mesh.control().api()), token)
    }

    /// The hub's endpoint.
    pub(super) fn hub(&self) -> String {
        self.tiers
            .first()
            .map(|node| node.endpoint())
            .unwrap_or_default()
    }

    /// Has the region copy the pushed image, by way of the control plane, until it holds all of it.
    pub(super) async fn promote(
        &self,
        clock: &Clock,
        patience: Duration,
    ) -> anyhow::Result<Promoted> {
        let region: NodeName = "region".parse()?;
        let mut question = Question::Pull(Request {
            repository: PROMOTED.0.parse()?,
            reference: PROMOTED.1.parse()?,
            platforms: Platforms::Rule,
        });
        let asking = async {
            loop {
                let asked = self.mesh.control().distribute();
                let answer = asked
                    .ask(&region, question, Duration::from_secs(10))
                    .await?;
                let Answer::Pull(progress) = answer else {
                    anyhow::bail!("the region answers something else");
                };
                match progress.state {
                    State::Complete => return Ok(Promoted(progress)),
                    State::Failed => {
                        anyhow::bail!("the promotion failed: {:?}", progress.last_error)
                    }
                    State::Resolving | State::Copying => {}
                }
                question = Question::PullProgress { id: progress.id };
                clock.sleep(Duration::from_millis(50)).await;
            }
        };
        let done = clock.timeout(patience, asking).await;
        done.map_err(|_| anyhow::anyhow!("the region does not hold the image after {patience:?}"))?
    }

    /// How many events the receiver has heard.
    pub(super) fn heard(&self) -> usize {
        self.hook.events().len()
    }

    /// The origin's endpoint.
    pub(super) fn origin(&self) -> String {
        self.origin.endpoint()
    }

    /// The leaf's endpoint.
    pub(super) fn spoke(&self) -> String {
        self.tiers
            .last()
            .map(|node| node.endpoint())
            .unwrap_or_default()
    }

    /// Who may push to the origin.
    pub(super) fn writer(&self) -> (String, String) {
        ("demo".to_owned(), self.password.clone())
    }

    /// Hub, region, spoke.
    pub(super) fn tiers(&self) -> &[Arc<Running>] {
        &self.tiers
    }

    /// What the origin has been asked for so far: as the hub counts what it asked, and the origin what kind it was.
    pub(super) fn counts(&self) -> Counts {
        let asked = self
            .tiers
            .first()
            .map(|node| node.metrics())
            .unwrap_or_default();
        let answered = self.origin.metrics();
        Counts {
            gets: sum(&asked, "regmesh_upstream_requests_total", "method=\"GET\""),
            heads: sum(&asked, "regmesh_upstream_requests_total", "method=\"HEAD\""),
            blob_gets: sum(&answered, "regmesh_requests_total", "kind=\"blob\""),
        }
    }

    /// Bytes each tier has stored.
    pub(super) async fn stored(&self) -> Vec<u64> {
        futures_util::future::join_all(self.tiers.iter().map(|node| node.stored_bytes())).await
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
        self.mesh.drain(patience).await;
        self.origin.drain(patience).await;
    }
}

/// The origin is a registry of somebody else: a node of its own, without a control plane.
async fn start_origin(
    yaml: &str,
    directory: &Path,
    clock: &Clock,
    tasks: &Tasks,
) -> anyhow::Result<Running> {
    let files = [("origin.yaml".to_owned(), yaml.to_owned())];
    let loaded = topology::load(&files)
        .map_err(|problems| anyhow::anyhow!("the origin's topology is not valid: {problems:?}"))?;
    let name: NodeName = "origin".parse()?;
    let slice = control::fixed::Fixed::new(loaded.topology).slice(&name);
    let config = app::Config {
        name,
        data_dir: directory.join("origin"),
        listen: None,
        admin: None,
        defaults: app::Defaults::Up,
        settings: settings(),
    };
    let slice = command::node::read(slice.context("the origin is one node")?)?;
    app::start(config, slice, clock.clone(), tasks)
        .await
        .context("the origin cannot start")
}

fn settings() -> Settings {
    Settings {
        memory_cache: 32 << 20,
        ..Settings::default()
    }
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
identities:
  tier: {{kind: managed, on: [region, spoke]}}
  promoter: {{kind: managed, on: [region, spoke]}}
rules:
  from-origin: {{on: hub, source: '127.0.0.1:{origin}/demo/*', target: demo/*, credentials: origin}}
  from-hub: {{on: region, source: parent://demo/*, target: demo/*, identity: tier}}
  from-region: {{on: spoke, source: parent://demo/*, target: demo/*, identity: tier}}
  promote: {{on: region, source: parent://team-a/*, target: promoted/*, identity: promoter}}
  promoted: {{on: spoke, source: parent://promoted/*, target: promoted/*, identity: promoter}}
access:
  - {{allow: repository-writer, to: account:demo, on: hub, repositories: [team-a/*]}}
  - {{allow: repository-reader, to: identity:tier, on: [hub, region], repositories: [demo/*]}}
  - {{allow: repository-reader, to: identity:promoter, on: [hub, region], repositories: [team-a/*, promoted/*]}}
  - {{allow: repository-reader, to: anonymous, on: spoke}}
webhooks:
  show: {{on: spoke, url: '{hook}', actions: [push], scope: demo/*}}
  gate: {{on: region, url: '{hook}', actions: [push], scope: promoted/*}}
"
    )
}
