//! Promises of the pool.

mod managed;

use std::{collections::BTreeMap, path::PathBuf};

use identity::token_source::azure::Environment;
use topology::model::{
    self, Credential, Endpoint, Identity, Network, Node,
    identity::{Federation, Flow, IdentityKind},
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

fn machine() -> Machine {
    let limit = Duration::from_millis(300);
    let nobody = "http://127.0.0.1:9".parse().unwrap();
    Machine::with_imds_at(Environment::default(), limit, Clock::system(), nobody).unwrap()
}

fn pool() -> (Pool, Tasks) {
    let tasks = Tasks::new("test");
    let parts = Parts {
        node: "prod".parse().unwrap(),
        membership: None,
        mint: None,
        machine: machine(),
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

    let ca = model::Upstream {
        ca: Some(PathBuf::from("/absent/ca.pem")),
        ..model::Upstream::default()
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

fn azure(client_id: &str, scope: Option<&str>) -> IdentityKind {
    IdentityKind::Azure {
        client_id: Some(client_id.to_owned()),
        object_id: None,
        resource_id: None,
        scope: scope.map(str::to_owned),
    }
}

fn federation() -> Federation {
    Federation {
        audience: None,
        token_url: Some("https://login.partner.example:443/t/token".to_owned()),
        client_id: Some("c".to_owned()),
        scope: None,
        flow: Flow::ClientAssertion,
        assertion: None,
        password_of: None,
    }
}

fn declare(topology: &mut Topology, name: &str, kind: IdentityKind, on: &[&str]) {
    let identity = Identity {
        kind,
        on: on.iter().map(|node| node.parse().unwrap()).collect(),
        sources: Vec::new(),
    };
    topology.identities.insert(name.parse().unwrap(), identity);
}

/// What a rule for `source` gets that calls as `name`.
async fn called(topology: &Topology, source: &str, name: &str) -> Error {
    let (pool, _tasks) = pool();
    let mut rule = rule(source);
    rule.authentication = Authentication::Identity(name.parse().unwrap());
    asked(&*pool.build(&rule, topology)).await
}

#[tokio::test]
async fn an_azure_token_goes_to_registries_of_azure_unless_it_has_a_scope_of_its_own() {
    let mut topology = topology();
    declare(&mut topology, "acr", azure("c", None), &["prod"]);
    declare(
        &mut topology,
        "own",
        azure("c", Some("api://x/.default")),
        &["prod"],
    );
    declare(&mut topology, "elsewhere", azure("c", None), &["hub"]);
    for (source, name, refusal, away) in [
        (
            "contoso.azurecr.io/a",
            "acr",
            Refusal::IdentityTokenFailed,
            true,
        ),
        ("127.0.0.1:9/a", "acr", Refusal::IdentityTokenFailed, true),
        (
            "registry.corp.example/a",
            "own",
            Refusal::IdentityTokenFailed,
            true,
        ),
        (
            "registry.corp.example/a",
            "acr",
            Refusal::IdentityNotAttached,
            false,
        ),
        (
            "evilazurecr.io/a",
            "acr",
            Refusal::IdentityNotAttached,
            false,
        ),
        (
            "contoso.azurecr.io/a",
            "elsewhere",
            Refusal::IdentityNotAttached,
            false,
        ),
    ] {
        let error = called(&topology, source, name).await;
        assert_eq!(
            (error.refusal, error.is_away()),
            (refusal, away),
            "{source} {name}: {error}"
        );
        assert_eq!(
            error.detail.contains("IMDS"),
            away,
            "{source} {name}: {error}"
        );
    }
    let plain = model::Upstream {
        insecure: true,
        ..model::Upstream::default()
    };
    topology
        .upstreams
        .insert("registry.corp.example".into(), plain);
    let error = called(&topology, "registry.corp.example/a", "own").await;
    assert!(error.detail.contains("only over https"), "{error}");
}

#[tokio::test]
async fn a_federated_identity_shows_what_it_may_and_what_it_is_shown_through_is_attached_too() {
    let mut topology = topology();
    let through = |name: &str| Federation {
        assertion: Some(name.parse().unwrap()),
        ..federation()
    };
    let for_registries = |flow| Federation {
        audience: Some("https://ContainerRegistry.azure.net/".into()),
        flow,
        ..through("here")
    };
    let plain = Federation {
        token_url: Some("http://login.partner.example/t".into()),
        assertion: Some("here".parse().unwrap()),
        ..federation()
    };
    declare(&mut topology, "here", azure("c", None), &["prod"]);
    declare(&mut topology, "there", azure("c", None), &["hub"]);
    for (name, federation) in [
        ("mesh", federation()),
        ("acr-there", for_registries(Flow::ClientAssertion)),
        ("acr-here", for_registries(Flow::Direct)),
        ("by-here", through("here")),
        ("by-there", through("there")),
        ("plain", plain),
    ] {
        declare(
            &mut topology,
            name,
            IdentityKind::Federated(federation),
            &["prod"],
        );
    }
    for (name, refusal, wanted) in [
        ("mesh", Refusal::IdentityTokenFailed, "this node has none"),
        ("acr-here", Refusal::IdentityTokenFailed, "IMDS"),
        ("acr-there", Refusal::IdentityNotAttached, "shown elsewhere"),
        ("by-here", Refusal::IdentityTokenFailed, "IMDS"),
        (
            "by-there",
            Refusal::IdentityNotAttached,
            "'there' is not attached",
        ),
        ("plain", Refusal::IdentityNotAttached, "is not https"),
    ] {
        let error = called(&topology, "partner.azurecr.io/a", name).await;
        assert_eq!(error.refusal, refusal, "{name}: {error}");
        assert!(error.detail.contains(wanted), "{name}: {error}");
    }
}

#[tokio::test]
async fn what_a_source_is_made_of_makes_another_upstream_when_it_changes() {
    let (pool, _tasks) = pool();
    let mut topology = topology();
    let through = Federation {
        assertion: Some("here".parse().unwrap()),
        ..federation()
    };
    declare(&mut topology, "here", azure("c", None), &["prod"]);
    declare(
        &mut topology,
        "partner",
        IdentityKind::Federated(through),
        &["prod"],
    );
    let set = topology.credentials.values_mut().next().unwrap();
    set.identity = Some("here".parse().unwrap());
    let mut federated = rule("partner.azurecr.io/a");
    federated.name = "federated".parse().unwrap();
    federated.authentication = Authentication::Identity("partner".parse().unwrap());
    let mut credentials = rule("registry.corp.example/a");
    credentials.authentication = Authentication::Credentials("corp".parse().unwrap());
    let build =
        |topology: &Topology| [&federated, &credentials].map(|rule| pool.build(rule, topology));
    let before = build(&topology);
    let same = build(&topology);
    assert!(Arc::ptr_eq(&before[0], &same[0]) && Arc::ptr_eq(&before[1], &same[1]));
    declare(&mut topology, "here", azure("other", None), &["prod"]);
    let after = build(&topology);
    assert!(!Arc::ptr_eq(&before[0], &after[0]) && !Arc::ptr_eq(&before[1], &after[1]));
    let slow = model::Upstream {
        proxy: Some("http://127.0.0.1:3128".into()),
        ..model::Upstream::default()
    };
    topology
        .upstreams
        .insert("login.partner.example".into(), slow);
    let proxied = build(&topology);
    assert!(!Arc::ptr_eq(&after[0], &proxied[0]) && Arc::ptr_eq(&after[1], &proxied[1]));
    declare(&mut topology, "here", azure("other", None), &["hub"]);
    let error = asked(&*build(&topology)[1]).await;
    assert_eq!(error.refusal, Refusal::IdentityNotAttached, "{error}");
}
