//! The issuer of managed and federated identities: may this node have a token for this rule, then mint it.
//!
//! Called by `grpc` and `http`; calls `publish` for what is in force and `signing_key` for signatures. Grants name the issuer and the
//! generation in force, so that every node that has it believes them. Federation tokens and the discovery document
//! name the URL at which foreigners reach us now. Source: `spec/identity.md`, `spec/control-plane.md` "Identity tokens".

use std::{sync::Arc, time::Duration};

use identity::{
    authenticate::grant::{self, About, Claims, Confirmation},
    certificate::SpiffeId,
    mint::{Error, Minted, Wanted},
};
use runtime::{Clock, Reconciler, Tasks};
use serde::Serialize;
use topology::model::Topology;
use uuid::Uuid;
use wire::{
    generation::Generation,
    name::{MeshName, NodeName, RuleName},
    scope::Action,
    time::WallTime,
};

mod discovery;
mod may;
mod places;
#[cfg(test)]
mod tests;

pub use may::{May, Refused, may};
use places::Places;

use crate::{
    publish::{Current, Publisher, issuer_declared},
    signing_key::{self, SigningKeys},
};

/// How long a federation token lives.
pub const FEDERATION_LIFE: Duration = Duration::from_secs(600);
/// Who publishes the keys when nobody asked for it.
const WHO: &str = "control-plane";
/// How often keys of another control plane are looked for.
const EVERY: Duration = Duration::from_secs(30);

/// How long grants live, which only a test chooses otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// Of a rule grant.
    pub grant: Duration,
    /// When a node should ask for the next one.
    pub refresh: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            grant: grant::LIFE,
            refresh: Duration::from_secs(3_600),
        }
    }
}

/// The issuer. Clones are the same.
#[derive(Clone)]
pub struct Issuer {
    publisher: Publisher,
    keys: Arc<SigningKeys>,
    clock: Clock,
    tasks: Tasks,
    places: Places,
    lives: Lives,
}

/// A federation token's claims. Times are whole seconds since 1970.
#[derive(Debug, Serialize)]
struct Federation<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    /// For people who look at it: nothing decides on these.
    regmesh: Informative<'a>,
}

#[derive(Debug, Serialize)]
struct Informative<'a> {
    mesh: &'a MeshName,
    node: &'a NodeName,
    rule: &'a RuleName,
}

/// What a revocation of keys came to.
#[derive(Debug)]
pub struct Revoked {
    /// Which went and which came.
    pub keys: signing_key::Revoked,
    /// The generation that tells it to the nodes; 0 before the first apply.
    pub generation: Generation,
}

/// Why keys were not revoked, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// They are as they were.
    #[error(transparent)]
    Keys(#[from] signing_key::Error),
    /// The old ones sign nothing any more, and nodes still believe them.
    #[error(
        "the old keys sign nothing any more, but nodes could not be told yet; this is tried again until they are"
    )]
    Published(#[from] crate::publish::Error),
}

impl Issuer {
    /// An issuer over what `publisher` has in force.
    #[must_use]
    pub fn new(publisher: Publisher, keys: Arc<SigningKeys>, clock: Clock, tasks: Tasks) -> Self {
        Self {
            publisher,
            keys,
            clock,
            tasks,
            places: Places::new(),
            lives: Lives::default(),
        }
    }

    /// The same with other lives of grants.
    #[must_use]
    pub fn living(mut self, lives: Lives) -> Self {
        self.lives = lives;
        self
    }

    /// Tokens for a node that is known by its certificate: one answer for each that is wanted, in order, and the generation that decided.
    /// The caller bounds how many.
    pub async fn mint(
        &self,
        node: NodeName,
        wanted: Vec<Result<Wanted, String>>,
    ) -> (Generation, Vec<Result<Minted, Error>>) {
        let asked = wanted.len();
        let none = |why: &str| {
            let away = || Err(Error::Away(why.to_owned()));
            std::iter::repeat_with(away).take(asked).collect()
        };
        let Some(place) = self.places.enter(&node).await else {
            let generation = self.publisher.current().generation();
            return (
                generation,
                none("too many calls of this node wait for tokens"),
            );
        };
        let (issuer, of) = (self.clone(), node);
        let current = self.publisher.current();
        let generation = current.generation();
        self.look_again(&current).await;
        // Signatures for a whole batch take long: not on a thread that serves others.
        let minted = self.tasks.spawn_blocking("mint", move || {
            // Until the work is done, whether or not somebody still waits for it.
            let _place = place;
            let mint = |wanted: Result<Wanted, String>| {
                let wanted = wanted.map_err(Error::Refused)?;
                let minted = issuer.mint_one(&current, &of, &wanted);
                log(&of, &wanted, &minted);
                minted
            };
            wanted.into_iter().map(mint).collect()
        });
        let minted = minted.await;
        let minted = minted.unwrap_or_else(|_| none("the control plane is ending"));
        (generation, minted)
    }

    /// Looks for keys that another control plane made, where nodes do not believe the one that would sign here.
    async fn look_again(&self, current: &Current) {
        if self.keys.signs_by(&current.published.desired.grants.keys) {
            return;
        }
        if let Err(error) = self.keys.refresh().await {
            tracing::warn!(%error, "the issuer's keys cannot be read again; those known stay");
        }
    }

    fn mint_one(
        &self,
        current: &Current,
        node: &NodeName,
        wanted: &Wanted,
    ) -> Result<Minted, Error> {
        let topology = current.topology.as_deref();
        let topology = topology.ok_or_else(|| Error::Refused("there is no topology".to_owned()))?;
        let given = may(topology, node, wanted);
        match given.map_err(|refused| Error::Refused(refused.to_string()))? {
            May::Grant { .. } if current.published.desired.grants.keys.is_empty() => Err(unknown()),
            given @ May::Grant { .. } => self.grant(current, topology, node, wanted, &given),
            May::Federation { audience } => self.federation(topology, node, wanted, &audience),
        }
    }

    fn grant(
        &self,
        current: &Current,
        topology: &Topology,
        node: &NodeName,
        wanted: &Wanted,
        given: &May<'_>,
    ) -> Result<Minted, Error> {
        let May::Grant {
            login_server,
            repositories,
            bound,
            ..
        } = given
        else {
            return Err(unknown());
        };
        let grants = &current.published.desired.grants;
        let now = self.now();
        let expires = now.plus(self.lives.grant);
        let id = SpiffeId::Node {
            mesh: topology.mesh.clone(),
            node: node.clone(),
        };
        let claims = Claims {
            iss: grants.issuer.clone(),
            aud: login_server.clone(),
            sub: grant::subject(&topology.mesh, &wanted.identity),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires.seconds(),
            jti: Uuid::now_v7(),
            regmesh: About {
                node: node.clone(),
                rule: wanted.rule.clone(),
                repositories: vec![(*repositories).clone()],
                actions: vec![Action::Pull],
                generation: current.generation(),
            },
            cnf: bound.then(|| Confirmation {
                spiffe: id.to_string(),
            }),
        };
        let signed = self.keys.grant(grant::TYP, &claims, &grants.keys);
        let token = signed
            .map_err(|error| failed(&error))?
            .ok_or_else(unknown)?;
        let refresh = now.plus(self.lives.refresh);
        Ok(Minted {
            token,
            expires,
            refresh,
        })
    }

    fn federation(
        &self,
        topology: &Topology,
        node: &NodeName,
        wanted: &Wanted,
        audience: &str,
    ) -> Result<Minted, Error> {
        let now = self.now();
        let expires = now.plus(FEDERATION_LIFE);
        let claims = Federation {
            iss: &self.url(),
            aud: audience,
            sub: grant::subject(&topology.mesh, &wanted.identity),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires.seconds(),
            jti: Uuid::now_v7(),
            regmesh: Informative {
                mesh: &topology.mesh,
                node,
                rule: &wanted.rule,
            },
        };
        let token = self
            .keys
            .federation(&claims)
            .map_err(|error| failed(&error))?;
        let refresh = now.plus(FEDERATION_LIFE / 2);
        Ok(Minted {
            token,
            expires,
            refresh,
        })
    }

    /// The issuer's URL as foreigners reach it: what the topology says, else the API's own address.
    #[must_use]
    pub fn url(&self) -> String {
        let current = self.publisher.current();
        let control = current
            .topology
            .as_ref()
            .and_then(|topology| topology.control.as_ref());
        let own = self.publisher.own_address();
        issuer_declared(control).unwrap_or(own).to_owned()
    }

    /// The discovery document.
    #[must_use]
    pub fn discovery(&self) -> serde_json::Value {
        discovery::document(&self.url())
    }

    /// The public keys of federation tokens (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.jwks()
    }

    /// New keys, told to every node at once; they sign after the overlap.
    ///
    /// # Errors
    /// When the last rotation is not complete, or the store fails.
    pub async fn rotate(&self, who: &str) -> Result<signing_key::Rotated, signing_key::Error> {
        let rotated = self.keys.rotate(who).await?;
        // When this fails the keys are rotated all the same, and `keep` publishes them long before they sign.
        if let Err(error) = self.publisher.publish_keys(who).await {
            tracing::warn!(%error, "new keys of the issuer are not published yet; this is tried again");
        }
        Ok(rotated)
    }

    /// New keys, told to every node at once in the place of all others; they sign at once.
    ///
    /// # Errors
    /// When the store fails. With [`RevokeError::Published`] the old keys are gone and nodes do not know it yet, which `keep` mends.
    pub async fn revoke(&self, who: &str) -> Result<Revoked, RevokeError> {
        let keys = self.keys.revoke(who).await?;
        let generation = self.publisher.publish_keys(who).await?;
        Ok(Revoked { keys, generation })
    }

    /// Makes what is published be what it should be: keys that another control plane rotated, keys whose tokens have ended, a store of
    /// an earlier release.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew(&self) -> Result<(), crate::publish::Error> {
        if let Err(error) = self.keys.sweep().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the issuer's keys cannot be read; those known stay"
            );
        }
        self.publisher.publish_keys(WHO).await.map(drop)
    }

    /// Goes on doing so as a task of `tasks`.
    pub fn keep(&self, tasks: &Tasks) {
        let issuer = self.clone();
        let every = Reconciler::new("issuer", EVERY);
        let _ = every.start(tasks, &self.clock, move || {
            let issuer = issuer.clone();
            async move {
                if let Err(error) = issuer.renew().await {
                    tracing::warn!(%error, "the issuer's keys cannot be published; this is tried again");
                }
            }
        });
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }
}

fn unknown() -> Error {
    let text = "the key that signs grants is not published to the nodes yet";
    Error::Away(text.to_owned())
}

fn failed(error: &signing_key::Error) -> Error {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a token cannot be signed"
    );
    Error::Away("the control plane cannot sign: see its log".to_owned())
}

/// Too many for the audit log: what nodes use of them is in theirs.
fn log(node: &NodeName, wanted: &Wanted, minted: &Result<Minted, Error>) {
    let (rule, identity) = (&wanted.rule, &wanted.identity);
    match minted {
        Ok(_) => tracing::debug!(%node, %rule, %identity, "a token was minted"),
        Err(error) => tracing::debug!(%node, %rule, %identity, %error, "no token was minted"),
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Issuer").field(&self.url()).finish()
    }
}
