//! Refresh tokens: random, hashed at rest, revocable, bound to their principal.
//!
//! A token of an account is bound to the account's password too: what is kept is a MAC of the password under the token itself,
//! so a new password ends all earlier sessions, and neither the store nor a token alone says anything about the password. The
//! store is a seam; the node puts records beside its metadata. Source: `spec/identity.md` "Being called", `protocols.md` 1.6.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use runtime::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::WallTime;

use super::access_token::hash;
use crate::{
    decide::Bound,
    error::{BoxError, Error, Refused},
    principal::Principal,
};

/// How long a person's or an account's refresh token lives.
pub const LIFE: Duration = Duration::from_secs(8 * 3600);
/// What every refresh token of ours begins with, so that a secret says what it is.
pub const PREFIX: &str = "rmr_";
const RANDOM: usize = 32;

/// Where refresh tokens are kept. Keys are hashes of tokens; values are opaque and hold no secret.
#[async_trait]
pub trait RefreshStore: std::fmt::Debug + Send + Sync {
    /// Keeps a record, durably, until it is deleted; whoever implements this may forget it after `expires`. `false`: there is
    /// no room for more sessions, nothing was kept.
    async fn put(
        &self,
        hash: [u8; 32],
        record: Vec<u8>,
        expires: WallTime,
    ) -> Result<bool, BoxError>;

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

    /// A new token for `holder`, living for [`LIFE`]; `None` when there is no room for more sessions.
    ///
    /// # Errors
    /// When the store or the machine's randomness fails.
    pub async fn issue(&self, holder: Holder<'_>, now: WallTime) -> Result<Option<Secret>, Error> {
        let mut random = [0; RANDOM];
        rand::fill(&mut random).map_err(|error| unavailable(Box::new(error)))?;
        let token = Secret::new(format!("{PREFIX}{}", URL.encode(random)));
        let record = Record {
            id: Uuid::now_v7(),
            principal: holder.principal.clone(),
            expires: now.plus(LIFE),
            audience: holder.audience.to_owned(),
            password: holder.password.map(|password| binding(&token, password)),
            bound: None,
            bound_to: None,
        };
        let bytes = serde_json::to_vec(&record).map_err(|error| unavailable(Box::new(error)))?;
        let kept = self
            .0
            .put(hash(token.expose()), bytes, record.expires)
            .await;
        Ok(kept.map_err(unavailable)?.then_some(token))
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

#[cfg(any(test, feature = "testing"))]
pub use memory::Memory;

#[cfg(any(test, feature = "testing"))]
mod memory {
    use std::{
        collections::HashMap,
        sync::{Mutex, PoisonError},
    };

    use super::{BoxError, RefreshStore, WallTime, async_trait};

    /// Refresh tokens in memory, for tests.
    #[derive(Debug, Default)]
    pub struct Memory(Mutex<HashMap<[u8; 32], Vec<u8>>>);

    #[async_trait]
    impl RefreshStore for Memory {
        async fn put(
            &self,
            hash: [u8; 32],
            record: Vec<u8>,
            _expires: WallTime,
        ) -> Result<bool, BoxError> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(hash, record);
            Ok(true)
        }

        async fn get(&self, hash: [u8; 32]) -> Result<Option<Vec<u8>>, BoxError> {
            Ok(self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&hash)
                .cloned())
        }

        async fn delete(&self, hash: [u8; 32]) -> Result<(), BoxError> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&hash);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000);

    #[tokio::test]
    async fn a_token_lives_eight_hours_on_its_node_and_ends_when_revoked_or_the_password_changes() {
        let tokens = RefreshTokens::new(Arc::new(Memory::default()));
        let principal = Principal::Account {
            name: "ci".parse().unwrap(),
        };
        let password = Secret::from("hunter2");
        let holder = Holder {
            principal: &principal,
            audience: "a:1",
            password: Some(&password),
        };
        let token = tokens.issue(holder, NOW).await.unwrap().unwrap();
        let other = tokens.issue(holder, NOW).await.unwrap().unwrap();
        let record = tokens.find(&token, "a:1", NOW).await.unwrap();
        assert_eq!(record.principal, principal);
        assert!(still_bound(&record, &token, &password));
        assert!(!still_bound(&record, &token, &Secret::from("hunter3")));
        assert!(!still_bound(&record, &other, &password));
        assert!(tokens.find(&token, "b:1", NOW).await.is_err());
        assert!(
            tokens
                .find(&Secret::from("rmr_guess"), "a:1", NOW)
                .await
                .is_err()
        );
        assert!(
            tokens
                .find(&token, "a:1", NOW.plus(LIFE - Duration::from_secs(1)))
                .await
                .is_ok()
        );
        tokens.revoke(&other).await.unwrap();
        assert!(tokens.find(&other, "a:1", NOW).await.is_err());
        assert!(tokens.find(&token, "a:1", NOW.plus(LIFE)).await.is_err());
        assert!(
            tokens.find(&token, "a:1", NOW).await.is_err(),
            "a token that is over is forgotten"
        );
    }

    #[tokio::test]
    async fn the_store_holds_neither_token_nor_password() {
        let store = Arc::new(Memory::default());
        let tokens = RefreshTokens::new(Arc::clone(&store) as Arc<dyn RefreshStore>);
        let principal = Principal::Account {
            name: "ci".parse().unwrap(),
        };
        let password = Secret::from("canary-password");
        let holder = Holder {
            principal: &principal,
            audience: "a:1",
            password: Some(&password),
        };
        let token = tokens.issue(holder, NOW).await.unwrap().unwrap();
        let kept = format!("{store:?}");
        let record = store.get(hash(token.expose())).await.unwrap().unwrap();
        let text = String::from_utf8(record).unwrap();
        for canary in ["canary-password", token.expose().as_str()] {
            assert!(!kept.contains(canary) && !text.contains(canary));
        }
    }
}
