//! A node's access for tests: accounts `reader`, `writer`, `deleter`, `lister` and `nobody`, each with the role it is called by.
//!
//! Roles are given on `team/*`; `open/*` is readable by everybody when `anonymous` is set. Passwords are `<account>-password`. Who
//! else may read `team/*`: the identity `promoter`, by grants of the rig's own control plane (`rig/mesh.rs`), and jobs of the issuer
//! `corp` (`rig/corp.rs`).

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, header};
use identity::{
    authenticate::{Authenticate, Config, account::Resolve, refresh::Memory},
    sign::Keys,
};
use runtime::{Clock, Secret, Tasks, listener::Peer};
use topology::model::{Endpoint, Network, Node, node::Storage};
use wire::{
    assignment::{Assignee, Assignment, Role},
    secret_ref::SecretRef,
};

use super::Access;

mod corp;
mod mesh;

pub(in crate::http) use corp::{Corp, job};
pub(in crate::http) use mesh::{Edge, Hub, hub};

pub(in crate::http) const ACCOUNTS: [&str; 5] = ["reader", "writer", "deleter", "lister", "nobody"];

pub(in crate::http) struct Rig {
    pub(in crate::http) access: Arc<Access>,
    pub(in crate::http) authenticate: Authenticate,
    pub(in crate::http) clock: Clock,
    /// What is kept of logins.
    pub(in crate::http) sessions: Arc<Memory>,
    _tasks: Tasks,
}

pub(in crate::http) fn rig(anonymous: bool) -> Rig {
    let resolve: Resolve = Arc::new(|reference| {
        let SecretRef::Env(name) = reference else {
            unreachable!("accounts of the rig are variables")
        };
        Box::pin(async move { Ok(Secret::new(format!("{name}-password"))) })
    });
    let (clock, tasks) = (Clock::manual(1_800_000_000_000), Tasks::new("test"));
    let sessions = Arc::new(Memory::default());
    let config = Config {
        keys: Arc::new(Keys::generate().unwrap()),
        refresh: Arc::<Memory>::clone(&sessions),
    };
    let authenticate = config.build(resolve, &clock, &tasks).unwrap();
    let access = Arc::new(access(&authenticate, &roles(anonymous), Network::default()));
    Rig {
        access,
        authenticate,
        clock,
        sessions,
        _tasks: tasks,
    }
}

pub(in crate::http) fn access(
    authenticate: &Authenticate,
    roles: &[Assignment],
    network: Network,
) -> Access {
    let accounts: BTreeMap<_, _> = ACCOUNTS
        .iter()
        .map(|name| (name.parse().unwrap(), SecretRef::Env((*name).to_owned())))
        .collect();
    Access::new(&node(roles, network), &accounts, authenticate, None)
}

pub(in crate::http) fn roles(anonymous: bool) -> Vec<Assignment> {
    let give =
        |role, account: &str| assign(role, Assignee::Account(account.parse().unwrap()), "team/*");
    let mut roles = vec![
        give(Role::RepositoryReader, "reader"),
        give(Role::RepositoryWriter, "writer"),
        give(Role::RepositoryDeleter, "deleter"),
        give(Role::CatalogLister, "lister"),
        give(Role::RepositoryReader, "lister"),
        assign(Role::RepositoryReader, promoter(), "team/*"),
        assign(Role::RepositoryReader, corp::jobs(), "team/*"),
    ];
    if anonymous {
        roles.push(assign(
            Role::RepositoryReader,
            Assignee::Anonymous,
            "open/*",
        ));
    }
    roles
}

pub(in crate::http) fn promoter() -> Assignee {
    Assignee::Identity("promoter".parse().unwrap())
}

pub(in crate::http) fn assign(role: Role, to: Assignee, pattern: &str) -> Assignment {
    Assignment {
        role,
        to,
        repositories: vec![pattern.parse().unwrap()],
    }
}

pub(in crate::http) fn node(roles: &[Assignment], network: Network) -> Node {
    Node {
        name: "prod".parse().unwrap(),
        endpoint: Endpoint {
            secure: true,
            host: "prod.example".to_owned(),
            port: 5443,
        },
        peer_endpoint: None,
        parent: None,
        labels: BTreeMap::new(),
        listen: None,
        admin: None,
        tls: None,
        network,
        storage: Storage::default(),
        default_namespace: None,
        rules: Vec::new(),
        access: roles.to_vec(),
        webhooks: Vec::new(),
    }
}

pub(in crate::http) fn peer(address: &str) -> Peer {
    let address = std::net::SocketAddr::new(address.parse().unwrap(), 40_000);
    Peer {
        address,
        certificates: Arc::from([]),
        connection: 1,
        tls: true,
    }
}

pub(in crate::http) fn authorization(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

pub(in crate::http) fn basic(user: &str, password: &str) -> HeaderMap {
    use base64::{Engine, engine::general_purpose::STANDARD};
    authorization(&format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ))
}
