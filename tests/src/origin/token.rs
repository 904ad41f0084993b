//! Who may pull from the scripted upstream, and the Docker token service that stands beside it.
//!
//! Tokens are strings to be recognised (`canary-token-N`), opaque as real ones are to clients. A token opens what its scopes name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runtime::Clock;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::{Answer, Request};

/// What a request must show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Open,
    Basic,
    Bearer,
}

/// The accounts, the tokens, and how both behave.
pub struct TokenService {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    access: Access,
    accounts: HashMap<String, String>,
    anonymous: bool,
    realm: String,
    expires_in: Option<u64>,
    refresh: bool,
    tokens: HashMap<String, Token>,
    refresh_tokens: HashMap<String, String>,
    issued: usize,
}

struct Token {
    scopes: Vec<String>,
    until: Option<Instant>,
}

impl Default for TokenService {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            state: Mutex::new(State {
                access: Access::Open,
                accounts: HashMap::new(),
                anonymous: false,
                realm: String::new(),
                expires_in: Some(300),
                refresh: false,
                tokens: HashMap::new(),
                refresh_tokens: HashMap::new(),
                issued: 0,
            }),
        }
    }
}

impl TokenService {
    pub(super) fn stands_at(&self, address: SocketAddr) {
        self.realm(&format!("http://{address}/token"));
    }

    /// From now on every request to `/v2/` must show this.
    pub fn require(&self, access: Access) {
        self.state.lock().unwrap().access = access;
    }

    pub fn account(&self, user: &str, password: &str) {
        let mut state = self.state.lock().unwrap();
        state.accounts.insert(user.to_owned(), password.to_owned());
    }

    /// Whether the service gives tokens to nobody in particular.
    pub fn anonymous(&self, allowed: bool) {
        self.state.lock().unwrap().anonymous = allowed;
    }

    /// The realm that challenges name.
    pub fn realm(&self, realm: &str) {
        realm.clone_into(&mut self.state.lock().unwrap().realm);
    }

    /// Seconds; `None` leaves it out, which means 60 by the protocol.
    pub fn expires_in(&self, seconds: Option<u64>) {
        self.state.lock().unwrap().expires_in = seconds;
    }

    /// Whether refresh tokens are given with the tokens.
    pub fn refresh_tokens(&self, given: bool) {
        self.state.lock().unwrap().refresh = given;
    }

    /// Every token given so far is worth nothing any more.
    pub fn revoke(&self) {
        self.state.lock().unwrap().tokens.clear();
    }

    pub fn issued(&self) -> usize {
        self.state.lock().unwrap().issued
    }

    /// `None` when the request may pass.
    pub(super) fn refusal(&self, request: &Request) -> Option<Answer> {
        let state = self.state.lock().unwrap();
        let shown = request.header("authorization").unwrap_or("");
        match state.access {
            Access::Open => None,
            Access::Basic if state.account_of(shown).is_some() => None,
            Access::Basic => Some(challenge("Basic realm=\"origin\"".to_owned())),
            Access::Bearer => {
                let scope = scope_of(request);
                let now = self.clock.now();
                let token = shown.strip_prefix("Bearer ").unwrap_or("");
                if state
                    .tokens
                    .get(token)
                    .is_some_and(|token| token.opens(scope.as_deref(), now))
                {
                    return None;
                }
                let mut text = format!("Bearer realm=\"{}\",service=\"origin\"", state.realm);
                if let Some(scope) = scope {
                    text.push_str(&format!(",scope=\"{scope}\""));
                }
                Some(challenge(text))
            }
        }
    }

    /// `GET /token?service&scope…` with Basic, or the OAuth2 POST with a password or a refresh token.
    pub(super) fn issue(&self, request: &Request) -> Answer {
        let mut state = self.state.lock().unwrap();
        let (who, scopes) = match request.method.as_str() {
            "GET" => {
                let shown = request.header("authorization");
                (
                    shown.map(|shown| state.account_of(shown)),
                    request.params("scope"),
                )
            }
            _ => (Some(state.form_account(request)), request.form("scope")),
        };
        let user = match who {
            Some(None) => return Answer::error(401, "UNAUTHORIZED"),
            None if !state.anonymous => return Answer::error(401, "UNAUTHORIZED"),
            None => None,
            Some(user) => user,
        };
        let scopes = scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .map(str::to_owned)
            .collect();
        Answer::json(200, &state.grant(user, scopes, self.clock.now()))
    }
}

impl State {
    fn account_of(&self, authorization: &str) -> Option<String> {
        let decoded = STANDARD
            .decode(authorization.strip_prefix("Basic ")?)
            .ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        (self.accounts.get(user)? == password).then(|| user.to_owned())
    }

    fn form_account(&self, request: &Request) -> Option<String> {
        let field = |name| request.form(name).pop().unwrap_or_default();
        match field("grant_type").as_str() {
            "password" => {
                let (user, password) = (field("username"), field("password"));
                (*self.accounts.get(&user)? == password).then_some(user)
            }
            "refresh_token" => self.refresh_tokens.get(&field("refresh_token")).cloned(),
            _ => None,
        }
    }

    fn grant(&mut self, user: Option<String>, scopes: Vec<String>, now: Instant) -> Value {
        self.issued += 1;
        let token = format!("canary-token-{}", self.issued);
        let until = self
            .expires_in
            .map(|seconds| now + Duration::from_secs(seconds));
        self.tokens.insert(token.clone(), Token { scopes, until });
        let mut body = json!({"token": token, "access_token": token});
        if let Some(seconds) = self.expires_in {
            body["expires_in"] = json!(seconds);
        }
        if let (true, Some(user)) = (self.refresh, user) {
            let refresh = format!("canary-refresh-{}", self.issued);
            self.refresh_tokens.insert(refresh.clone(), user);
            body["refresh_token"] = json!(refresh);
        }
        body
    }
}

impl Token {
    fn opens(&self, scope: Option<&str>, now: Instant) -> bool {
        let in_time = self.until.is_none_or(|until| now < until);
        in_time && scope.is_none_or(|scope| self.scopes.iter().any(|own| covers(own, scope)))
    }
}

/// Whether `own` (`repository:NAME:pull,push`) contains `repository:NAME:pull`.
fn covers(own: &str, wanted: &str) -> bool {
    let split = |scope: &str| {
        let (resource, actions) = scope.rsplit_once(':')?;
        Some((
            resource.to_owned(),
            actions.split(',').map(str::to_owned).collect::<Vec<_>>(),
        ))
    };
    match (split(own), split(wanted)) {
        (Some((own, has)), Some((wanted, needs))) => {
            own == wanted && needs.iter().all(|a| has.contains(a))
        }
        _ => false,
    }
}

/// The scope a path needs; none for `/v2/`.
fn scope_of(request: &Request) -> Option<String> {
    let name = repository_of(&request.path)?;
    Some(format!("repository:{name}:pull"))
}

/// The repository that a path is about.
pub(crate) fn repository_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/v2/")?;
    let ends = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    Some(ends.iter().find_map(|end| path.rsplit_once(end))?.0)
}

fn challenge(text: String) -> Answer {
    Answer::error(401, "UNAUTHORIZED").with("www-authenticate", text)
}
