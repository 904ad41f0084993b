//! The public keys of issuers outside this node: what they are, and the seam to where they come from.
//!
//! A set is a snapshot: it is replaced whole or not at all, so a good key goes only when its issuer no longer publishes it. Keys of
//! kinds that we do not know are skipped, secret and private ones too, and RSA ones that are too short: what is left is usable. Over
//! HTTP and from files they come by `jwks`; `memory` is for tests. Source: RFC 7517; `reference/protocols.md` 5.2.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use openidconnect::{JsonWebKey, JsonWebKeyId, JsonWebKeySet};
use serde::Deserialize;
use serde_json::Value;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod discovery;
mod jwk;
pub mod jwks;
mod kept;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod pace;
#[cfg(test)]
pub(crate) mod rig;

pub use jwk::Jwk;

/// The longest key set read, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// How many keys of a set are looked at.
const MAX_KEYS: usize = 200;

/// Where the keys of one issuer come from. Both calls are bounded in time and safe to drop.
#[async_trait]
pub trait KeySource: std::fmt::Debug + Send + Sync {
    /// The keys as far as they are known, asked for where there are none or they are too old. The same `Arc` as before means that
    /// nothing has changed.
    ///
    /// # Errors
    /// When there are none, and none can be had.
    async fn keys(&self) -> Result<Arc<KeySet>, Away>;

    /// The keys when `seen` lacks one that a token names: asked for again, by one for all and at most once a minute, whatever number
    /// of tokens wants it. The same `Arc` means that the issuer has no others.
    ///
    /// # Errors
    /// When the issuer could not be asked. Keys that are known stay.
    async fn newer(&self, seen: &Arc<KeySet>) -> Result<Arc<KeySet>, Away>;
}

/// An issuer's keys cannot be had now: about us and the way to it, never about a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(String);

impl Away {
    /// `reason` says which address did what; it is for the log and for administrators.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The keys that an issuer publishes at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    document: Value,
    keys: Vec<Jwk>,
}

/// What is at the place of a key set is none, or one without a key that is any use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Longer than [`MAX_BYTES`].
    #[error("the key set is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not a JSON object with an array of keys.
    #[error("what came is not a key set")]
    NoSet,
    /// Nothing that a signature can be verified by.
    #[error("the key set holds no key of a kind that is known here")]
    NoKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWKS.
    ///
    /// # Errors
    /// When it is none, or nothing in it can be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        if bytes.len() > MAX_BYTES {
            return Err(Unusable::TooLong);
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|_| Unusable::NoSet)?;
        let mut keys: Vec<Jwk> = Vec::new();
        for key in document.keys.iter().take(MAX_KEYS).filter_map(Jwk::read) {
            // One that is published twice would be ambiguous.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(Unusable::NoKey);
        }
        let document =
            serde_json::json!({"keys": keys.iter().map(Jwk::as_published).collect::<Vec<_>>()});
        Ok(Self { document, keys })
    }

    /// What [`KeySet::parse`] reads: the usable keys alone.
    #[must_use]
    pub fn as_document(&self) -> &Value {
        &self.document
    }

    /// The names of its keys, for logs.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<&str> {
        let ids = self.keys.iter().filter_map(|key| key.key_id());
        ids.map(|id| id.as_str()).collect()
    }

    /// Those among which the one is that a token names; all when it names none.
    pub(crate) fn named(&self, kid: Option<&str>) -> JsonWebKeySet<Jwk> {
        let is = |id: Option<&JsonWebKeyId>| kid.is_none() || id.map(|id| id.as_str()) == kid;
        let keys = self.keys.iter().filter(|key| is(key.key_id()));
        JsonWebKeySet::new(keys.cloned().collect())
    }
}

#[cfg(test)]
mod tests;
