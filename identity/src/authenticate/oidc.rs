//! Tokens of declared issuers: whose they are, and whether they are genuine.
//!
//! The issuer is chosen by the exact `iss` before anything else of a token counts, and its keys, algorithms and audiences are those
//! that the topology declares, whatever the token says. What costs nothing is checked first, so an expired token or one for somebody
//! else leads to no question and no signature. Who is refused is not told why; the log is, at debug. Verified tokens are remembered by
//! their hash while they last and the issuer's keys stay the same. Issuers that stay the same from one slice to the next keep what is
//! known about them. Source: `spec/identity.md` "OIDC"; `reference/protocols.md` 5.2; `reference/faults.md` T50.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use runtime::Secret;
use wire::{name::IssuerName, time::WallTime};

use self::{
    check::{Algorithms, Expected},
    unverified::{Times, Unverified},
    wrong::Wrong,
};
use super::{
    access_token::hash,
    outsiders::{Outsiders, Verified},
};
use crate::{
    error::{Error, Refused},
    keys::{
        Away, KeySet, KeySource,
        discovery::Place,
        jwks::{Around, Jwks},
    },
    principal::Principal,
    sign::MAX_TOKEN,
};

mod check;
mod unverified;
mod wrong;

/// How many bytes of verified tokens are remembered for one issuer.
const REMEMBERED: u64 = 16 << 20;

/// An issuer as the topology declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: IssuerName,
    /// Where it is; `url` there is the exact `iss` of its tokens.
    pub place: Place,
    /// Every audience that is taken here, the client id apart. None means that only people's tokens are.
    pub audiences: Vec<String>,
    /// The client id that people sign in by.
    pub client_id: Option<String>,
    /// The algorithms taken, as JWA names them; none of them means RS256 and ES256.
    pub algorithms: Vec<String>,
    /// Whether anything is assigned here to somebody whom it knows. Where nothing is, nobody misses it while its keys cannot be had, and
    /// its tokens are simply not known; and of several issuers with one URL (clusters like to have the same) those with it go first.
    pub assigned: bool,
}

/// The declared issuers. Made anew for each slice.
#[derive(Debug, Default)]
pub struct Issuers(BTreeMap<IssuerName, Arc<Known>>);

#[derive(Debug)]
struct Known {
    declared: Declared,
    algorithms: Algorithms,
    keys: Arc<dyn KeySource>,
    remembered: moka::sync::Cache<[u8; 32], Arc<Remembered>>,
}

/// A token that was verified, and by which keys.
#[derive(Debug)]
struct Remembered {
    verified: Verified,
    times: Times,
    by: Arc<KeySet>,
    bytes: u32,
}

enum Failure {
    Wrong(Wrong),
    Away(Away),
}

impl Issuers {
    /// The declared issuers. Those that `previous` knew keep what is known: their keys where they are in the same place, and verified
    /// tokens where nothing about them has changed.
    #[must_use]
    pub fn new(
        declared: impl IntoIterator<Item = Declared>,
        around: &Around,
        previous: Option<&Self>,
    ) -> Self {
        let known = |declared: Declared| {
            let before = previous.and_then(|previous| previous.0.get(&declared.name));
            match before {
                Some(before) if before.declared == declared => Arc::clone(before),
                Some(before) if before.declared.place == declared.place => {
                    Arc::new(Known::new(declared, Arc::clone(&before.keys)))
                }
                Some(_) | None => {
                    let keys = Jwks::new(&declared.name, declared.place.clone(), around);
                    Arc::new(Known::new(declared, Arc::new(keys)))
                }
            }
        };
        let named = |declared: Declared| (declared.name.clone(), known(declared));
        Self(declared.into_iter().map(named).collect())
    }

    /// Issuers whose keys come from elsewhere.
    #[must_use]
    pub fn with(sources: impl IntoIterator<Item = (Declared, Arc<dyn KeySource>)>) -> Self {
        let known = |(declared, keys): (Declared, _)| {
            (declared.name.clone(), Arc::new(Known::new(declared, keys)))
        };
        Self(sources.into_iter().map(known).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuer whose token this says it is. Of several entries for one issuer the one that the token's audience is of, of those the
    /// first that something is assigned to here.
    fn of(&self, unverified: &Unverified) -> Option<&Arc<Known>> {
        let iss = unverified.issuer()?;
        let same = self.0.values();
        same.filter(|known| known.declared.place.url == iss)
            .min_by_key(|known| {
                let other_audience = known.audience(unverified).is_err();
                (other_audience, !known.declared.assigned)
            })
    }
}

#[async_trait]
impl Outsiders for Issuers {
    async fn verify(&self, token: &Secret, now: WallTime) -> Result<Option<Verified>, Error> {
        let token = token.expose();
        if token.len() > MAX_TOKEN {
            tracing::debug!(
                bytes = token.len(),
                "what may be an issuer's token is too long"
            );
            return Ok(None);
        }
        let Some(unverified) = Unverified::read(token) else {
            return Ok(None);
        };
        let Some(known) = self.of(&unverified) else {
            return Ok(None);
        };
        let issuer = &known.declared.name;
        match known.verify(token, &unverified, now).await {
            Ok(verified) => Ok(Some(verified)),
            Err(Failure::Wrong(reason)) => {
                tracing::info!(%issuer, %reason, "an issuer's token was refused");
                Err(Refused::Token.into())
            }
            Err(Failure::Away(away)) => {
                tracing::debug!(%issuer, error = %away, "an issuer's token cannot be verified now");
                if !known.declared.assigned {
                    return Err(Refused::Token.into());
                }
                Err(Error::Unavailable {
                    what: "the keys of the token's issuer",
                    source: Box::new(away),
                })
            }
        }
    }

    fn declares(&self, name: &IssuerName, iss: &str) -> bool {
        let known = self.0.get(name);
        known.is_some_and(|known| known.declared.place.url == iss)
    }
}

impl Known {
    fn new(declared: Declared, keys: Arc<dyn KeySource>) -> Self {
        let remembered = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED)
            .weigher(|_, remembered: &Arc<Remembered>| remembered.bytes);
        Self {
            algorithms: Algorithms::of(&declared.algorithms),
            declared,
            keys,
            remembered: remembered.build(),
        }
    }

    async fn verify(
        &self,
        token: &str,
        unverified: &Unverified,
        now: WallTime,
    ) -> Result<Verified, Failure> {
        let times = unverified.times()?;
        times.check(now)?;
        self.algorithms.check(&unverified.header.alg)?;
        let audience = self.audience(unverified)?;
        let expected = Expected {
            url: &self.declared.place.url,
            audience,
            is_ours: &|audience| self.is_ours(audience),
            algorithms: &self.algorithms,
            kid: unverified.header.kid.as_deref(),
        };
        let keys = self.keys.keys().await?;
        let hash = hash(token);
        let remembered = self.remembered.get(&hash);
        if let Some(remembered) = remembered.filter(|it| Arc::ptr_eq(&it.by, &keys)) {
            remembered.times.check(now)?;
            return Ok(remembered.verified.clone());
        }
        let by = match expected.check(token, &keys, now) {
            Ok(()) => keys,
            Err(wrong) if wrong.may_lack_a_key(expected.kid) => {
                let newer = self.keys.newer(&keys).await?;
                if Arc::ptr_eq(&newer, &keys) {
                    return Err(wrong.into());
                }
                expected.check(token, &newer, now)?;
                newer
            }
            Err(wrong) => return Err(wrong.into()),
        };
        let verified = self.verified(unverified, times);
        let remembered = Remembered {
            verified: verified.clone(),
            times,
            by,
            bytes: u32::try_from(token.len()).unwrap_or(u32::MAX),
        };
        self.remembered.insert(hash, Arc::new(remembered));
        Ok(verified)
    }

    fn verified(&self, unverified: &Unverified, times: Times) -> Verified {
        let client_id = self.declared.client_id.as_deref();
        let principal = Principal::Workload {
            issuer: self.declared.name.clone(),
            claims: Arc::clone(&unverified.claims),
        };
        Verified {
            principal,
            expires: times.end(),
            person: client_id.is_some_and(|id| unverified.audiences().any(|one| one == id)),
        }
    }

    /// The audience of ours that the token is for; it may be for no other but ours.
    fn audience<'t>(&self, unverified: &'t Unverified) -> Result<&'t str, Wrong> {
        if unverified.audiences().any(|one| !self.is_ours(one)) {
            return Err(Wrong::Audience);
        }
        unverified.audiences().next().ok_or(Wrong::Audience)
    }

    fn is_ours(&self, audience: &str) -> bool {
        let mut ours = self
            .declared
            .audiences
            .iter()
            .chain(&self.declared.client_id);
        ours.any(|ours| ours == audience)
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Self {
        Self::Away(away)
    }
}

#[cfg(test)]
mod tests;
