//! An OIDC issuer on loopback that makes any token: good ones, and every kind that must not be believed.
//!
//! Two kinds, after what real ones do (`reference/protocols.md` 5.1): Kubernetes-like, without `authorization_endpoint`, with ML-DSA and
//! X25519 keys beside the usual ones, discovery for callers with a bearer only and a `jwks_uri` of the cluster's inside; GitHub-like,
//! open to everybody, with both forms of `sub`. Keys rotate, the issuer goes away and comes back, and every request is recorded.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::jwt::{self, Key, Wrong};
use crate::server::{Answer, At, Record, Request, Serve, Server};

mod claims;

pub use claims::{github, github_with_ids, gitlab, kubernetes};

/// Where discovery is, by every provider's word.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// A running issuer. Dropped, it is gone.
pub struct Issuer {
    server: Server,
    desk: Arc<Desk>,
}

/// What it says, and to whom.
struct Desk(Mutex<State>);

struct State {
    url: String,
    /// What the discovery document names, if not where the keys are.
    jwks_uri: Option<String>,
    /// Nobody gets anything without this.
    bearer: Option<String>,
    keys: Vec<Arc<Key>>,
    /// Keys that nobody of us knows what to do with.
    odd: Vec<Value>,
    /// Of every answer, in place of the true one.
    instead: Option<Answer>,
    delay: Duration,
    made: u64,
}

impl Issuer {
    /// As a cluster's API server: RS256 and ES256 keys among odd ones, a bearer wanted.
    pub async fn kubernetes(bearer: &str) -> Self {
        let issuer = Self::start(vec![Key::rs256("k8s-rs"), Key::es256("k8s-es")]).await;
        issuer.change(|state| {
            state.bearer = Some(bearer.to_owned());
            state.odd = odd_keys();
        });
        issuer
    }

    /// As GitHub's, and most others: one RS256 key, for everybody to see.
    pub async fn github() -> Self {
        Self::start(vec![Key::rs256("gh-rs")]).await
    }

    /// Open to everybody, with these keys.
    pub async fn start(keys: Vec<Key>) -> Self {
        Self::start_at(At::loopback(), keys).await
    }

    pub async fn start_at(at: At, keys: Vec<Key>) -> Self {
        let desk = Arc::new(Desk(Mutex::new(State {
            url: String::new(),
            jwks_uri: None,
            bearer: None,
            keys: keys.into_iter().map(Arc::new).collect(),
            odd: Vec::new(),
            instead: None,
            delay: Duration::ZERO,
            made: 0,
        })));
        let serve: Arc<dyn Serve> = Arc::<Desk>::clone(&desk);
        let server = Server::start_at("issuer", at, serve).await;
        let issuer = Self { server, desk };
        let url = issuer.server.url();
        issuer.change(|state| state.url = url);
        issuer
    }

    /// Its `iss`.
    pub fn url(&self) -> String {
        self.state(|state| state.url.clone())
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the keys really are.
    pub fn keys_url(&self) -> String {
        self.server.url() + KEYS
    }

    /// Every request so far.
    pub fn record(&self) -> &Record {
        self.server.record()
    }

    /// How often the keys were asked for.
    pub fn key_fetches(&self) -> usize {
        self.record().of("GET", KEYS)
    }

    /// How often the discovery document was asked for.
    pub fn discoveries(&self) -> usize {
        self.record().of("GET", DISCOVERY)
    }

    /// What the discovery document calls `jwks_uri` from now on, as clusters do that nobody outside reaches.
    pub fn names_keys_at(&self, url: &str) {
        self.change(|state| state.jwks_uri = Some(url.to_owned()));
    }

    /// What the discovery document calls `issuer` from now on.
    pub fn calls_itself(&self, url: &str) {
        self.change(|state| url.clone_into(&mut state.url));
    }

    /// Who wants anything shows this bearer from now on.
    pub fn wants(&self, bearer: &str) {
        self.change(|state| state.bearer = Some(bearer.to_owned()));
    }

    /// Every answer is this one; `None` heals it.
    pub fn answers(&self, instead: Option<Answer>) {
        self.change(|state| state.instead = instead);
    }

    /// Every answer takes so long.
    pub fn takes(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Goes away: connections are cut, new ones refused.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    pub async fn resume(&self) {
        self.server.resume().await;
    }

    /// Publishes other keys in place of those it had, which it gives back.
    pub fn rotate(&self) -> Vec<Arc<Key>> {
        self.state(|state| {
            let fresh = state.keys.iter().map(|key| {
                let kid = format!("{}-next", key.kid);
                Arc::new(match key.alg() {
                    "RS256" => Key::rs256(&kid),
                    _ => Key::es256(&kid),
                })
            });
            let fresh = fresh.collect();
            std::mem::replace(&mut state.keys, fresh)
        })
    }

    /// The key that signs: the first of that algorithm.
    pub fn key(&self, alg: &str) -> Arc<Key> {
        let found = self.state(|state| state.keys.iter().find(|key| key.alg() == alg).cloned());
        found.unwrap_or_else(|| panic!("no key for {alg}"))
    }

    /// `claims` with `iss`, times and a `jti`, unless they have them.
    pub fn complete(&self, claims: &Value) -> Value {
        let mut claims = jwt::lasting(claims.clone(), 600);
        let (url, made) = self.state(|state| {
            state.made += 1;
            (state.url.clone(), state.made)
        });
        for (name, value) in [("iss", url), ("jti", format!("token-{made}"))] {
            if claims.get(name).is_none() {
                claims[name] = json!(value);
            }
        }
        claims
    }

    /// A good token, by its first key.
    pub fn token(&self, claims: &Value) -> String {
        let key = self.state(|state| Arc::clone(&state.keys[0]));
        key.token(&self.complete(claims))
    }

    /// A good token by a key of that algorithm.
    pub fn token_by(&self, alg: &str, claims: &Value) -> String {
        self.key(alg).token(&self.complete(claims))
    }

    /// A token of which one thing is wrong.
    pub fn wrong(&self, claims: &Value, wrong: Wrong) -> String {
        let key = self.state(|state| Arc::clone(&state.keys[0]));
        wrong.token(&key, &self.complete(claims))
    }

    /// Leaves a token in a file, as projected volumes and agents do.
    pub fn leave(&self, claims: &Value, file: &Path) {
        std::fs::write(file, self.token(claims)).expect("a test's directory");
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.desk.0.lock().unwrap())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state(change);
    }
}

impl Serve for Desk {
    fn answer(&self, request: &Request) -> Answer {
        let state = self.0.lock().unwrap();
        let mut answer = match &state.instead {
            Some(answer) => answer.clone(),
            None => state.honest(request),
        };
        answer.delivery.delay = state.delay;
        answer
    }
}

impl State {
    fn honest(&self, request: &Request) -> Answer {
        if let Some(bearer) = &self.bearer {
            let shown = request.header("authorization");
            if shown != Some(&format!("Bearer {bearer}")) {
                let status = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403});
                return Answer::json(403, &status);
            }
        }
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", DISCOVERY) => Answer::json(200, &self.document()),
            ("GET", KEYS) => {
                let usual = self.keys.iter().map(|key| key.jwk());
                // The odd ones first: a reader that stops at what it does not know finds nothing.
                let keys: Vec<Value> = self.odd.iter().cloned().chain(usual).collect();
                Answer::json(200, &json!({"keys": keys}))
                    .with("content-type", "application/jwk-set+json")
            }
            _ => Answer::json(404, &json!({"error": "not found"})),
        }
    }

    /// Without `authorization_endpoint`, as both kinds have it.
    fn document(&self) -> Value {
        let mut algorithms: Vec<&str> = self.keys.iter().map(|key| key.alg()).collect();
        if !self.odd.is_empty() {
            algorithms.push("ML-DSA-65");
        }
        let jwks_uri = match &self.jwks_uri {
            Some(url) => url.clone(),
            None => self.url.clone() + KEYS,
        };
        json!({
            "issuer": self.url,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }
}

/// ML-DSA (RFC 9964's `AKP`), X25519 (for encryption) and a `kty` that does not exist.
fn odd_keys() -> Vec<Value> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let bytes = |length: usize| URL_SAFE_NO_PAD.encode(vec![7_u8; length]);
    vec![
        json!({"kty": "AKP", "alg": "ML-DSA-65", "use": "sig", "kid": "k8s-pq", "pub": bytes(1952)}),
        json!({"kty": "OKP", "crv": "X25519", "use": "enc", "kid": "k8s-x", "x": bytes(32)}),
        json!({"kty": "SOMETHING-NEW", "kid": "k8s-new", "data": bytes(100)}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(url: &str, bearer: Option<&str>) -> (u16, Value) {
        let mut request = reqwest::Client::new().get(url);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    #[tokio::test]
    async fn a_cluster_shows_its_keys_to_those_with_a_bearer_only() {
        let issuer = Issuer::kubernetes("canary-sa").await;
        let discovery = issuer.url() + DISCOVERY;
        assert_eq!(get(&discovery, None).await.0, 403);
        let (status, document) = get(&discovery, Some("canary-sa")).await;
        assert_eq!((status, &document["issuer"]), (200, &json!(issuer.url())));
        assert!(document.get("authorization_endpoint").is_none());
        let (_, keys) = get(document["jwks_uri"].as_str().unwrap(), Some("canary-sa")).await;
        let token = jwt::parts(&issuer.token(&kubernetes("prod", "puller", "here"))).unwrap();
        let jwk = keys["keys"].as_array().unwrap().iter();
        let jwk = jwk.clone().find(|jwk| jwk["kid"] == token.header["kid"]);
        token.verify(jwk.unwrap(), "RS256").unwrap();
        assert_eq!(issuer.key_fetches(), 1);
    }

    #[tokio::test]
    async fn rotated_keys_are_published_no_more() {
        let issuer = Issuer::github().await;
        let before = issuer.rotate();
        let (_, keys) = get(&issuer.keys_url(), None).await;
        let token = jwt::parts(&before[0].token(&issuer.complete(&json!({})))).unwrap();
        let kids: Vec<&Value> = keys["keys"].as_array().unwrap().iter().collect();
        assert!(kids.iter().all(|jwk| jwk["kid"] != token.header["kid"]));
        assert!(token.verify(kids[0], "RS256").is_err());
    }
}
