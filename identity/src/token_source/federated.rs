//! A federated identity: somebody else's token service, or another mesh, trusts our issuer, and no secret changes hands.
//!
//! | flow | what is shown to the registry |
//! |---|---|
//! | `client-assertion` | what `tokenUrl` gives for our assertion (RFC 7523, as Entra has it) |
//! | `token-exchange` | what `tokenUrl` gives for our assertion (RFC 8693, as Google and Quay have it) |
//! | `direct` | the assertion itself: the upstream, a node of another mesh, lists our issuer |
//!
//! The assertion is a federation token of the control plane, or the Entra token of an `azure` identity (the cross-tenant shape). It is
//! made anew for each question and never kept; what is kept is the foreign token, of one rule, in memory. `present: password` makes that
//! the password of a user (Google's `oauth2accesstoken`). What surprises: an assertion goes to `tokenUrl`'s own host alone, over https
//! unless that is loopback, and no redirect is followed. Source: `spec/identity.md`, `reference/protocols.md` 4.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use runtime::{Clock, Secret, Tasks};
use wire::{
    name::{IdentityName, RuleName},
    time::WallTime,
};

use super::{
    Error, Presented, Proof, TokenSource,
    azure::{Id, Machine},
    held::{Fresh, Held},
};
use crate::mint::{self, Audience, Mint, Wanted};

mod exchange;

pub use exchange::{Endpoint, Flow};

/// What stands for us at the foreign side.
#[derive(Debug, Clone)]
pub enum Assertion {
    /// A federation token from our own issuer.
    Mesh {
        /// Asks for it.
        mint: Arc<dyn Mint>,
        /// For which rule.
        rule: RuleName,
        /// As whom.
        identity: IdentityName,
    },
    /// The Entra token of an identity of this machine or pod.
    Azure {
        /// Gives it.
        machine: Machine,
        /// Of which identity.
        id: Id,
    },
}

/// How a federated identity gets what it shows.
#[derive(Debug, Clone)]
pub struct Config {
    /// What stands for us.
    pub assertion: Assertion,
    /// For whom the assertion is.
    pub audience: String,
    /// Where the assertion becomes a foreign token; none when it is shown as it is.
    pub endpoint: Option<Endpoint>,
    /// The user whose password the result is; none when it goes through the exchange.
    pub password_of: Option<String>,
}

/// The foreign token of one rule.
#[derive(Debug)]
pub struct Federated {
    held: Held,
    password_of: Option<Secret>,
}

impl Config {
    /// A source that asks when it is asked.
    #[must_use]
    pub fn build(self, clock: &Clock, tasks: &Tasks) -> Federated {
        let password_of = self.password_of.clone().map(Secret::new);
        let config = Arc::new(self);
        let at = clock.clone();
        let make = Arc::new(move || {
            let (config, clock) = (Arc::clone(&config), at.clone());
            async move { config.fresh(&clock).await }.boxed()
        });
        Federated {
            held: Held::new("foreign-token", make, clock.clone(), tasks),
            password_of,
        }
    }

    async fn fresh(&self, clock: &Clock) -> Result<Fresh, Error> {
        let assertion = self.assertion.make(&self.audience, clock).await?;
        match &self.endpoint {
            None => Ok(assertion),
            Some(endpoint) => endpoint.ask(&assertion.value, &self.audience, clock).await,
        }
    }
}

impl Assertion {
    async fn make(&self, audience: &str, clock: &Clock) -> Result<Fresh, Error> {
        let (mint, rule, identity) = match self {
            Self::Mesh {
                mint,
                rule,
                identity,
            } => (mint, rule, identity),
            Self::Azure { machine, id } => {
                let scope = format!("{}/.default", audience.trim_end_matches('/'));
                return machine.token(id, &scope).await;
            }
        };
        let wanted = Wanted {
            rule: rule.clone(),
            identity: identity.clone(),
            audience: Audience::Foreign(audience.to_owned()),
        };
        let minted = mint.mint(&wanted).await.map_err(unminted)?;
        let now = WallTime(clock.wall_ms());
        let life = now.age(minted.expires).filter(|life| !life.is_zero());
        let life = life.ok_or_else(|| Error::Away {
            detail: "the control plane gave a federation token that has ended by this node's clock"
                .to_owned(),
            retry_after: None,
        })?;
        Ok(Fresh::token(minted.token, life))
    }
}

fn unminted(error: mint::Error) -> Error {
    let detail = error.to_string();
    match error {
        mint::Error::Refused(_) => Error::NotAttached { detail },
        mint::Error::Away(_) => Error::Away {
            detail,
            retry_after: None,
        },
    }
}

#[async_trait]
impl TokenSource for Federated {
    fn kind(&self) -> &'static str {
        "federated"
    }

    async fn proof(&self) -> Result<Presented, Error> {
        let (token, version) = self.held.get().await?;
        let proof = match &self.password_of {
            None => Proof::Token(token),
            Some(username) => Proof::Password {
                username: username.clone(),
                password: token,
            },
        };
        Ok(Presented { proof, version })
    }

    async fn refused(&self, version: u64) {
        self.held.refused(version).await;
    }

    fn ends(&self) -> Option<WallTime> {
        self.held.ends()
    }
}

#[cfg(test)]
mod tests;
