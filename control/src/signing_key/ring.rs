//! Keys of one kind, oldest first: which one signs, which are published. Pure.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use identity::{authenticate::access_token::LEEWAY, sign::Keys as GrantKey};
use runtime::Secret;
use serde::{Deserialize, Serialize};
use wire::time::WallTime;

use super::{Error, rsa::FederationKey};

/// A private key that signs one kind of token.
pub(super) trait Key: Sized {
    /// Reads it from PKCS #8.
    fn read(secret: &Secret<Vec<u8>>) -> Result<Self, Error>;
}

impl Key for GrantKey {
    fn read(secret: &Secret<Vec<u8>>) -> Result<Self, Error> {
        Self::of(std::slice::from_ref(secret)).map_err(|_| Error::Damaged)
    }
}

impl Key for FederationKey {
    fn read(secret: &Secret<Vec<u8>>) -> Result<Self, Error> {
        Self::of(secret)
    }
}

/// The keys; never empty.
pub(super) struct Ring<K>(Vec<Member<K>>);

struct Member<K> {
    key: Arc<K>,
    secret: Secret<Vec<u8>>,
    signs_from: WallTime,
}

/// One as it is kept, sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    /// PKCS #8 in base64.
    key: String,
    signs_from: WallTime,
}

impl<K: Key> Ring<K> {
    pub(super) fn first(secret: &Secret<Vec<u8>>, now: WallTime) -> Result<Self, Error> {
        Ok(Self(vec![Member::of(secret.clone(), now)?]))
    }

    /// With another key, which signs at `from`.
    pub(super) fn with(mut self, secret: &Secret<Vec<u8>>, from: WallTime) -> Result<Self, Error> {
        self.0.push(Member::of(secret.clone(), from)?);
        Ok(self)
    }

    /// Without those that no token needs any more, where tokens live for `life`.
    pub(super) fn swept(&self, life: Duration, now: WallTime) -> Self {
        let kept = self.0.iter().skip(self.ended(life, now));
        Self(kept.map(Member::again).collect())
    }

    /// Whether nothing is there that no token needs any more.
    pub(super) fn is_swept(&self, life: Duration, now: WallTime) -> bool {
        self.ended(life, now) == 0
    }

    /// How many, the oldest first, no token needs any more. The leeway is for control planes whose clock is behind: they sign by the
    /// old one for longer.
    fn ended(&self, life: Duration, now: WallTime) -> usize {
        let replaced = self.0.iter().skip(1).map(|next| next.signs_from);
        replaced
            .take_while(|at| at.plus(life + LEEWAY * 5) <= now)
            .count()
    }

    /// The one that was made last.
    pub(super) fn newest(&self) -> &K {
        &self.last().key
    }

    fn last(&self) -> &Member<K> {
        self.0.last().expect("a ring is never empty")
    }

    /// When the newest one begins to sign, while it does not.
    pub(super) fn signs_next(&self, now: WallTime) -> Option<WallTime> {
        Some(self.last().signs_from).filter(|from| *from > now)
    }

    /// The one that signs now.
    pub(super) fn signing(&self, now: WallTime) -> &K {
        let begun = self.0.iter().rev().find(|member| member.signs_from <= now);
        let first = self.0.first();
        &begun.or(first).expect("a ring is never empty").key
    }

    /// Every one, which is every one that is published.
    pub(super) fn all(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|member| &*member.key)
    }

    pub(super) fn write(&self) -> Vec<Stored> {
        self.0.iter().map(Member::store).collect()
    }

    pub(super) fn read(stored: &[Stored]) -> Result<Self, Error> {
        let members: Result<Vec<_>, _> = stored.iter().map(Member::load).collect();
        let members = members?;
        if members.is_empty() {
            return Err(Error::Damaged);
        }
        Ok(Self(members))
    }
}

impl<K: Key> Member<K> {
    fn of(secret: Secret<Vec<u8>>, signs_from: WallTime) -> Result<Self, Error> {
        Ok(Self {
            key: Arc::new(K::read(&secret)?),
            secret,
            signs_from,
        })
    }

    fn again(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            secret: self.secret.clone(),
            signs_from: self.signs_from,
        }
    }

    fn store(&self) -> Stored {
        Stored {
            key: STANDARD.encode(self.secret.expose()),
            signs_from: self.signs_from,
        }
    }

    fn load(stored: &Stored) -> Result<Self, Error> {
        let secret = STANDARD.decode(&stored.key).map_err(|_| Error::Damaged)?;
        Self::of(Secret::new(secret), stored.signs_from)
    }
}
