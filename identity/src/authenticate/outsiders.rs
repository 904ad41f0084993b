//! Tokens of issuers outside this node: a seam between who asks "whose token is this?" and who knows the declared issuers.
//!
//! Authentication decides where such a token may be shown, and what it is worth after; whoever implements this decides whether it
//! is genuine: signature, audience, times. A token of nobody declared is `None`, never an error: it may be something else.

use async_trait::async_trait;
use runtime::Secret;
use wire::{name::IssuerName, time::WallTime};

use crate::{error::Error, principal::Principal};

/// Whom a token of a declared issuer names.
#[derive(Debug, Clone)]
pub struct Verified {
    /// `Principal::Workload` with all claims of the token, `iss` and `sub` among them.
    pub principal: Principal,
    /// When the token ends (its `exp`).
    pub expires: WallTime,
    /// Whether this is a person's ID token: its audience is the issuer's `clientId`. People's sessions may outlive it.
    pub person: bool,
}

/// Knows the issuers that the slice in force declares.
#[async_trait]
pub trait Outsiders: std::fmt::Debug + Send + Sync {
    /// Whom a token names; `None` when no declared issuer claims to have made it. Bounded in time; safe to drop.
    ///
    /// # Errors
    /// `Refused` when it claims a declared issuer and is not genuine, over, or for somebody else; `Unavailable` when that cannot be
    /// found out now.
    async fn verify(&self, token: &Secret, now: WallTime) -> Result<Option<Verified>, Error>;

    /// Whether `name` is still declared with this `iss`. Asked on every request with a token of ours that an issuer's gave rise to.
    fn declares(&self, name: &IssuerName, iss: &str) -> bool;
}

/// No issuer is declared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

#[async_trait]
impl Outsiders for Nobody {
    async fn verify(&self, _token: &Secret, _now: WallTime) -> Result<Option<Verified>, Error> {
        Ok(None)
    }

    fn declares(&self, _name: &IssuerName, _iss: &str) -> bool {
        false
    }
}
