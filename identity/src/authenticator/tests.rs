//! Promises of the authenticator, against a token service on loopback that writes down what it was asked.

mod exchange;
mod safety;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use wire::scope::Action;

use super::*;
use crate::token_source::{Anonymous, fixed::Fixed};

/// Status, a header `name: value` or nothing, body.
type Scripted = (u16, &'static str, String);

/// What was asked: `GET /token?… basic-or-bearer` or `POST /token body`.
#[derive(Clone, Default)]
struct Service {
    seen: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Scripted>>>,
}

impl Service {
    async fn start(tasks: &Tasks) -> (Self, SocketAddr) {
        let this = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(this.clone());
        tasks.spawn("token-service", async move {
            axum::serve(listener, router).await.unwrap();
        });
        (this, address)
    }

    /// Answers come in this order; without one, a token named by its number is granted for 300 s.
    fn then(&self, status: u16, header: &'static str, body: &str) {
        let answer = (status, header, body.to_owned());
        self.answers.lock().unwrap().push_back(answer);
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    State(service): State<Service>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let shown = headers
        .get("authorization")
        .map_or("", |value| value.to_str().unwrap());
    let body = String::from_utf8(body.to_vec()).unwrap();
    let number = {
        let mut seen = service.seen.lock().unwrap();
        seen.push(format!("{method} {uri} {shown}{body}"));
        seen.len()
    };
    let next = service.answers.lock().unwrap().pop_front();
    let Some((status, header, body)) = next else {
        if uri.path() == "/oauth2/exchange" {
            return format!(r#"{{"refresh_token":"r{number}"}}"#).into_response();
        }
        return format!(r#"{{"token":"t{number}","expires_in":300}}"#).into_response();
    };
    let status = StatusCode::from_u16(status).unwrap();
    match header.split_once(": ") {
        Some((name, value)) => (status, [(name, value)], body).into_response(),
        None => (status, body).into_response(),
    }
}

struct Rig {
    tasks: Tasks,
    clock: Clock,
    service: Service,
    address: SocketAddr,
}

impl Rig {
    async fn new() -> Self {
        let tasks = Tasks::new("test");
        let (service, address) = Service::start(&tasks).await;
        let clock = Clock::manual(1_800_000_000_000);
        Self {
            tasks,
            clock,
            service,
            address,
        }
    }

    fn config(&self) -> Config {
        let origin = format!("http://{}", self.address).parse().unwrap();
        Config {
            realms: realm::Policy {
                upstream: realm::Origin::of(&origin).unwrap(),
                profile: None,
                declared: Vec::new(),
                aliases: Vec::new(),
            },
            known: None,
            basic_first: false,
            refusal_may_mean_missing: false,
            timeout: Duration::from_secs(10),
        }
    }

    fn build(&self, config: Config, source: impl TokenSource) -> Authenticator {
        let options = egress::Options {
            policy: egress::Policy::naming(["127.0.0.1"]),
            ..egress::Options::default()
        };
        let client = options.build().unwrap();
        config.build(Arc::new(source), client, self.clock.clone(), &self.tasks)
    }

    fn anonymous(&self) -> Authenticator {
        self.build(self.config(), Anonymous)
    }

    fn with_password(&self) -> Authenticator {
        self.build(self.config(), Fixed::password("robot", "hunter2"))
    }

    fn challenge(&self) -> Vec<Challenge> {
        let line = format!(
            r#"Bearer realm="http://{}/token",service="registry.test""#,
            self.address
        );
        Challenge::parse([line.as_str()])
    }
}

fn scopes(name: &str) -> Vec<Scope> {
    vec![Scope::repository(name.parse().unwrap(), [Action::Pull])]
}

fn shown(authorization: &Authorization) -> String {
    assert!(authorization.header.is_sensitive());
    authorization.header.to_str().unwrap().to_owned()
}

const ROBOT: &str = "Basic cm9ib3Q6aHVudGVyMg==";

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_and_known_from_then_on() {
    let rig = Rig::new().await;
    let authenticator = rig.anonymous();
    let app = scopes("team/app");
    assert!(authenticator.authorize(&app).await.unwrap().is_none());
    let first = authenticator.challenged(&rig.challenge(), &app, None).await;
    let first = first.unwrap();
    assert_eq!((shown(&first).as_str(), first.cached), ("Bearer t1", false));
    let again = authenticator.authorize(&app).await.unwrap().unwrap();
    assert_eq!((shown(&again).as_str(), again.cached), ("Bearer t1", true));
    // Another repository: its token is fetched before its first request.
    let other = authenticator.authorize(&scopes("team/other")).await;
    assert_eq!(shown(&other.unwrap().unwrap()), "Bearer t2");
    assert_eq!(
        rig.service.seen(),
        [
            "GET /token?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull&client_id=regmesh ",
            "GET /token?service=registry.test&scope=repository%3Ateam%2Fother%3Apull&client_id=regmesh ",
        ]
    );
}

#[tokio::test]
async fn a_password_goes_by_get_with_basic_and_by_post_where_there_is_no_get() {
    let rig = Rig::new().await;
    let authenticator = rig.with_password();
    let app = scopes("team/app");
    let got = authenticator.challenged(&rig.challenge(), &app, None).await;
    assert_eq!(shown(&got.unwrap()), "Bearer t1");
    assert!(rig.service.seen()[0].ends_with(&format!("client_id=regmesh&account=robot {ROBOT}")));
    rig.service.then(405, "", "");
    let other = authenticator.authorize(&scopes("team/other")).await;
    assert_eq!(shown(&other.unwrap().unwrap()), "Bearer t3");
    assert_eq!(
        rig.service.seen()[2],
        "POST /token grant_type=password&username=robot&password=hunter2&access_type=offline&client_id=regmesh&scope=repository%3Ateam%2Fother%3Apull&service=registry.test"
    );
}

#[tokio::test]
async fn a_refresh_token_is_kept_and_given_up_when_it_is_not_taken() {
    let rig = Rig::new().await;
    let authenticator = rig.with_password();
    rig.service
        .then(200, "", r#"{"token":"a","refresh_token":"r"}"#);
    let app = authenticator
        .challenged(&rig.challenge(), &scopes("a/a"), None)
        .await;
    assert_eq!(shown(&app.unwrap()), "Bearer a");
    let by_refresh = authenticator.authorize(&scopes("b/b")).await;
    assert_eq!(shown(&by_refresh.unwrap().unwrap()), "Bearer t2");
    assert!(
        rig.service.seen()[1].starts_with("POST /token grant_type=refresh_token&refresh_token=r&")
    );
    rig.service.then(400, "", r#"{"error":"invalid_grant"}"#);
    let by_password = authenticator.authorize(&scopes("c/c")).await;
    assert_eq!(shown(&by_password.unwrap().unwrap()), "Bearer t4");
    authenticator.authorize(&scopes("d/d")).await.unwrap();
    let methods: Vec<String> = rig.service.seen();
    let methods: Vec<&str> = methods.iter().filter_map(|s| s.split(' ').next()).collect();
    assert_eq!(methods, ["GET", "POST", "POST", "GET", "GET"]);
}

#[tokio::test]
async fn basic_is_sent_where_basic_is_asked_for() {
    let rig = Rig::new().await;
    let challenge = Challenge::parse([r#"Basic realm="x",service="ecr.amazonaws.com""#]);
    let authenticator = rig.with_password();
    let got = authenticator
        .challenged(&challenge, &scopes("a/a"), None)
        .await;
    assert_eq!(shown(&got.unwrap()), ROBOT);
    let next = authenticator.authorize(&scopes("b/b")).await.unwrap();
    assert_eq!(shown(&next.unwrap()), ROBOT);
    let nobody = rig
        .anonymous()
        .challenged(&challenge, &scopes("a/a"), None)
        .await;
    assert!(matches!(
        nobody,
        Err(Error::Refused {
            refusal: Refusal::UpstreamUnauthorized,
            ..
        })
    ));
    assert!(rig.service.seen().is_empty());
}

#[tokio::test]
async fn a_known_token_service_is_asked_before_the_first_request() {
    let rig = Rig::new().await;
    let mut config = rig.config();
    config.known = Some(Known {
        realm: format!("http://{}/token", rig.address),
        service: Some("s".into()),
        scope: Some("aws".into()),
    });
    let authenticator = rig.build(config, Anonymous);
    let got = authenticator.authorize(&scopes("a/a")).await.unwrap();
    assert!(!got.unwrap().cached);
    let other = authenticator.authorize(&scopes("b/b")).await.unwrap();
    assert!(other.unwrap().cached);
    let seen = ["GET /token?service=s&scope=aws&client_id=regmesh "];
    assert_eq!(rig.service.seen(), seen);
}

#[tokio::test]
async fn a_thousand_at_once_cost_one_token_request() {
    let rig = Rig::new().await;
    let authenticator = rig.anonymous();
    let (challenge, app) = (rig.challenge(), scopes("a/a"));
    let asks = (0..1000).map(|_| authenticator.challenged(&challenge, &app, None));
    for got in futures_util::future::join_all(asks).await {
        assert_eq!(shown(&got.unwrap()), "Bearer t1");
    }
    assert_eq!(rig.service.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_dropped_and_the_next_one_is_new() {
    let rig = Rig::new().await;
    let authenticator = rig.anonymous();
    let (challenge, app) = (rig.challenge(), scopes("a/a"));
    authenticator
        .challenged(&challenge, &app, None)
        .await
        .unwrap();
    let stale = authenticator.authorize(&app).await.unwrap().unwrap();
    let fresh = authenticator
        .challenged(&challenge, &app, Some(&stale))
        .await;
    assert_eq!(shown(&fresh.unwrap()), "Bearer t2");
    // Somebody late with the same stale token gets the new one.
    let late = authenticator
        .challenged(&challenge, &app, Some(&stale))
        .await;
    assert_eq!(shown(&late.unwrap()), "Bearer t2");
    // ECR Public says 400 without a challenge.
    let stale = authenticator.authorize(&app).await.unwrap().unwrap();
    let fresh = authenticator.challenged(&[], &app, Some(&stale)).await;
    assert_eq!(shown(&fresh.unwrap()), "Bearer t3");
}

#[tokio::test]
async fn a_token_is_renewed_at_half_its_life_while_the_old_one_still_serves() {
    let rig = Rig::new().await;
    let authenticator = rig.anonymous();
    let app = scopes("a/a");
    authenticator
        .challenged(&rig.challenge(), &app, None)
        .await
        .unwrap();
    rig.clock.advance(Duration::from_secs(151));
    let meanwhile = authenticator.authorize(&app).await.unwrap().unwrap();
    assert_eq!(shown(&meanwhile), "Bearer t1");
    for _ in 0..10_000 {
        let now = authenticator.authorize(&app).await.unwrap().unwrap();
        if shown(&now) == "Bearer t2" {
            assert_eq!(rig.service.seen().len(), 2);
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    unreachable!("the renewal never came");
}

#[tokio::test]
async fn an_expired_token_is_never_sent() {
    let rig = Rig::new().await;
    let authenticator = rig.anonymous();
    let app = scopes("a/a");
    authenticator
        .challenged(&rig.challenge(), &app, None)
        .await
        .unwrap();
    rig.clock.advance(Duration::from_secs(300));
    rig.service.then(500, "", "oops");
    let error = authenticator.authorize(&app).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Away {
                status: Some(500),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_realm_with_a_query_of_its_own_keeps_it_and_nothing_is_doubled() {
    let rig = Rig::new().await;
    let line = format!(
        r#"Bearer realm="http://{}/proxy_auth?scope=repository:a/a:pull&x=1""#,
        rig.address
    );
    let challenge = Challenge::parse([line.as_str()]);
    let got = rig
        .anonymous()
        .challenged(&challenge, &scopes("a/a"), None)
        .await;
    got.unwrap();
    assert_eq!(
        rig.service.seen(),
        ["GET /proxy_auth?scope=repository:a/a:pull&x=1&client_id=regmesh "]
    );
}

#[tokio::test]
async fn a_token_service_that_hangs_is_given_up() {
    let tasks = Tasks::new("test");
    // Accepts nothing: connections stay in the backlog.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig {
        address: listener.local_addr().unwrap(),
        service: Service::default(),
        clock: Clock::system(),
        tasks,
    };
    let mut config = rig.config();
    config.timeout = Duration::from_millis(50);
    let authenticator = rig.build(config, Anonymous);
    let got = authenticator
        .challenged(&rig.challenge(), &scopes("a/a"), None)
        .await;
    let error = got.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Away {
                refusal: Refusal::UpstreamUnavailable,
                ..
            }
        ),
        "{error}"
    );
}
