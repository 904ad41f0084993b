//! The issuer's keys: those of grants (ES256) and, apart from them, those of federation tokens (RS256).
//!
//! Kept sealed in one value of the state, so that several control planes share them; each looks again before it publishes, and now and
//! then. A rotation adds a key of each kind: published at once, it signs after an overlap, when whoever keeps a copy of the public keys
//! has a newer one; the key before stays published until no token that it signed can still be shown. After a leak that is too long: a
//! revocation leaves nothing but new keys, which sign at once. Grant keys are told to nodes alone: they are not in the JWKS, so no
//! foreign verifier takes a grant. Source: `reference/protocols.md` 5.3.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use identity::{authenticate::grant::LIFE, sign::Keys as GrantKey};
use runtime::{Clock, Secret, Tasks};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::time::WallTime;

use crate::{
    issuer::FEDERATION_LIFE,
    seal::{self, Seal},
    state::{self, NewEntry, State},
};

mod ring;
mod rsa;
#[cfg(test)]
mod tests;

use ring::{Ring, Stored};
use rsa::FederationKey;

/// The name of the value.
const VALUE: &str = "signing-keys";
/// How often a change is tried again because another control plane was faster.
const ATTEMPTS: usize = 8;

/// What may differ.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// From a rotation until the new keys sign.
    pub overlap: Duration,
    /// How long a grant lives: so long is the key that signed it believed.
    pub grant_life: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            overlap: Duration::from_secs(24 * 3_600),
            grant_life: LIFE,
        }
    }
}

/// The keys of an issuer.
pub struct SigningKeys {
    state: Arc<dyn State>,
    seal: Arc<Seal>,
    clock: Clock,
    config: Config,
    tasks: Tasks,
    known: ArcSwap<Known>,
}

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// When the new keys begin to sign; they are published from now on.
    pub signs_from: WallTime,
    /// The id of the new key of grants.
    pub grant: String,
    /// The id of the new key of federation tokens.
    pub federation: String,
}

/// What a revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The id of the new key of grants.
    pub grant: String,
    /// The id of the new key of federation tokens.
    pub federation: String,
    /// The ids of all keys that there were.
    pub revoked: Vec<String>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// They cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] seal::Error),
    /// What is stored are no keys of ours.
    #[error("the stored keys of the issuer are damaged")]
    Damaged,
    /// The cryptographic library failed.
    #[error("a key of the issuer cannot be made or used")]
    Crypto,
    /// A rotation is under way.
    #[error("the last rotation's new keys do not sign yet: they will from {0}")]
    Rotating(WallTime),
    /// Others keep changing them.
    #[error("another control plane changed the issuer's keys at the same time: try again")]
    Contended,
}

/// Keys as they were read, and the sealed text that they were read from.
struct Known {
    sealed: Vec<u8>,
    rings: Rings,
}

struct Rings {
    grant: Ring<GrantKey>,
    federation: Ring<FederationKey>,
}

#[derive(Serialize, Deserialize)]
struct Text {
    grant: Vec<Stored>,
    federation: Vec<Stored>,
}

impl SigningKeys {
    /// The keys of the issuer; made when there are none.
    ///
    /// # Errors
    /// When they cannot be read, opened or made.
    pub async fn open(
        state: Arc<dyn State>,
        seal: Arc<Seal>,
        clock: Clock,
        config: Config,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(sealed) = state.value(VALUE).await? {
                let known = Known::read(&seal, sealed)?;
                return Ok(Self {
                    known: ArcSwap::from_pointee(known),
                    state,
                    seal,
                    clock,
                    config,
                    tasks: tasks.clone(),
                });
            }
            let (grant, federation) = new(tasks).await?;
            let now = WallTime(clock.wall_ms());
            let first = Rings::first(&grant, &federation, now)?;
            let sealed = first.seal(&seal)?;
            state.swap_value(VALUE, None, Some(sealed)).await?;
        }
        Err(Error::Contended)
    }

    /// Looks again at what is stored: another control plane may have rotated. Costs one read when nothing did.
    ///
    /// # Errors
    /// When it cannot be read or opened; what was known stays.
    pub async fn refresh(&self) -> Result<(), Error> {
        let sealed = self.state.value(VALUE).await?.ok_or(Error::Damaged)?;
        if sealed != self.known.load().sealed {
            let known = Known::read(&self.seal, sealed)?;
            self.known.store(Arc::new(known));
        }
        Ok(())
    }

    /// Drops keys whose tokens have all ended.
    ///
    /// # Errors
    /// When the store fails or they cannot be sealed.
    pub async fn sweep(&self) -> Result<(), Error> {
        self.refresh().await?;
        let known = self.known.load_full();
        let now = self.now();
        let life = self.config.grant_life;
        if known.rings.is_swept(life, now) {
            return Ok(());
        }
        let swept = known.rings.swept(life, now);
        // Who was faster did the same, or rotated: the next sweep sees it.
        let sealed = swept.seal(&self.seal)?;
        self.swap(&known, sealed, swept).await.map(drop)
    }

    /// Adds a key of each kind, which sign after the overlap. `who` is for the audit log.
    ///
    /// # Errors
    /// When the last rotation is not complete, or the store fails.
    pub async fn rotate(&self, who: &str) -> Result<Rotated, Error> {
        let (grant, federation) = new(&self.tasks).await?;
        for _ in 0..ATTEMPTS {
            self.refresh().await?;
            let (known, now) = (self.known.load_full(), self.now());
            if let Some(from) = known.rings.signs_next(now) {
                return Err(Error::Rotating(from));
            }
            let from = now.plus(self.config.overlap);
            let kept = known.rings.swept(self.config.grant_life, now);
            let next = Rings {
                grant: kept.grant.with(&grant, from)?,
                federation: kept.federation.with(&federation, from)?,
            };
            let rotated = Rotated {
                signs_from: from,
                grant: next.grant.newest().kid().to_owned(),
                federation: next.federation.newest().kid().to_owned(),
            };
            let sealed = next.seal(&self.seal)?;
            if self.swap(&known, sealed, next).await? {
                self.state
                    .record(vec![rotation(now, who, &rotated)])
                    .await?;
                return Ok(rotated);
            }
        }
        Err(Error::Contended)
    }

    /// Leaves a new key of each kind and no other: they sign at once, and no token that was signed before counts where this is known.
    /// `who` is for the audit log.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke(&self, who: &str) -> Result<Revoked, Error> {
        let (grant, federation) = new(&self.tasks).await?;
        for _ in 0..ATTEMPTS {
            self.refresh().await?;
            let (known, now) = (self.known.load_full(), self.now());
            let next = Rings::first(&grant, &federation, now)?;
            let revoked = Revoked {
                grant: next.grant.newest().kid().to_owned(),
                federation: next.federation.newest().kid().to_owned(),
                revoked: known.rings.ids(),
            };
            let sealed = next.seal(&self.seal)?;
            if self.swap(&known, sealed, next).await? {
                let entry = revocation(now, who, &revoked);
                self.state.record(vec![entry]).await?;
                return Ok(revoked);
            }
        }
        Err(Error::Contended)
    }

    /// Whether nodes that believe `believed` know the key that signs grants now.
    #[must_use]
    pub fn signs_by<T>(&self, believed: &BTreeMap<String, T>) -> bool {
        let known = self.known.load();
        believed.contains_key(known.rings.grant.signing(self.now()).kid())
    }

    /// The public keys of grants by id, as slices carry them.
    #[must_use]
    pub fn points(&self) -> BTreeMap<String, String> {
        let known = self.known.load();
        known.rings.grant.all().flat_map(GrantKey::points).collect()
    }

    /// The public keys of federation tokens (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let known = self.known.load();
        let keys: Vec<_> = (known.rings.federation.all())
            .map(FederationKey::jwk)
            .collect();
        json!({ "keys": keys })
    }

    /// A signed grant, when the key that signs it is among `believed`; `None` when nodes do not know that key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn grant<T>(
        &self,
        typ: &str,
        claims: &impl Serialize,
        believed: &BTreeMap<String, T>,
    ) -> Result<Option<Secret>, Error> {
        let known = self.known.load();
        let key = known.rings.grant.signing(self.now());
        if !believed.contains_key(key.kid()) {
            return Ok(None);
        }
        key.sign(typ, claims).map(Some).map_err(|_| Error::Crypto)
    }

    /// A signed federation token.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn federation(&self, claims: &impl Serialize) -> Result<Secret, Error> {
        let known = self.known.load();
        known.rings.federation.signing(self.now()).sign(claims)
    }

    /// Puts other keys in the place of those known; `false` when somebody was faster.
    async fn swap(&self, known: &Known, sealed: Vec<u8>, rings: Rings) -> Result<bool, Error> {
        let before = Some(known.sealed.clone());
        let swapped = self
            .state
            .swap_value(VALUE, before, Some(sealed.clone()))
            .await?;
        if swapped {
            self.known.store(Arc::new(Known { sealed, rings }));
        }
        Ok(swapped)
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }
}

impl Known {
    fn read(seal: &Seal, sealed: Vec<u8>) -> Result<Self, Error> {
        let text = seal.open_value(VALUE, &sealed)?;
        let text: Text = serde_json::from_slice(text.expose()).map_err(|_| Error::Damaged)?;
        let rings = Rings {
            grant: Ring::read(&text.grant)?,
            federation: Ring::read(&text.federation)?,
        };
        Ok(Self { sealed, rings })
    }
}

impl Rings {
    fn first(
        grant: &Secret<Vec<u8>>,
        federation: &Secret<Vec<u8>>,
        now: WallTime,
    ) -> Result<Self, Error> {
        Ok(Self {
            grant: Ring::first(grant, now)?,
            federation: Ring::first(federation, now)?,
        })
    }

    fn swept(&self, grant_life: Duration, now: WallTime) -> Self {
        Self {
            grant: self.grant.swept(grant_life, now),
            federation: self.federation.swept(FEDERATION_LIFE, now),
        }
    }

    fn is_swept(&self, grant_life: Duration, now: WallTime) -> bool {
        self.grant.is_swept(grant_life, now) && self.federation.is_swept(FEDERATION_LIFE, now)
    }

    /// The ids of all keys.
    fn ids(&self) -> Vec<String> {
        let grant = self.grant.all().map(GrantKey::kid);
        let federation = self.federation.all().map(FederationKey::kid);
        grant.chain(federation).map(str::to_owned).collect()
    }

    fn signs_next(&self, now: WallTime) -> Option<WallTime> {
        let next = [self.grant.signs_next(now), self.federation.signs_next(now)];
        next.into_iter().flatten().max()
    }

    fn seal(&self, seal: &Seal) -> Result<Vec<u8>, Error> {
        let text = Text {
            grant: self.grant.write(),
            federation: self.federation.write(),
        };
        let text = serde_json::to_vec(&text).map_err(|_| Error::Crypto)?;
        Ok(seal.seal(VALUE, Secret::new(text).expose())?)
    }
}

/// Private keys of each kind. Looking for primes takes long: not on a thread that serves others.
async fn new(tasks: &Tasks) -> Result<(Secret<Vec<u8>>, Secret<Vec<u8>>), Error> {
    let made = tasks.spawn_blocking("make signing keys", || {
        let grant = GrantKey::new_secret().map_err(|_| Error::Crypto)?;
        Ok((grant, FederationKey::new_secret()?))
    });
    made.await.unwrap_or(Err(Error::Crypto))
}

fn rotation(at: WallTime, who: &str, rotated: &Rotated) -> NewEntry {
    let after = json!({
        "grant": rotated.grant,
        "federation": rotated.federation,
        "signsFrom": rotated.signs_from.to_string(),
    });
    entry(at, who, "rotate", None, after)
}

fn revocation(at: WallTime, who: &str, revoked: &Revoked) -> NewEntry {
    let before = json!({ "keys": revoked.revoked });
    let after = json!({ "grant": revoked.grant, "federation": revoked.federation });
    entry(at, who, "revoke", Some(before), after)
}

fn entry(at: WallTime, who: &str, action: &str, before: Option<Value>, after: Value) -> NewEntry {
    NewEntry {
        at,
        who: who.to_owned(),
        action: action.to_owned(),
        target: "keys/issuer".to_owned(),
        before,
        after: Some(after),
        generation: None,
        refused: None,
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.points();
        f.debug_tuple("SigningKeys").field(&keys.keys()).finish()
    }
}
