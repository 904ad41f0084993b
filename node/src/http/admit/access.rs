//! What a slice says about who may do what here: swapped whole, so that no request is decided by halves of two.
//!
//! Made from a node's part of a topology, by hand, because identity and topology do not know each other. The node's address
//! policy is applied here, before anything is looked at that a stranger sent.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use http::HeaderMap;
use identity::{
    authenticate::{
        Authenticate, Local, Origin,
        account::Accounts,
        outsiders::{Nobody, Outsiders},
        trust::Trust,
    },
    decide::{Assignments, Bound},
    network::{self, Policy},
    principal::Principal,
    sign::Public,
};
use runtime::listener::Peer;
use topology::model::{Node, Topology};
use wire::{name::AccountName, scope::Scope, secret_ref::SecretRef};

use super::Refused;
use crate::{
    app::Contact,
    membership::{Membership, MeshPeer},
};

pub(super) const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a slice says about who may do what here. Swapped whole.
#[derive(Debug)]
pub struct Access {
    /// The absolute URL of our token endpoint.
    realm: String,
    /// The same for mesh peers: where their certificate arrives.
    peer_realm: String,
    /// What this node may be called in a token request.
    names: Vec<String>,
    /// How clients name this registry; issuer and audience of its tokens.
    pub(in crate::http) login_server: String,
    pub(in crate::http) assignments: Assignments,
    pub(in crate::http) authenticate: Authenticate,
    network: Policy,
    accounts: Accounts,
    /// What grants of other nodes' rules are believed by.
    trust: Option<Trust>,
    /// The issuers whose tokens are taken.
    outsiders: Arc<dyn Outsiders>,
    /// For how long grants to somebody known outlive the last contact with the control plane.
    ending: Option<(Duration, Contact)>,
    /// Knows mesh peers; nobody is one without it.
    membership: Option<Membership>,
}

impl Access {
    /// The access that a node's part of a topology declares. What is known about accounts that `previous` declared the same
    /// way is carried over.
    #[must_use]
    pub fn new(
        node: &Node,
        accounts: &BTreeMap<AccountName, SecretRef>,
        authenticate: &Authenticate,
        previous: Option<&Self>,
    ) -> Self {
        let peers = node.peer_endpoint.as_ref().unwrap_or(&node.endpoint);
        let assigned = node.assigned();
        let accounts = Accounts::new(accounts, previous.map(|previous| &previous.accounts));
        let names = [&node.endpoint, peers].map(|at| [at.login_server(), at.to_string()]);
        Self {
            realm: format!("{}/oauth2/token", node.endpoint),
            peer_realm: format!("{peers}/oauth2/token"),
            names: names.into_iter().flatten().collect(),
            login_server: node.endpoint.login_server(),
            assignments: Assignments::new(&node.access),
            authenticate: authenticate.clone(),
            network: policy(&node.network),
            accounts: accounts.assigned(|name| assigned.account(name)),
            trust: None,
            outsiders: Arc::new(Nobody),
            ending: None,
            membership: None,
        }
    }

    /// The same, but what is granted to somebody known ends when the control plane has been away for longer than `max_offline`.
    #[must_use]
    pub fn ending(mut self, max_offline: Option<Duration>, contact: &Contact) -> Self {
        self.ending = max_offline.map(|most| (most, contact.clone()));
        self
    }

    /// The same, and nodes of the mesh that prove themselves are mesh peers.
    #[must_use]
    pub fn among(mut self, membership: Option<&Membership>) -> Self {
        self.membership = membership.cloned();
        self
    }

    /// The same, and grants of other nodes' rules are believed by `trust`.
    #[must_use]
    pub fn believing(mut self, trust: Option<Trust>) -> Self {
        self.trust = trust;
        self
    }

    /// What grants of other nodes' rules are believed by.
    #[must_use]
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The same, and tokens of these issuers are taken.
    #[must_use]
    pub fn knowing(mut self, outsiders: Arc<dyn Outsiders>) -> Self {
        self.outsiders = outsiders;
        self
    }

    /// Which node of the mesh is at the other end, if it proves to be one.
    pub(in crate::http) fn mesh_peer(&self, peer: Option<&Peer>) -> Option<MeshPeer> {
        self.membership.as_ref()?.peer(peer?)
    }

    /// For how long the control plane has been away, when that is too long for more than anonymous access.
    pub(super) fn cut_off(&self) -> Option<Duration> {
        let (most, contact) = self.ending.as_ref()?;
        contact.away_for().filter(|away| away > most)
    }

    /// Reads and hashes beforehand the passwords of accounts that something is assigned to; says so where one cannot be read.
    pub async fn warm(&self) {
        for account in self.authenticate.warm(&self.accounts).await {
            tracing::warn!(%account, "the account's password cannot be read; tried again when it is needed");
        }
    }

    /// Where somebody asks for tokens. A mesh peer does so where it came in: at the public endpoint something may end its TLS.
    pub(super) fn realm(&self, mesh_peer: bool) -> &str {
        match mesh_peer {
            true => &self.peer_realm,
            false => &self.realm,
        }
    }

    /// Whether a token request for `target` is for this node: by its login server or URL.
    pub(in crate::http) fn is_called(&self, target: &str) -> bool {
        let target = target.strip_suffix('/').unwrap_or(target);
        let is = |name: &String| name.eq_ignore_ascii_case(target);
        self.names.iter().any(is)
    }

    pub(in crate::http) fn local(&self) -> Local<'_> {
        Local {
            audience: &self.login_server,
            accounts: &self.accounts,
            trust: self.trust.as_ref(),
            outsiders: &*self.outsiders,
        }
    }

    /// That requests may come from there, whatever they ask and whoever says so.
    pub(in crate::http) fn lets_in(
        &self,
        peer: Option<&Peer>,
        headers: &HeaderMap,
    ) -> Result<(), Box<Refused>> {
        let mesh_peer = self.mesh_peer(peer);
        self.origin(peer, mesh_peer.as_ref(), headers).map(|_| ())
    }

    /// Where the request comes from, if it may come from there at all.
    pub(in crate::http) fn origin<'p>(
        &self,
        peer: Option<&Peer>,
        mesh_peer: Option<&'p MeshPeer>,
        headers: &HeaderMap,
    ) -> Result<Origin<'p>, Box<Refused>> {
        let forwarded = headers.get_all(FORWARDED_FOR);
        // What is not text is no address: it must not hide an entry to its left.
        let forwarded: Vec<&str> = forwarded
            .iter()
            .map(|value| value.to_str().unwrap_or("?"))
            .collect();
        let client = peer.and_then(|peer| {
            self.network
                .client(peer.address.ip(), forwarded.iter().copied())
        });
        if !self.network.admits(client, mesh_peer.is_some()) {
            return Err(Refused::network());
        }
        let connection = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
        let address = client.unwrap_or(connection);
        // A proxy on this machine does not make its clients local, whether it is declared or not.
        let near = connection.is_loopback() && forwarded.is_empty();
        Ok(Origin {
            address,
            plain_loopback: near && peer.is_some_and(|peer| !peer.tls),
            spiffe: mesh_peer.map(|peer| peer.spiffe.as_str()),
        })
    }

    /// What a token for `scopes` may say: asked for, allowed by roles, and within what was proven.
    pub(in crate::http) fn grant(
        &self,
        principal: &Principal,
        within: Option<&Bound>,
        scopes: &[Scope],
    ) -> Bound {
        let granted = self.assignments.grant(principal, scopes);
        match within {
            Some(within) => granted.within(within),
            None => granted,
        }
    }
}

/// What rule grants are believed by, as `topology`, the slice of `node`, has it.
#[must_use]
pub fn trust(topology: &Topology, node: &Node) -> Option<Trust> {
    let grants = topology.slice.as_ref()?.grants.as_ref()?;
    let reached = node.peer_endpoint.as_ref().unwrap_or(&node.endpoint);
    Some(Trust {
        mesh: topology.mesh.clone(),
        issuer: grants.issuer.clone(),
        former: grants.former.clone(),
        keys: Public::read(&grants.keys),
        withdrawn: grants.withdrawn.clone(),
        plain: !reached.secure,
    })
}

fn policy(network: &topology::model::Network) -> Policy {
    use topology::model::network::Access::{Private, Public, Selected};
    Policy {
        access: match network.access {
            Public => network::Access::Public,
            Selected => network::Access::Selected,
            Private => network::Access::Private,
        },
        allow: network.allow.clone(),
        trusted_proxies: network.trusted_proxies.clone(),
        trust_mesh_peers: network.trust_mesh_peers,
    }
}
