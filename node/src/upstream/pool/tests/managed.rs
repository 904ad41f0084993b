//! Managed identities towards a node on loopback that exchanges grants and writes down what it was shown: one rule's tokens are never
//! another's, a swap is in force with the next request and loses none in flight, and what cannot be had is said.

use axum::{
    Router,
    extract::{Request as Called, State as Extracted},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use identity::mint::{self, scripted::Scripted};
use tokio::sync::Semaphore;

use super::*;
use crate::upstream::TagPage;

/// A node: exchanges any grant it was not told to refuse for a refresh token that repeats it.
#[derive(Clone)]
struct Hub {
    address: std::net::SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<HashSet<String>>>,
    gate: Arc<Semaphore>,
}

impl Hub {
    async fn start(tasks: &Tasks) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hub = Self {
            address: listener.local_addr().unwrap(),
            calls: Arc::default(),
            refused: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        };
        let router = Router::new()
            .route("/oauth2/exchange", post(exchange))
            .route("/oauth2/token", post(token))
            .fallback(any(content))
            .with_state(hub.clone());
        tasks.spawn("hub", async move {
            axum::serve(listener, router).await.unwrap();
        });
        hub
    }

    fn call(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn count(&self, beginning: &str) -> usize {
        let calls = self.calls();
        calls.iter().filter(|c| c.starts_with(beginning)).count()
    }
}

fn fields(body: &str) -> HashMap<String, String> {
    let pairs = url::form_urlencoded::parse(body.as_bytes());
    pairs.into_owned().collect()
}

async fn exchange(Extracted(hub): Extracted<Hub>, body: String) -> Response {
    let form = fields(&body);
    let grant = &form["access_token"];
    hub.call(format!("exchange {grant} {}", form["service"]));
    if hub.refused.lock().unwrap().contains(grant) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    format!(r#"{{"refresh_token":"r-{grant}"}}"#).into_response()
}

async fn token(Extracted(hub): Extracted<Hub>, body: String) -> String {
    let form = fields(&body);
    let refresh = &form["refresh_token"];
    hub.call(format!("token {refresh} {}", form["scope"]));
    format!(r#"{{"access_token":"a-{refresh}","expires_in":300}}"#)
}

async fn content(Extracted(hub): Extracted<Hub>, called: Called) -> Response {
    let shown = called.headers().get(header::AUTHORIZATION);
    let shown = shown.map_or("nobody", |value| value.to_str().unwrap());
    hub.call(format!("{} {shown}", called.uri().path()));
    if !shown.starts_with("Bearer a-r-grant-") {
        let realm = format!(
            r#"Bearer realm="http://{}/oauth2/token",service="hub""#,
            hub.address
        );
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", realm)]).into_response();
    }
    let _open = hub.gate.acquire().await.unwrap();
    r#"{"name":"team/app","tags":["1"]}"#.into_response()
}

struct Rig {
    hub: Hub,
    mint: Arc<Scripted>,
    pool: Arc<Pool>,
    topology: Topology,
    tasks: Tasks,
}

impl Rig {
    async fn new() -> Self {
        let (tasks, clock) = (Tasks::new("test"), Clock::system());
        let hub = Hub::start(&tasks).await;
        let mint = Arc::new(Scripted::new(&clock));
        let shared: Arc<dyn Mint> = Arc::<Scripted>::clone(&mint);
        let parts = Parts {
            mint: Some(shared),
            ..pool().0.parts
        };
        let parts = Parts {
            clock,
            tasks: tasks.clone(),
            ..parts
        };
        let mut topology = topology();
        let edge = topology.nodes.get_mut(&"edge".parse().unwrap()).unwrap();
        edge.endpoint.port = hub.address.port();
        attach(&mut topology, "reader");
        attach(&mut topology, "writer");
        let pool = Arc::new(Config::default().build(parts));
        Self {
            hub,
            mint,
            pool,
            topology,
            tasks,
        }
    }

    fn build(&self, rule: &Rule) -> Arc<dyn Upstream> {
        self.pool.build(rule, &self.topology)
    }
}

fn as_identity(rule_name: &str, identity: &str) -> Rule {
    let mut rule = rule("node://edge/team/*");
    rule.name = rule_name.parse().unwrap();
    rule.authentication = Authentication::Identity(identity.parse().unwrap());
    rule
}

async fn pull(upstream: &dyn Upstream) -> Result<TagPage, Error> {
    let repository = "team/app".parse().unwrap();
    let (page, request) = (Page::default(), request());
    upstream
        .tags(&repository, &page, Patience::Long, &request)
        .await
}

#[tokio::test]
async fn one_identity_on_two_rules_is_two_grants_and_no_token_is_shared() {
    let rig = Rig::new().await;
    let (golden, silver) = (
        as_identity("golden", "reader"),
        as_identity("silver", "reader"),
    );
    let (first, second) = (rig.build(&golden), rig.build(&silver));
    for _ in 0..2 {
        pull(&*first).await.unwrap();
        pull(&*second).await.unwrap();
    }
    let asked = rig.mint.asked();
    let rules: Vec<&str> = asked.iter().map(|wanted| wanted.rule.as_str()).collect();
    assert_eq!(rules, ["golden", "silver"]);
    let login_server = rig.hub.address.to_string();
    assert_eq!(asked[0].audience, mint::Audience::Upstream(login_server));
    let calls = rig.hub.calls();
    let own = |grant: &str| {
        vec![
            "/v2/team/app/tags/list nobody".to_owned(),
            format!("exchange {grant} hub"),
            format!("token r-{grant} repository:team/app:pull"),
            format!("/v2/team/app/tags/list Bearer a-r-{grant}"),
        ]
    };
    let mut wanted = [own("grant-1"), own("grant-2")].concat();
    wanted.extend((1..=2).map(|n| format!("/v2/team/app/tags/list Bearer a-r-grant-{n}")));
    assert_eq!(calls, wanted, "and a warm pull costs no token call");
    assert!(first.token_ends().is_some());
}

/// `cache update --identity` in a pull loop: the next request is the new identity's, none in flight fails.
#[tokio::test]
async fn another_identity_is_in_force_for_the_next_pull_and_fails_none_in_flight() {
    let mut rig = Rig::new().await;
    let before = rig.build(&as_identity("golden", "reader"));
    pull(&*before).await.unwrap();
    rig.hub.gate.forget_permits(Semaphore::MAX_PERMITS);
    let (tasks, asked) = (rig.tasks.clone(), rig.hub.count("/v2/"));
    let in_flight: Vec<_> = (0..8)
        .map(|_| {
            let upstream = Arc::clone(&before);
            tasks.spawn("pull", async move { pull(&*upstream).await })
        })
        .collect();
    while rig.hub.count("/v2/") < asked + 8 {
        tokio::task::yield_now().await;
    }
    let after = rig.build(&as_identity("golden", "writer"));
    assert!(!Arc::ptr_eq(&before, &after));
    drop(before);
    rig.hub.gate.add_permits(Semaphore::MAX_PERMITS);
    for _ in 0..20 {
        pull(&*after).await.unwrap();
    }
    for pull in in_flight {
        pull.await.unwrap().unwrap();
    }
    let identities: Vec<String> = (rig.mint.asked().iter())
        .map(|wanted| wanted.identity.to_string())
        .collect();
    assert_eq!(identities, ["reader", "writer"]);
    assert_eq!(
        rig.hub.count("/v2/team/app/tags/list Bearer a-r-grant-1"),
        9
    );
    assert_eq!(
        rig.hub.count("/v2/team/app/tags/list Bearer a-r-grant-2"),
        20
    );

    // The same name, defined anew: what the earlier one was given is not shown any more.
    assert!(Arc::ptr_eq(
        &after,
        &rig.build(&as_identity("golden", "writer"))
    ));
    let identity = rig.topology.identities.get_mut(&"writer".parse().unwrap());
    identity.unwrap().sources = vec!["node://edge/*".into()];
    let anew = rig.build(&as_identity("golden", "writer"));
    assert!(!Arc::ptr_eq(&after, &anew));
    pull(&*anew).await.unwrap();
    assert_eq!(rig.hub.count("exchange grant-3"), 1);
}

#[tokio::test]
async fn a_grant_that_was_withdrawn_is_replaced_within_the_same_pull() {
    let rig = Rig::new().await;
    let upstream = rig.build(&as_identity("golden", "reader"));
    rig.hub.refused.lock().unwrap().insert("grant-1".into());
    pull(&*upstream).await.unwrap();
    assert_eq!((rig.hub.count("exchange"), rig.mint.anew()), (2, 1));
    let refused: HashSet<String> = (1..9).map(|n| format!("grant-{n}")).collect();
    *rig.hub.refused.lock().unwrap() = refused;
    let other = rig.build(&as_identity("silver", "reader"));
    let error = pull(&*other).await.unwrap_err();
    assert_eq!(error.refusal, Refusal::UpstreamUnauthorized);
    assert_eq!((error.kind, error.status), (Kind::Denied, Some(401)));
    assert!(!error.detail.contains("grant-"), "{error}");
}

/// T36: neither anonymous nor anybody else's, and the first pull after the return works.
#[tokio::test]
async fn t36_a_rule_without_a_grant_asks_nobody_and_heals_with_the_next_pull() {
    let rig = Rig::new().await;
    let other = rig.build(&as_identity("silver", "reader"));
    pull(&*other).await.unwrap();
    let before = rig.hub.calls().len();
    let upstream = rig.build(&as_identity("golden", "reader"));
    let away = mint::Error::Away("it is not connected".into());
    rig.mint.always(Some(away));
    for _ in 0..20 {
        let error = pull(&*upstream).await.unwrap_err();
        assert_eq!(error.refusal, Refusal::IdentityTokenFailed);
        assert!(
            error.is_away() && error.detail.contains("control plane"),
            "{error}"
        );
    }
    let refused = mint::Error::Refused("the rule is not on this node".into());
    rig.mint.always(Some(refused));
    let error = pull(&*upstream).await.unwrap_err();
    assert_eq!(error.refusal, Refusal::IdentityNotAttached);
    assert_eq!(error.kind, Kind::Denied);
    assert_eq!(rig.hub.calls().len(), before, "not even anonymously");
    rig.mint.always(None);
    pull(&*upstream).await.unwrap();
}

#[tokio::test]
async fn a_grant_goes_to_nobody_who_is_not_known_to_be_the_node() {
    let mut rig = Rig::new().await;
    let mut rule = as_identity("golden", "reader");
    rule.source = super::rule("node://hub/team/*").source;
    let over_tls = rig.build(&rule);
    let error = pull(&*over_tls).await.unwrap_err();
    assert_eq!(error.refusal, Refusal::IdentityTokenFailed);
    assert!(
        error.detail.contains("under this node's certificate"),
        "{error}"
    );
    let hub = rig.topology.nodes.get_mut(&"hub".parse().unwrap()).unwrap();
    (hub.endpoint, hub.peer_endpoint) = (endpoint(false, "192.0.2.7", 80), None);
    let in_the_clear = pull(&*rig.build(&rule)).await.unwrap_err();
    assert_eq!(in_the_clear.refusal, Refusal::IdentityTokenFailed);
    rule.source = super::rule("registry.corp.example/team/*").source;
    let elsewhere = pull(&*rig.build(&rule)).await.unwrap_err();
    assert!(elsewhere.detail.contains("nodes of this mesh alone"));
    assert!(rig.mint.asked().is_empty() && rig.hub.calls().is_empty());
}
