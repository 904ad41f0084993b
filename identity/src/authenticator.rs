//! From a proof and a challenge to the `Authorization` of a request, for one rule at one upstream.
//!
//! The caller sends what [`Authenticator::authorize`] gives, and after a 401 what [`Authenticator::challenged`] gives, once. Tokens
//! are renewed at half their life by one request at a time, and never shared with another rule: the object is the rule's own.
//! *Cannot get a token* ([`Error::Away`]) and *refused a token* ([`Error::Refused`]) are never mixed up, and nothing is sent to a
//! realm that [`realm::check`] does not allow. Source: `reference/protocols.md` 1.1-1.8.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use runtime::{Clock, Secret, Single, Tasks, egress};
use tokio::sync::Semaphore;
use wire::{challenge::Challenge, refusal::Refusal, scope::Scope, time::WallTime};

pub use self::error::Error;
use self::{
    challenge::{Ask, Plan, Remembered},
    tokens::{Found, Key, Token, Tokens},
};
use crate::token_source::{Presented, Proof, TokenSource};

mod call;
mod challenge;
mod docker;
mod error;
mod exchange;
pub mod realm;
pub(crate) mod reply;
pub mod retry_after;
#[cfg(test)]
mod tests;
mod tokens;

/// How many tokens of one rule may be waited for.
const MAX_FETCHES: usize = 2048;
/// How many calls to its token service are under way meanwhile.
const MAX_CALLS: usize = 32;

/// What is known about an upstream's authentication before it is asked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its credentials may go.
    pub realms: realm::Policy,
    /// Its token service, so that the first request can carry a token already.
    pub known: Option<Known>,
    /// Whether user name and password are sent with the first request.
    pub basic_first: bool,
    /// Whether the token service refuses whom the registry would answer "not allowed or not there" (GHCR).
    pub refusal_may_mean_missing: bool,
    /// How long a token request may take.
    pub timeout: Duration,
}

/// A token service that need not be learnt from a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its URL.
    pub realm: String,
    /// What it calls the registry.
    pub service: Option<String>,
    /// The one scope it knows, instead of a repository's.
    pub scope: Option<String>,
}

/// What to send, and where it came from.
#[derive(Debug, Clone)]
pub struct Authorization {
    /// The header's value, marked sensitive.
    pub header: HeaderValue,
    /// Whether it was in hand before this request: a 401 may then only mean that it is stale.
    pub cached: bool,
    serial: Option<u64>,
}

/// The authenticator of one rule at one upstream. Clones are the same.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    config: Config,
    source: Arc<dyn TokenSource>,
    client: egress::Client,
    clock: Clock,
    tasks: Tasks,
    fetches: Single<Key, Result<Token, Error>>,
    exchanges: Single<Key, Result<exchange::Login, Error>>,
    turns: Semaphore,
    tokens: Tokens,
    remembered: Mutex<Remembered>,
    /// Of the proof seen last, under which tokens are found while the source is away.
    version: AtomicU64,
}

impl Config {
    /// An authenticator that shows `source`'s proofs. `client` also bounds which addresses are connected to.
    #[must_use]
    pub fn build(
        self,
        source: Arc<dyn TokenSource>,
        client: egress::Client,
        clock: Clock,
        tasks: &Tasks,
    ) -> Authenticator {
        Authenticator(Arc::new(Inner {
            config: self,
            source,
            client,
            clock,
            tasks: tasks.clone(),
            fetches: Single::new("token", tasks, MAX_FETCHES),
            exchanges: Single::new("exchange", tasks, MAX_CALLS),
            turns: Semaphore::new(MAX_CALLS),
            tokens: Tokens::default(),
            remembered: Mutex::default(),
            version: AtomicU64::new(0),
        }))
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("source", &self.0.source.kind())
            .field("upstream", &self.0.config.realms.upstream)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// What to send with a first request for these scopes: what a profile or an earlier challenge taught, else nothing.
    ///
    /// # Errors
    /// When the rule's proof cannot be had: then nothing is sent at all, never an anonymous request instead.
    pub async fn authorize(&self, scopes: &[Scope]) -> Result<Option<Authorization>, Error> {
        let proof = self.proof().await;
        if let Err(refused @ Error::Refused { .. }) = proof {
            return Err(refused);
        }
        match self.first_plan(scopes, proof.as_ref().ok()) {
            Some(plan) => self.carry_out(plan, proof).await.map(Some),
            None => proof.map(|_| None),
        }
    }

    /// What to send after a 401 that came with these challenges, `used` being what had been sent.
    ///
    /// # Errors
    /// When the answer is no, or no answer can be had. A challenge that nothing new can be done about is `Refused`.
    pub async fn challenged(
        &self,
        challenges: &[Challenge],
        scopes: &[Scope],
        used: Option<&Authorization>,
    ) -> Result<Authorization, Error> {
        if let Some(serial) = used.and_then(|used| used.serial) {
            self.0.tokens.drop_one(serial);
        }
        let proof = self.proof().await?;
        let has_password = matches!(proof.proof, Proof::Password { .. });
        let plan = match challenge::plan(challenges, scopes, has_password) {
            Some(plan) => plan,
            // ECR Public refuses a stale token without any challenge: what was done before is done once more.
            None => used
                .and_then(|_| self.first_plan(scopes, Some(&proof)))
                .ok_or_else(|| unmet(&proof.proof))?,
        };
        let authorization = self.carry_out(plan.clone(), Ok(proof)).await?;
        self.remember(scopes, &plan);
        Ok(authorization)
    }

    /// When the token of our own that is in hand ends; none where nothing is in hand, or what is in hand does not end.
    #[must_use]
    pub fn proof_ends(&self) -> Option<WallTime> {
        self.0.source.ends()
    }

    async fn proof(&self) -> Result<Presented, Error> {
        let proof = self.0.source.proof().await.map_err(Error::from);
        if let Err(Error::Refused { .. }) = proof {
            // Who may not use the identity any more does not use what it was given before either, also when nobody can be asked later.
            self.0.tokens.clear();
        }
        let proof = proof?;
        self.0.version.store(proof.version, Ordering::Relaxed);
        Ok(proof)
    }

    fn first_plan(&self, scopes: &[Scope], proof: Option<&Presented>) -> Option<Plan> {
        let has_password = proof.is_none_or(|p| matches!(p.proof, Proof::Password { .. }));
        let remembered = {
            let remembered = self.0.remembered.lock();
            remembered
                .unwrap_or_else(PoisonError::into_inner)
                .plan(scopes)
        };
        let config = &self.0.config;
        remembered
            .or_else(|| {
                let known = config.known.as_ref()?;
                Some(Plan::Bearer(challenge::known(known, scopes)))
            })
            .or_else(|| config.basic_first.then_some(Plan::Basic))
            .filter(|plan| has_password || matches!(plan, Plan::Bearer(_)))
    }

    fn remember(&self, scopes: &[Scope], plan: &Plan) {
        let remembered = self.0.remembered.lock();
        remembered
            .unwrap_or_else(PoisonError::into_inner)
            .learn(scopes, plan);
    }

    async fn carry_out(
        &self,
        plan: Plan,
        proof: Result<Presented, Error>,
    ) -> Result<Authorization, Error> {
        match plan {
            Plan::Basic => {
                let proof = proof?.proof;
                let header = basic(&proof).ok_or_else(|| unmet(&proof))?;
                Ok(Authorization {
                    header,
                    cached: false,
                    serial: None,
                })
            }
            Plan::Bearer(ask) => self.bearer(&ask, proof).await,
        }
    }

    async fn bearer(
        &self,
        ask: &Ask,
        proof: Result<Presented, Error>,
    ) -> Result<Authorization, Error> {
        let realm = realm::check(&ask.realm, &self.0.config.realms)?;
        let version = match &proof {
            Ok(proof) => proof.version,
            Err(_) => self.0.version.load(Ordering::Relaxed),
        };
        let key = Key {
            version,
            realm: realm.to_string(),
            service: ask.service.clone(),
            scopes: ask.scopes.clone(),
        };
        let (token, cached) = match self.0.tokens.find(&key, self.0.clock.now()) {
            Found::Good(token) => (token, true),
            Found::Due(token) => {
                if let Ok(proof) = proof {
                    self.renew(key, proof.proof);
                }
                (token, true)
            }
            Found::Nothing => (self.fetch(key, proof?.proof).await?, false),
        };
        Ok(Authorization {
            header: bearer(&token.secret)?,
            cached,
            serial: Some(token.serial),
        })
    }

    /// Gets the next token while the present one still works; who comes meanwhile goes on with that one.
    fn renew(&self, key: Key, proof: Proof) {
        let this = self.clone();
        self.0.tasks.spawn("renew-token", async move {
            if let Err(error) = this.fetch(key, proof).await {
                tracing::warn!(%error, "a registry token could not be renewed; the present one is used to its end");
            }
        });
    }

    async fn fetch(&self, key: Key, proof: Proof) -> Result<Token, Error> {
        let inner = Arc::clone(&self.0);
        let fetched = self.0.fetches.run(key.clone(), || async move {
            let (key, granted) = match proof {
                Proof::Token(token) => exchange::fetch(&inner, &key, token).await?,
                Proof::None | Proof::Password { .. } => {
                    let granted = docker::fetch(&inner, &key, &proof).await?;
                    (key, granted)
                }
            };
            Ok(inner.tokens.keep(&key, granted, inner.clock.now()))
        });
        fetched.await.unwrap_or_else(|error| Err(error.into()))
    }
}

/// That none of the ways to log in that the upstream offers goes with what the rule has.
fn unmet(proof: &Proof) -> Error {
    let detail = match proof {
        Proof::Password { .. } => {
            "the upstream answers 401 and offers no way to log in that is known"
        }
        Proof::Token(_) => {
            "the upstream answers 401 and offers no Bearer login, and the token of an identity is shown to nothing else: it is neither a node nor an ACR"
        }
        Proof::None => "the upstream wants a login and the rule has no credentials",
    };
    Error::Refused {
        refusal: Refusal::UpstreamUnauthorized,
        detail: detail.to_owned(),
        status: Some(401),
    }
}

fn basic(proof: &Proof) -> Option<HeaderValue> {
    let Proof::Password { username, password } = proof else {
        return None;
    };
    let pair = Secret::new(format!("{}:{}", username.expose(), password.expose()));
    let value = Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())));
    sensitive(&value)
}

fn bearer(token: &Secret) -> Result<HeaderValue, Error> {
    let value = Secret::new(format!("Bearer {}", token.expose()));
    sensitive(&value).ok_or_else(|| {
        Error::away(
            Refusal::UpstreamUnavailable,
            "the token does not fit into a header",
        )
    })
}

/// `text` of an upstream without what it repeated of these secrets.
#[must_use]
pub fn scrub<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut text = text.to_owned();
    for secret in secrets
        .into_iter()
        .filter(|s| s.expose().len() >= SHORTEST_SCRUBBED)
    {
        if text.contains(secret.expose().as_str()) {
            text = text.replace(secret.expose().as_str(), "[secret]");
        }
    }
    text
}

/// Shorter secrets are words that any text may contain; taking them out would only tell that they are the secret.
const SHORTEST_SCRUBBED: usize = 4;

fn sensitive(value: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value.expose()).ok()?;
    header.set_sensitive(true);
    Some(header)
}
