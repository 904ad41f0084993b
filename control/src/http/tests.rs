//! The API without a socket: the matrix of routes and roles, conditions, forms, and what every answer has.

use std::sync::Mutex;

use axum::{Router, body::Body};
use http::{Method, Request};
use http_body_util::BodyExt;
use runtime::{Secret, metric::Registry};
use serde_json::{Value, json};
use tower::ServiceExt;
use wire::{
    api::ask::{Answer, Question},
    assignment::Role,
    name::NodeName,
};

use super::{endpoint::Needs, *};
use crate::{
    ask,
    asking::{Asking, Seen},
    ca, publish,
    seal::Seal,
    sign_in::{device::Kept, oidc},
    signing_key::{self, SigningKeys},
    state::memory::Memory,
};

mod change;
mod form;
mod issuer;
mod matrix;
mod stream;

pub(super) const ADMIN: &str = "an-admin-token-of-more-than-32-characters";

pub(super) const TOPOLOGY: &str = r#"
version: 1
mesh: one
nodes:
  dev: {endpoint: 'http://127.0.0.1:5000'}
  prod: {parent: dev, endpoint: 'http://127.0.0.1:5001', labels: {env: prod}}
identities:
  promoter: {kind: managed, on: {labels: {env: prod}}}
credentials:
  hub: {loginServer: docker.io, username: {env: HUB_USER}, password: {env: HUB}}
rules:
  base: {on: dev, source: docker.io/library/*, target: library/*, credentials: hub}
  promote: {on: {labels: {env: prod}}, source: node://dev/team/api, target: promoted/api, identity: promoter}
accounts:
  administrator: {password: {env: P}}
  reader: {password: {env: P}}
  rules: {password: {env: P}}
  rules-only: {password: {env: P}}
  credentials: {password: {env: P}}
  enroller: {password: {env: P}}
  nobody: {password: {env: P}}
access:
  - {allow: repository-reader, to: 'identity:promoter', on: dev}
  - {allow: mesh-administrator, to: 'account:administrator'}
  - {allow: mesh-reader, to: 'account:reader'}
  - {allow: cache-rule-administrator, to: 'account:rules'}
  - {allow: cache-rule-administrator, to: 'account:rules-only'}
  - {allow: identity-user, to: 'account:rules', identities: [promoter]}
  - {allow: credential-set-administrator, to: 'account:credentials'}
  - {allow: node-enroller, to: 'account:enroller', on: dev}
webhooks:
  gate: {on: prod, url: 'https://hooks.example/', actions: [push]}
"#;

/// Nodes that answer what a test says, and are away otherwise.
#[derive(Default)]
pub(super) struct Nodes(Mutex<Vec<Answer>>);

#[async_trait::async_trait]
impl Asking for Nodes {
    fn seen(&self) -> Seen {
        Seen::default()
    }

    async fn ask(&self, node: &NodeName, _: Question, _: Duration) -> Result<Answer, ask::Error> {
        let answer = self.0.lock().unwrap().pop();
        answer.ok_or_else(|| ask::Error::NotConnected(node.clone()))
    }

    async fn recover(&self, _: &str) -> Result<Generation, publish::Error> {
        Err(publish::Error::Bad("nothing to recover".into()))
    }
}

pub(super) struct Rig {
    pub(super) api: Arc<Api>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) clock: Clock,
    router: Router,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Value,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) async fn rig() -> Rig {
    let rig = empty().await;
    let got = rig.apply(TOPOLOGY).await;
    assert_eq!(got.status, 200, "{}", got.body);
    rig
}

pub(super) async fn empty() -> Rig {
    let (clock, tasks) = (Clock::manual(1_700_000_000_000), Tasks::new("test"));
    let state: Arc<dyn State> = Arc::new(Memory::new(clock.clone()));
    let seal = Arc::new(Seal::generate().unwrap());
    let (stored, sealed) = (Arc::clone(&state), Arc::clone(&seal));
    let kept = signing_key::Config::default();
    let keys = SigningKeys::open(stored, sealed, clock.clone(), kept, &tasks);
    let keys = Arc::new(keys.await.unwrap());
    let (stored, signing) = (Arc::clone(&state), Arc::clone(&keys));
    let publisher = Publisher::issuing(stored, signing, clock.clone(), &tasks);
    let publisher = publisher.await.unwrap();
    let ca = Ca::open(
        Arc::clone(&state),
        seal,
        clock.clone(),
        ca::Config::default(),
    );
    let ca = Arc::new(ca.await.unwrap());
    let enrol = Enrol::build(
        publisher.clone(),
        Arc::clone(&state),
        Arc::clone(&ca),
        oidc::fake::oidc(&clock),
        clock.clone(),
        "127.0.0.1:7443".into(),
    );
    let secrets = identity::secret::Secrets::new(|_| Some("correct horse".to_owned()));
    let key = Secret::new(vec![7; 32]);
    let nodes = Arc::new(Nodes::default());
    let api = Arc::new(Api {
        enrol: Arc::new(enrol.await.unwrap()),
        sign_in: SignIn::new(
            &Secret::from(ADMIN),
            &key,
            secrets,
            oidc::fake::oidc(&clock),
            Kept::in_memory(&clock),
            &clock,
            &tasks,
        )
        .unwrap(),
        nodes: Arc::clone(&nodes) as Arc<dyn Asking>,
        alarms: Alarms::default(),
        metrics: Metrics::new(&Registry::new()),
        settings: Settings::default(),
        streams: Limit::new("event_streams", 4),
        plans: Limit::new("plans", 1),
        issuer: Issuer::new(publisher.clone(), keys, clock.clone(), tasks.clone()),
        refusals: Window::default(),
        document: OnceLock::new(),
        clock: clock.clone(),
        publisher,
        ca,
        state,
        tasks,
    });
    Rig {
        router: router(Arc::clone(&api)),
        nodes,
        clock,
        api,
    }
}

impl Rig {
    /// Asks with headers and a body as they are.
    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Got {
        let (parts, body) = self.raw(method, path, headers, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        }
    }

    /// Asks as the administrator, with JSON.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> Got {
        self.with(method, path, &[], body).await
    }

    /// Asks as the administrator, with JSON and further headers.
    pub(super) async fn with(
        &self,
        method: Method,
        path: &str,
        further: &[(&str, &str)],
        body: Value,
    ) -> Got {
        let bearer = format!("Bearer {ADMIN}");
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        headers.extend(further);
        self.send(method, path, &headers, &body.to_string()).await
    }

    pub(super) async fn get(&self, path: &str) -> Got {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub(super) async fn apply(&self, text: &str) -> Got {
        let body = json!({"files": [{"name": "test.yaml", "text": text}]});
        self.ask(Method::POST, "/api/v1/topology:apply", body).await
    }

    /// A session of an account.
    pub(super) async fn session(&self, account: &str) -> String {
        let body = json!({"account": account, "password": "correct horse"});
        let json = [("content-type", "application/json")];
        let got = self
            .send(Method::POST, "/api/v1/sign-in", &json, &body.to_string())
            .await;
        assert_eq!(got.status, 200, "{}", got.body);
        got.body["token"].as_str().unwrap().to_owned()
    }
}
