//! Promises of the pool.

mod managed;

use std::{collections::BTreeMap, path::PathBuf};

use topology::model::{
    Credential, Endpoint, Identity, Network, Node,
    identity::IdentityKind,
    node::Storage,
    rule,
    rule::{Authentication, Freshness, Source, UpstreamRef},
};
use wire::{name::MeshName, page::Page, refusal::Refusal, secret_ref::SecretRef};

use super::*;
use crate::upstream::{Patience, conformance::request, error::Kind, observer::Unobserved};

fn node(name: &str, endpoint: Endpoint, peer: Option<Endpoint>) -> Node {
    Node {
        name: name.parse().unwrap(),
        endpoint,
        peer_endpoint: peer,
        parent: None,
        labels: BTreeMap::new(),
        listen: None,
        admin: None,
        tls: None,
        network: Network::default(),
        storage: Storage::default(),
        default_namespace: None,
        rules: Vec::new(),
        access: Vec::new(),
        webhooks: Vec::new(),
    }
}

fn endpoint(secure: bool, host: &str, port: u16) -> Endpoint {
    Endpoint {
        secure,
        host: host.into(),
        port,
    }
}

pub(super) fn topology() -> Topology {
    let hub = node(
        "hub",
        endpoint(true, "hub.example.com", 443),
        Some(endpoint(true, "hub.example.com", 5443)),
    );
    let edge = node("edge", endpoint(false, "127.0.0.1", 7000), None);
    let set = Credential {
        login_server: "registry.corp.example".into(),
        username: SecretRef::Env("USER".into()),
        password: SecretRef::File(PathBuf::from("/run/secrets/absent")),
        identity: None,
    };
    Topology {
        mesh: "contoso".parse::<MeshName>().unwrap(),
        control: None,
        nodes: [hub, edge].map(|node| (node.name.clone(), node)).into(),
        identities: BTreeMap::new(),
        credentials: [("corp".parse().unwrap(), set)].into(),
        issuers: BTreeMap::new(),
        accounts: BTreeMap::new(),
        upstreams: BTreeMap::new(),
        access: Vec::new(),
        identity_users: Vec::new(),
        slice: None,
    }
}

/// A rule by its source: `HOST/REPO` or `node://NODE/REPO`.
pub(super) fn rule(source: &str) -> Rule {
    let (upstream, repositories) = match source.strip_prefix("node://") {
        Some(rest) => {
            let (name, repositories) = rest.split_once('/').unwrap();
            (UpstreamRef::Node(name.parse().unwrap()), repositories)
        }
        None => {
            let (host, repositories) = source.split_once('/').unwrap();
            (UpstreamRef::Host(host.to_owned()), repositories)
        }
    };
    let repositories: wire::pattern::Pattern = repositories.parse().unwrap();
    Rule {
        name: "golden".parse().unwrap(),
        source: Source {
            upstream,
            repositories: repositories.clone(),
        },
        target: repositories,
        authentication: Authentication::Anonymous,
        freshness: Freshness::default(),
        when_gone: rule::WhenGone::Keep,
        platforms: rule::Platforms::Requested,
        referrers: rule::Referrers::OnDemand,
        enabled: true,
        origins: Arc::default(),
    }
}

/// Lets rules of this node call as the managed identity.
pub(super) fn attach(topology: &mut Topology, name: &str) {
    let identity = Identity {
        kind: IdentityKind::Managed,
        on: ["prod".parse().unwrap()].into(),
        sources: Vec::new(),
    };
    let name = name.parse().unwrap();
    topology.identities.insert(name, identity);
}

fn pool() -> (Pool, Tasks) {
    let tasks = Tasks::new("test");
    let parts = Parts {
        node: "prod".parse().unwrap(),
        membership: None,
        mint: None,
        secrets: Secrets::new(|_| Some("robot".to_owned())),
        clock: Clock::system(),
        tasks: tasks.clone(),
        observer: Arc::new(Unobserved),
    };
    (Config::default().build(parts), tasks)
}

async fn asked(upstream: &dyn Upstream) -> Error {
    let repository = "team/app".parse().unwrap();
    let (page, request) = (Page::default(), request());
    upstream
        .tags(&repository, &page, Patience::Long, &request)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn an_unchanged_rule_keeps_its_upstream_and_a_changed_one_gets_another() {
    let (pool, _tasks) = pool();
    let mut topology = topology();
    let mut rule = rule("registry.corp.example/team/*");
    let first = pool.build(&rule, &topology);
    assert_eq!(first.name(), "registry.corp.example");
    assert!(Arc::ptr_eq(&first, &pool.build(&rule, &topology)));
    rule.freshness.check = rule::Check::Never;
    assert!(Arc::ptr_eq(&first, &pool.build(&rule, &topology)));
    rule.authentication = Authentication::Credentials("corp".parse().unwrap());
    let second = pool.build(&rule, &topology);
    assert!(!Arc::ptr_eq(&first, &second));
    let set = topology.credentials.values_mut().next().unwrap();
    set.username = SecretRef::Env("OTHER".into());
    let third = pool.build(&rule, &topology);
    assert!(!Arc::ptr_eq(&second, &third));
    pool.retain(&HashSet::new());
    assert!(!Arc::ptr_eq(&third, &pool.build(&rule, &topology)));
}

#[tokio::test]
async fn rules_with_one_credential_share_its_account_and_nothing_else() {
    let (pool, _tasks) = pool();
    let topology = topology();
    let one = rule("registry.corp.example/team/*");
    let mut two = rule("registry.corp.example/base/*");
    two.name = "silver".parse().unwrap();
    let (first, second) = (pool.build(&one, &topology), pool.build(&two, &topology));
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(pool.lock().accounts.len(), 1);
    two.authentication = Authentication::Credentials("corp".parse().unwrap());
    let third = pool.build(&two, &topology);
    assert!(!Arc::ptr_eq(&second, &third));
    assert_eq!(pool.lock().accounts.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_carried_out_says_why() {
    let (pool, _tasks) = pool();
    let mut topology = topology();
    let mut identity = rule("node://edge/a");
    identity.authentication = Authentication::Identity("reader".parse().unwrap());
    let error = asked(&*pool.build(&identity, &topology)).await;
    assert_eq!(error.refusal, Refusal::IdentityNotAttached);
    assert!(!error.is_away() && error.detail.contains("not attached to node prod"));
    attach(&mut topology, "reader");
    let error = asked(&*pool.build(&identity, &topology)).await;
    assert_eq!(error.refusal, Refusal::IdentityTokenFailed);
    assert!(
        error.is_away()
            && error
                .detail
                .contains("control plane, and this node has none")
    );

    let absent = asked(&*pool.build(&rule("node://gone/a"), &topology)).await;
    assert!(
        absent.is_away() && absent.detail.contains("'gone'"),
        "{absent}"
    );

    let mut secret = rule("registry.corp.example/team/*");
    secret.authentication = Authentication::Credentials("corp".parse().unwrap());
    let error = asked(&*pool.build(&secret, &topology)).await;
    assert_eq!(error.refusal, Refusal::SecretUnavailable);
    assert!(error.detail.contains("/run/secrets/absent"), "{error}");

    let ca = topology::model::Upstream {
        ca: Some(PathBuf::from("/absent/ca.pem")),
        ..topology::model::Upstream::default()
    };
    topology
        .upstreams
        .insert("registry.corp.example".into(), ca);
    let error = asked(&*pool.build(&rule("registry.corp.example/team/*"), &topology)).await;
    assert!(
        error.is_away() && error.detail.contains("/absent/ca.pem"),
        "{error}"
    );
}
