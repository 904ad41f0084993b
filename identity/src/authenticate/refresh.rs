//! Refresh tokens: not to be guessed, hashed at rest, revocable, bound to their principal.
//!
//! A token of an account is bound to the account's password too: what is kept is a MAC of the password under the token itself,
//! so a new password ends all earlier sessions, and neither the store nor a token alone says anything about the password. What is
//! given for somebody else's token (an issuer's, a rule grant) is one per such token, however often it is shown, so that nobody
//! fills the store by showing the same one again; it is a MAC of it under the node's keys. The store is a seam; the node puts
//! records beside its metadata, and makes room by taking from whoever has the most (`whose`). Source: `spec/identity.md` "Being called", `protocols.md` 1.6.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use runtime::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::WallTime;

use super::{access_token::hash, trust::Via};
use crate::{
    decide::Bound,
    error::{BoxError, Error, Refused},
    principal::Principal,
    sign::Keys,
};

/// How long a person's or an account's refresh token lives.
pub const LIFE: Duration = Duration::from_secs(8 * 3600);
/// What every refresh token of ours begins with, so that a secret says what it is.
pub const PREFIX: &str = "rmr_";
const RANDOM: usize = 32;

/// Where refresh tokens are kept. Keys are hashes of tokens; values are opaque and hold no secret.
#[async_trait]
pub trait RefreshStore: std::fmt::Debug + Send + Sync {
    /// Keeps a record, durably, until it is deleted; whoever implements this may forget it after `expires`, and sooner to make room for
    /// one of the same subject, or of whoever has the most. Rules of the mesh have room of their own: nobody who logs in takes theirs.
    async fn put(
        &self,
        hash: [u8; 32],
        record: Vec<u8>,
        expires: WallTime,
        whose: Whose,
    ) -> Result<(), BoxError>;

    /// The record of that hash.
    async fn get(&self, hash: [u8; 32]) -> Result<Option<Vec<u8>>, BoxError>;

    /// Forgets a record; one that is not there is no error.
    async fn delete(&self, hash: [u8; 32]) -> Result<(), BoxError>;
}

/// What is kept of a refresh token. Old records are read by later releases: add members with a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What audits call it.
    pub id: Uuid,
    /// Whose it is.
    pub principal: Principal,
    /// When it ends.
    pub expires: WallTime,
    /// The login server it was given by; another node's tokens are refused.
    pub audience: String,
    /// MAC, under the token, of the password it was given for.
    #[serde(default)]
    pub password: Option<Vec<u8>>,
    /// What tokens made from it may say at most; none for no limit but the roles'.
    #[serde(default)]
    pub bound: Option<Bound>,
    /// The SPIFFE id its tokens are bound to.
    #[serde(default)]
    pub bound_to: Option<String>,
    /// The rule behind an identity.
    #[serde(default)]
    pub via: Option<Via>,
}

impl Record {
    /// Reads a record; `None` when it is none of ours.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Whose a new token is.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// This node's login server.
    pub audience: &'a str,
    /// The password that was shown, for accounts.
    pub password: Option<&'a Secret>,
    /// What tokens made from it may say at most.
    pub bound: Option<&'a Bound>,
    /// The SPIFFE id its tokens are bound to.
    pub bound_to: Option<&'a str>,
    /// The rule behind an identity.
    pub via: Option<&'a Via>,
    /// When it ends.
    pub ends: WallTime,
}

impl<'a> Holder<'a> {
    /// Somebody whose session is limited by nothing but its life.
    #[must_use]
    pub fn new(principal: &'a Principal, audience: &'a str, ends: WallTime) -> Self {
        Self {
            principal,
            audience,
            password: None,
            bound: None,
            bound_to: None,
            via: None,
            ends,
        }
    }

    fn record(&self, token: &Secret) -> Record {
        Record {
            id: Uuid::now_v7(),
            principal: self.principal.clone(),
            expires: self.ends,
            audience: self.audience.to_owned(),
            password: self.password.map(|password| binding(token, password)),
            bound: self.bound.cloned(),
            bound_to: self.bound_to.map(str::to_owned),
            via: self.via.cloned(),
        }
    }
}

/// Gives and takes refresh tokens.
#[derive(Debug, Clone)]
pub struct RefreshTokens(Arc<dyn RefreshStore>);

impl RefreshTokens {
    /// Tokens kept in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn RefreshStore>) -> Self {
        Self(store)
    }

    /// Whether a secret looks like a refresh token of ours.
    #[must_use]
    pub fn is_one(secret: &str) -> bool {
        secret.starts_with(PREFIX)
    }

    /// A new token for `holder`.
    ///
    /// # Errors
    /// When the store or the machine's randomness fails.
    pub async fn issue(&self, holder: Holder<'_>) -> Result<Secret, Error> {
        let mut random = [0; RANDOM];
        rand::fill(&mut random).map_err(|error| unavailable(Box::new(error)))?;
        let token = Secret::new(format!("{PREFIX}{}", URL.encode(random)));
        self.keep(token, holder).await
    }

    /// The one token of `holder` for the token with this hash, made by `keys`: the same one again as long as it stands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn issue_once(
        &self,
        keys: &Keys,
        shown: [u8; 32],
        holder: Holder<'_>,
        now: WallTime,
    ) -> Result<Secret, Error> {
        // No account's name begins so: it is none of the texts that tie tokens to passwords.
        let text = [&b"\0session\0"[..], &shown].concat();
        let mac = keys.macs(&text).into_iter().next();
        let mac = mac.ok_or_else(|| unavailable("the node has no key".into()))?;
        let token = Secret::new(format!("{PREFIX}{mac}"));
        if let Ok(known) = self.find(&token, holder.audience, now).await {
            let same = known.principal == *holder.principal
                && known.bound.as_ref() == holder.bound
                && known.bound_to.as_deref() == holder.bound_to
                && known.via.as_ref() == holder.via;
            if same {
                return Ok(token);
            }
        }
        self.keep(token, holder).await
    }

    async fn keep(&self, token: Secret, holder: Holder<'_>) -> Result<Secret, Error> {
        let record = holder.record(&token);
        let bytes = serde_json::to_vec(&record).map_err(|error| unavailable(Box::new(error)))?;
        let hash = hash(token.expose());
        let kept = self.0.put(hash, bytes, record.expires, record.whose());
        kept.await.map_err(unavailable)?;
        Ok(token)
    }

    /// The record of a token of this node that is not over. Whether its password still holds is [`still_bound`]'s to say.
    ///
    /// # Errors
    /// When there is no such token, or the store fails.
    pub async fn find(
        &self,
        token: &Secret,
        audience: &str,
        now: WallTime,
    ) -> Result<Record, Error> {
        let hash = hash(token.expose());
        let bytes = self.0.get(hash).await.map_err(unavailable)?;
        let record = bytes
            .as_deref()
            .and_then(Record::parse)
            .ok_or(Refused::RefreshToken)?;
        if record.expires <= now {
            self.0.delete(hash).await.map_err(unavailable)?;
            return Err(Refused::RefreshToken.into());
        }
        (record.audience == audience)
            .then_some(record)
            .ok_or_else(|| Refused::RefreshToken.into())
    }

    /// Ends a token.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke(&self, token: &Secret) -> Result<(), Error> {
        self.0
            .delete(hash(token.expose()))
            .await
            .map_err(unavailable)
    }
}

/// Whether `password` is still the one that the token was given for.
#[must_use]
pub fn still_bound(record: &Record, token: &Secret, password: &Secret) -> bool {
    let now = binding(token, password);
    record
        .password
        .as_ref()
        .is_some_and(|then| verify_slices_are_equal(then, &now).is_ok())
}

fn binding(token: &Secret, password: &Secret) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    hmac::sign(&key, password.expose().as_bytes())
        .as_ref()
        .to_vec()
}

fn unavailable(source: BoxError) -> Error {
    Error::Unavailable {
        what: "the store of sessions",
        source,
    }
}

pub use whose::Whose;

#[cfg(any(test, feature = "testing"))]
pub use memory::Memory;

#[cfg(any(test, feature = "testing"))]
mod memory;

mod whose;

#[cfg(test)]
mod tests;
