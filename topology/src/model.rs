//! A topology that is valid by construction: what every other crate works with.
//!
//! Only `validate` makes one from a `Document`, so nothing below looks again at names, references, overlaps or depths.
//! Node selectors (`on`) are resolved here: each node holds its own rules, assignments and webhooks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wire::{
    assignment::{Assignee, Assignment},
    digest::Digest,
    name::{AccountName, CredentialName, IdentityName, IssuerName, MeshName, NodeName, RuleAt},
    secret_ref::SecretRef,
    time::WallTime,
    withdrawal::Withdrawal,
};

use self::rule::UpstreamRef;
use crate::value;

pub mod assigned;
pub mod credential;
pub mod identity;
pub mod network;
pub mod node;
pub mod rule;
pub mod upstream;
pub mod webhook;

pub use assigned::Assigned;
pub use credential::Credential;
pub use identity::Identity;
pub use network::Network;
pub use node::{Endpoint, Node};
pub use rule::Rule;
pub use upstream::Upstream;
pub use webhook::Webhook;

/// The whole mesh, or, as a slice, what one node needs of it.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The trust domain.
    pub mesh: MeshName,
    /// The control plane, where one is declared.
    pub control: Option<Control>,
    /// Every node, with its resolved rules, role assignments and webhooks.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Identities that rules authenticate as.
    pub identities: BTreeMap<IdentityName, Identity>,
    /// Credential sets, by reference.
    pub credentials: BTreeMap<CredentialName, Credential>,
    /// OIDC issuers whose tokens nodes accept.
    pub issuers: BTreeMap<IssuerName, Issuer>,
    /// Local accounts: where each password is.
    pub accounts: BTreeMap<AccountName, SecretRef>,
    /// What is said about registries outside the mesh, by host (`docker.io`'s aliases are one).
    pub upstreams: BTreeMap<String, Upstream>,
    /// Mesh-wide role assignments (those that name no node).
    pub access: Vec<Assignment>,
    /// Who may put which identities into rules (the role `identity-user`).
    pub identity_users: Vec<IdentityUser>,
    /// Set when this is what one node needs, and not the whole mesh.
    pub slice: Option<SliceOf>,
}

/// Somebody who may put identities into rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityUser {
    /// Who.
    pub to: Assignee,
    /// Which identities.
    pub identities: Vec<IdentityName>,
}

/// What a slice says about its node that cannot be seen from the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceOf {
    /// The node it is for.
    pub node: NodeName,
    /// How far that node is from its root.
    pub tier: u8,
    /// Digests that the node refuses, with what contains them.
    pub recalls: BTreeMap<Digest, Recall>,
    /// Certificates of these nodes that began before the time are worth nothing.
    pub revoked: BTreeMap<NodeName, WallTime>,
    /// What rule grants of other nodes are believed by; none before there is an issuer.
    pub grants: Option<Grants>,
}

/// What rule grants are believed by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Who mints them: the `iss` of every grant.
    pub issuer: String,
    /// What the issuer was called before, as long as grants of that time live.
    pub former: BTreeSet<String>,
    /// The keys that sign them, by id: P-256, the uncompressed point in base64url without padding.
    pub keys: BTreeMap<String, String>,
    /// For which rules, each on one node, earlier grants are worth nothing.
    pub withdrawn: BTreeMap<RuleAt, Withdrawal>,
}

/// Why and since when a digest is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recall {
    /// Shown to whoever is refused; empty when a newer release says it in a way that is not understood here.
    pub reason: String,
    /// Since when; 1970 when that is not understood here.
    pub at: WallTime,
}

/// Where the control plane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its API's public address.
    pub endpoint: String,
    /// Its public URL as token issuer, if another.
    pub issuer: Option<String>,
    /// How long a node cut off from it goes on granting access that is not anonymous; `None` for ever.
    pub max_offline: Option<std::time::Duration>,
}

/// An OIDC issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its URL, exact: a trailing slash counts.
    pub url: String,
    /// Audiences taken; empty means the node's own login server.
    pub audience: Vec<String>,
    /// Signature algorithms taken; empty means RS256 and ES256.
    pub algorithms: Vec<String>,
    /// Where its keys are, instead of discovery.
    pub keys: Option<IssuerKeys>,
    /// CA file for its TLS.
    pub ca: Option<std::path::PathBuf>,
    /// File with a bearer token for its discovery (in-cluster issuers).
    pub discovery_token: Option<std::path::PathBuf>,
    /// Client id for people who sign in.
    pub client_id: Option<String>,
    /// Client secret for people who sign in, by reference.
    pub client_secret: Option<SecretRef>,
}

/// Where an issuer's keys are when discovery is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// A URL.
    Uri(String),
    /// A file.
    File(std::path::PathBuf),
}

impl Topology {
    /// Whether the registry at `host`, outside the mesh, is asked over plain http: because the document says `insecure`, or
    /// because it is loopback and no authorities are named for it, which would mean TLS there too.
    #[must_use]
    pub fn is_plain_http(&self, host: &str) -> bool {
        let settings = self.upstreams.get(host);
        let insecure = settings.is_some_and(|upstream| upstream.insecure);
        let trusted = settings.is_some_and(|upstream| upstream.ca.is_some());
        insecure || (!trusted && value::is_loopback(value::without_port(host)))
    }

    /// What `upstreams` says about the host of a node, and by which name: where its peers reach it before where its clients do, the
    /// host with its port before the host alone.
    #[must_use]
    pub fn said_of(&self, node: &Node) -> Option<(&String, &Upstream)> {
        let endpoints = node.peer_endpoint.iter().chain([&node.endpoint]);
        let mut names = endpoints.flat_map(|at| {
            let with_port = format!("{}:{}", at.host, at.port);
            [at.login_server(), with_port, at.host.clone()]
        });
        names.find_map(|name| self.upstreams.get_key_value(&name))
    }

    /// The login server that a rule with this upstream asks; none where it is a node that is not known here.
    #[must_use]
    pub fn login_server(&self, upstream: &UpstreamRef) -> Option<String> {
        match upstream {
            UpstreamRef::Host(host) => Some(host.clone()),
            UpstreamRef::Node(name) => Some(self.node(name)?.endpoint.login_server()),
        }
    }

    /// The node of that name, with the rules in force on it.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// How far a node is from its root: 1 for a hub, at most 3.
    #[must_use]
    pub fn tier(&self, name: &NodeName) -> u8 {
        if let Some(slice) = self.slice.as_ref().filter(|slice| slice.node == *name) {
            return slice.tier;
        }
        let mut tier = 1;
        let mut at = self.nodes.get(name);
        while let Some(parent) = at.and_then(|n| n.parent.as_ref()).filter(|_| tier < 3) {
            tier += 1;
            at = self.nodes.get(parent);
        }
        tier
    }
}

/// A rule instance on one node, shared without copying.
pub type SharedRule = Arc<Rule>;
