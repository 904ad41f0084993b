//! How a mesh is made: what differs from three plain tiers, then everything started, the hub first.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use node::app::{Config, Defaults, start};
use node::settings::Settings;
use runtime::{Clock, Tasks};
use topology::model::Grants;
use wire::generation::Generation;

use crate::mesh::{Mesh, Node, TIERS};
use crate::{FaultProxy, Hook, Origin, canary};

/// The accounts of the mesh; the passwords are canaries.
pub(super) const ACCOUNTS: [&str; 5] = ["ci", "prod", "spoke", "reader", "nobody"];

/// What is special about a mesh.
pub struct Builder {
    pub(super) tiers: Vec<String>,
    /// Further nodes beside the last tier's.
    pub(super) siblings: Vec<String>,
    /// Keys of rules and nodes, by the node's name.
    pub(super) rule_keys: BTreeMap<String, String>,
    pub(super) node_keys: BTreeMap<String, String>,
    pub(super) extra: Vec<String>,
    pub(super) origin_account: bool,
    pub(super) hooked: bool,
    pub(super) closed: bool,
    pub(super) grants: Option<Grants>,
    settings: Settings,
    clock: Clock,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tiers: TIERS.map(str::to_owned).to_vec(),
            siblings: Vec::new(),
            rule_keys: BTreeMap::new(),
            node_keys: BTreeMap::new(),
            extra: Vec::new(),
            origin_account: false,
            hooked: false,
            closed: false,
            grants: None,
            settings: settings(),
            clock: Clock::system(),
        }
    }
}

/// The defaults, but what waits after a failure waits less.
fn settings() -> Settings {
    Settings {
        resume_pause: Duration::from_millis(10),
        copy_pause: Duration::from_millis(50),
        breaker_probe: Duration::from_millis(200),
        ..Settings::default()
    }
}

impl Builder {
    /// Only the first tiers: 1 is a hub alone.
    pub fn tiers(mut self, count: usize) -> Self {
        self.tiers.truncate(count);
        self
    }

    /// So many nodes in the last tier, under one parent: `spoke`, `spoke-2`, `spoke-3`, …. They are alike: rule, credential set and
    /// access are `spoke`'s. Follows [`Builder::tiers`].
    pub fn leaves(mut self, count: usize) -> Self {
        let last = self.tiers.last().expect("a mesh has a node");
        self.siblings = (2..=count).map(|n| format!("{last}-{n}")).collect();
        self
    }

    /// All nodes, parents first.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.tiers.iter().chain(&self.siblings)
    }

    /// The tier that a node is of, by the name of its first node.
    pub(super) fn tier_of<'a>(&'a self, name: &'a str) -> &'a str {
        let is_sibling = self.siblings.iter().any(|sibling| sibling == name);
        let last = self.tiers.last().filter(|_| is_sibling);
        last.map_or(name, String::as_str)
    }

    /// The parent of a tier; none of the hub's.
    pub(super) fn parent_of(&self, tier: &str) -> Option<&String> {
        let at = self.tiers.iter().position(|name| name == tier)?;
        at.checked_sub(1).map(|above| &self.tiers[above])
    }

    /// Keys for the rule of every node: `freshness: {check: 30s}`, comma-separated as in a flow mapping. What was there goes.
    pub fn rules(mut self, keys: &str) -> Self {
        for tier in TIERS {
            self = self.rule(tier, keys);
        }
        self
    }

    /// Keys for the rule of one node. What was there goes.
    pub fn rule(mut self, node: &str, keys: &str) -> Self {
        self.rule_keys.insert(node.to_owned(), keys.to_owned());
        self
    }

    /// Keys for a node: `storage: {maxSize: 1MiB}`.
    pub fn node(mut self, node: &str, keys: &str) -> Self {
        self.node_keys.insert(node.to_owned(), keys.to_owned());
        self
    }

    /// More sections, as another file of the topology. `{origin}` stands for the origin's host, `{dev.port}` for the port of
    /// the hub's path.
    pub fn with(mut self, document: &str) -> Self {
        self.extra.push(document.to_owned());
        self
    }

    /// Without what [`Builder::with`] added.
    pub fn without_more(mut self) -> Self {
        self.extra.clear();
        self
    }

    /// The hub's rule shows the account `hub` to the origin.
    pub fn origin_account(mut self) -> Self {
        self.origin_account = true;
        self
    }

    /// Every node tells the mesh's hook of every push and delete.
    pub fn hooked(mut self) -> Self {
        self.hooked = true;
        self
    }

    /// Anonymous may read nowhere, not even in the last tier.
    pub fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    /// What rule grants are believed by at every node.
    pub fn grants(mut self, grants: Grants) -> Self {
        self.grants = Some(grants);
        self
    }

    pub fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Time stands still until [`Mesh::advance`]. Nothing times out by itself then, and no jump closes an idle connection
    /// under a client that is about to use it.
    pub fn manual_clock(mut self) -> Self {
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        self.settings.keep_alive = century;
        self.settings.accept_to_first_byte = century;
        self.clock = Clock::manual(1_800_000_000_000);
        self
    }

    pub async fn start(self) -> Mesh {
        let dir = tempfile::tempdir().unwrap();
        write_secrets(&dir.path().join("secrets"));
        let mut nodes = BTreeMap::new();
        for name in self.names() {
            let node = Node {
                name: name.clone(),
                path: FaultProxy::to_nowhere().await,
                running: None,
                data: dir.path().join(name),
            };
            nodes.insert(name.clone(), node);
        }
        let origin = Origin::start().await;
        origin.tokens().account("hub", &canary::secret("hub"));
        let mut mesh = Mesh {
            origin,
            hook: Hook::start().await,
            nodes,
            clock: self.clock.clone(),
            tasks: Tasks::new("mesh"),
            generation: Generation(1),
            dir,
            builder: self,
        };
        let names: Vec<String> = mesh.builder.names().cloned().collect();
        for name in names {
            mesh.start_node(&name).await;
        }
        mesh
    }
}

impl Mesh {
    pub(super) async fn start_node(&mut self, name: &str) {
        let slice = self.slice(name);
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config = Config {
            name: name.parse().expect("a node's name"),
            data_dir: self.node(name).data.clone(),
            listen: Some(loopback),
            admin: Some(loopback),
            defaults: Defaults::Up,
            settings: self.builder.settings.clone(),
        };
        let running = start(config, slice, self.clock.clone(), &self.tasks)
            .await
            .unwrap_or_else(|error| panic!("{name} does not start: {error:?}"));
        let node = self.nodes.get_mut(name).expect("a node of the mesh");
        node.path.aim(running.address());
        node.running = Some(running);
    }
}

fn write_secrets(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let secrets = ACCOUNTS.iter().chain(&["hub", "hook"]);
    for name in secrets {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(dir.join(name)).unwrap();
        std::io::Write::write_all(&mut file, canary::secret(name).as_bytes()).unwrap();
        fs::write(dir.join(format!("{name}.user")), name).unwrap();
    }
}
