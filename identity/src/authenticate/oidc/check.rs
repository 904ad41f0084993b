//! The seam to `openidconnect`: is a token signed by one of these keys, for us, by this issuer, and in time.
//!
//! The library checks neither `nbf` nor knows leeway (`unverified` does, and its clock is set back here), takes RS256 alone unless told
//! otherwise, and keeps what it should: `crit`, `typ` other than JWT, `cty`, encryption, HMAC, `none` and foreign audiences are refused.
//! A public client's verifier, so that no secret can become a key. Source: `reference/protocols.md` 5.2.

use chrono::{DateTime, Utc};
use openidconnect::{
    ClientId, EmptyAdditionalClaims, IdToken, IdTokenVerifier, IssuerUrl, Nonce,
    core::{CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm},
};
use wire::{oci_error::clean, time::WallTime};

use super::wrong::Wrong;
use crate::{authenticate::access_token::LEEWAY, keys::KeySet};

type Token = IdToken<
    EmptyAdditionalClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// The algorithms taken from one issuer: signatures by public keys, whatever is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Algorithms(Vec<CoreJwsSigningAlgorithm>);

impl Algorithms {
    /// Those of these names; what is none of a public key is left out. No names mean RS256 and ES256.
    pub(super) fn of(names: &[String]) -> Self {
        if names.is_empty() {
            return Self::of(&["RS256".to_owned(), "ES256".to_owned()]);
        }
        Self(names.iter().filter_map(|name| algorithm(name)).collect())
    }

    pub(super) fn check(&self, name: &str) -> Result<(), Wrong> {
        let taken = algorithm(name).is_some_and(|algorithm| self.0.contains(&algorithm));
        taken
            .then_some(())
            .ok_or_else(|| Wrong::Algorithm(clean(name)))
    }
}

fn algorithm(name: &str) -> Option<CoreJwsSigningAlgorithm> {
    use CoreJwsSigningAlgorithm as A;
    Some(match name {
        "RS256" => A::RsaSsaPkcs1V15Sha256,
        "RS384" => A::RsaSsaPkcs1V15Sha384,
        "RS512" => A::RsaSsaPkcs1V15Sha512,
        "PS256" => A::RsaSsaPssSha256,
        "PS384" => A::RsaSsaPssSha384,
        "PS512" => A::RsaSsaPssSha512,
        "ES256" => A::EcdsaP256Sha256,
        "ES384" => A::EcdsaP384Sha384,
        "ES512" => A::EcdsaP521Sha512,
        "EdDSA" => A::EdDsa,
        _ => return None,
    })
}

/// What a token of one issuer must be.
pub(super) struct Expected<'a> {
    pub(super) url: &'a str,
    /// The one of the token's audiences that is demanded.
    pub(super) audience: &'a str,
    pub(super) is_ours: &'a (dyn Fn(&str) -> bool + Send + Sync),
    pub(super) algorithms: &'a Algorithms,
    /// The key that the token names.
    pub(super) kid: Option<&'a str>,
}

impl Expected<'_> {
    /// Whether `token` is it, by one of `keys`, at `now`.
    pub(super) fn check(&self, token: &str, keys: &KeySet, now: WallTime) -> Result<(), Wrong> {
        let other = |what: &str| Wrong::Other(what.to_owned());
        let token: Token = token
            .parse()
            .map_err(|error: serde_json::Error| Wrong::Other(clean(&error.to_string())))?;
        let issuer =
            IssuerUrl::new(self.url.to_owned()).map_err(|_| other("the issuer's URL is none"))?;
        let behind: Option<DateTime<Utc>> = DateTime::from_timestamp_millis(now.minus(LEEWAY).0);
        let behind = behind.ok_or_else(|| other("our clock is far off"))?;
        let verifier = IdTokenVerifier::new_public_client(
            ClientId::new(self.audience.to_owned()),
            issuer,
            keys.named(self.kid),
        )
        .set_allowed_algs(self.algorithms.0.iter().cloned())
        .set_time_fn(move || behind)
        .set_issue_time_verifier_fn(|_| Ok(()))
        .set_other_audience_verifier_fn(|audience| (self.is_ours)(audience));
        // Whoever calls a registry was given no nonce by us.
        token.claims(&verifier, |_: Option<&Nonce>| Ok(()))?;
        Ok(())
    }
}
