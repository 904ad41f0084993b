//! How a fleet is made: the control plane first, then the topology, then every node by a token, all at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use control::config::Settings;
use tempfile::TempDir;

use super::control::{Control, Kind};
use super::{Fleet, Node, TIERS, Topology, Way};
use crate::{FaultProxy, Hook, Origin, canary};

/// What is special about a fleet.
pub struct Builder {
    program: &'static str,
    kind: Kind,
    tiers: usize,
    data: BTreeMap<&'static str, PathBuf>,
    joined: bool,
    identities: bool,
    mesh: &'static str,
}

impl Builder {
    /// With a control plane in a process of its own.
    pub fn apart(program: &'static str) -> Self {
        Self {
            program,
            kind: Kind::Apart,
            tiers: TIERS.len(),
            data: BTreeMap::new(),
            joined: true,
            identities: false,
            mesh: "fleet",
        }
    }

    /// With a control plane in this process.
    pub fn here(program: &'static str, settings: Settings) -> Self {
        Self {
            kind: Kind::Here(Box::new(settings)),
            ..Self::apart(program)
        }
    }

    /// Only the first tiers.
    pub fn tiers(mut self, count: usize) -> Self {
        self.tiers = count;
        self
    }

    /// A node's data there.
    pub fn data(mut self, node: &'static str, data: &Path) -> Self {
        self.data.insert(node, data.to_owned());
        self
    }

    /// Nodes are declared, and do not run yet.
    pub fn not_joined(mut self) -> Self {
        self.joined = false;
        self
    }

    /// By TLS, each rule with a managed identity of its own (`prod`, `spoke`), which alone may read above; anybody at the last tier.
    pub fn with_identities(mut self) -> Self {
        self.identities = true;
        self
    }

    /// Under another name, for a second mesh.
    pub fn called(mut self, mesh: &'static str) -> Self {
        self.mesh = mesh;
        self
    }

    /// Starts everything; the nodes are healthy when this returns.
    pub async fn start(mut self) -> Fleet {
        let dir = tempfile::tempdir().expect("a directory");
        let mut control = Control::new(std::mem::replace(&mut self.kind, Kind::Apart));
        let path = FaultProxy::to(control.node_service()).await;
        control.advertise(path.host());
        let nodes = self.nodes(&dir);
        let (origin, hook) = (Origin::start().await, Hook::start().await);
        let way = if self.identities {
            Between::Identities
        } else {
            Between::Accounts(dir.path())
        };
        let mut topology = usual(&nodes, &origin, &hook, &way);
        topology.mesh = self.mesh;
        let mut fleet = Fleet {
            origin,
            hook,
            path,
            topology,
            program: self.program,
            control,
            nodes,
            authorities: Vec::new(),
            dir,
        };
        fleet.start_control().await;
        if self.identities {
            fleet.authorities = fleet.mesh_authorities().await;
        }
        fleet.apply().await.well();
        if self.joined {
            fleet.join_all().await;
        }
        fleet
    }

    fn nodes(&mut self, dir: &TempDir) -> BTreeMap<String, Node> {
        let names = TIERS.into_iter().take(self.tiers);
        let nodes = names.map(|name| {
            let data = self.data.remove(name);
            let node = Node {
                way: Way::pick(self.identities),
                data: data.unwrap_or_else(|| dir.path().join(name)),
                environment: Vec::new(),
                process: None,
            };
            (name.to_owned(), node)
        });
        nodes.collect()
    }
}

/// How rules prove who they are to the tier above.
enum Between<'a> {
    /// By accounts whose passwords are in files there.
    Accounts(&'a Path),
    /// By managed identities.
    Identities,
}

impl Fleet {
    async fn mesh_authorities(&self) -> Vec<reqwest::Certificate> {
        let answer = reqwest::get(self.api() + "/api/v1/ca")
            .await
            .expect("it runs");
        let pem = answer.bytes().await.expect("a body");
        reqwest::Certificate::from_pem_bundle(&pem).expect("PEM")
    }

    async fn join_all(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in &names {
            self.join(name).await;
        }
        for name in &names {
            self.ready(name).await;
        }
        for name in &names {
            self.until(name, "healthy").await;
        }
    }
}

fn usual(
    nodes: &BTreeMap<String, Node>,
    origin: &Origin,
    hook: &Hook,
    between: &Between<'_>,
) -> Topology {
    let mut topology = Topology::default();
    let tiers = TIERS.into_iter().filter(|name| nodes.contains_key(*name));
    let tiers: Vec<&str> = tiers.collect();
    for (tier, name) in tiers.iter().enumerate() {
        let endpoint = nodes[*name].way.url();
        let Some(above) = tier.checked_sub(1).map(|above| tiers[above]) else {
            let node = format!("{{endpoint: \"{endpoint}\"}}");
            topology.set("nodes", name, &node);
            topology.rule(name, &format!("{}/*", origin.host()), "");
            continue;
        };
        let node = format!("{{endpoint: \"{endpoint}\", parent: {above}}}");
        topology.set("nodes", name, &node);
        let shown = match between {
            Between::Accounts(dir) => {
                account(&mut topology, name, &nodes[above].way, dir);
                "credentials"
            }
            Between::Identities => {
                identity(&mut topology, name, above);
                "identity"
            }
        };
        topology.rule(name, "parent://up/*", &format!(", {shown}: {name}"));
    }
    match between {
        Between::Accounts(_) => {
            let all = tiers.join(", ");
            for role in ["repository-reader", "repository-writer"] {
                topology.allow(&format!("{{allow: {role}, to: anonymous, on: [{all}]}}"));
            }
        }
        Between::Identities => {
            let last = tiers.last().expect("a tier");
            topology.allow(&format!(
                "{{allow: repository-reader, to: anonymous, on: {last}}}"
            ));
        }
    }
    let hook = format!(
        "{{on: [{}], url: \"{}\", actions: [push, recalled, copy_failed]}}",
        tiers.join(", "),
        hook.url()
    );
    topology.set("webhooks", "hook", &hook);
    topology
}

/// A managed identity of a node's own, which may read at the node above.
fn identity(topology: &mut Topology, node: &str, above: &str) {
    topology.set(
        "identities",
        node,
        &format!("{{kind: managed, on: [{node}]}}"),
    );
    topology.allow(&reader(node, above));
}

/// The role assignment that a rule with that identity needs at the node above.
pub fn reader(identity: &str, on: &str) -> String {
    format!(
        "{{allow: repository-reader, to: \"identity:{identity}\", on: {on}, repositories: [\"up/*\"]}}"
    )
}

/// An account of a node's own at the node above it.
fn account(topology: &mut Topology, node: &str, above: &Way, dir: &Path) {
    let secret = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).expect("the fleet's directory");
        format!("{{file: \"{}\"}}", path.display())
    };
    let user = secret(&format!("{node}.user"), node);
    let password = secret(&format!("{node}.password"), &canary::secret(node));
    topology.set("accounts", node, &format!("{{password: {password}}}"));
    let shown = format!(
        "{{loginServer: \"{}\", username: {user}, password: {password}}}",
        above.listen()
    );
    topology.set("credentials", node, &shown);
}
