//! What a secret is, and so whom it names: by its own form, `typ` and issuer, never by the user name beside it.
//!
//! | secret | as a password | exchanged |
//! |---|---|---|
//! | refresh token of ours | whoever it was given to | - |
//! | access token of ours | - | - |
//! | rule grant | - | the identity |
//! | a declared issuer's token | whom it names | whom it names |
//! | anything else | an account's password | - |
//!
//! A dash is a refusal. Nothing is tried twice: a token is not looked up as a password under the users that clients show tokens with.

use runtime::Secret;
use wire::time::WallTime;

use super::{
    Authenticate, Local, Origin, access_token, grant,
    outsiders::Verified,
    proven::{By, Proven},
    refresh::{self, RefreshTokens},
    refused,
};
use crate::{
    error::{Error, Refused},
    principal::Principal,
    sign,
};

/// Why a token is refused that nobody here knows the maker of.
const UNDECLARED: &str =
    "its `iss` is no declared issuer, or it is no JWT that one could have made";
/// User names under which clients show tokens.
const TOKEN_USERS: [&str; 2] = ["oidc", "00000000-0000-0000-0000-000000000000"];

impl Authenticate {
    /// Who asks the token service, by a user name and a secret: the secret says what it is.
    ///
    /// # Errors
    /// When it is wrong, was wrong too often, or cannot be checked now.
    pub async fn prove(
        &self,
        local: Local<'_>,
        user: &str,
        secret: &Secret,
        origin: Origin<'_>,
    ) -> Result<Proven, Error> {
        if RefreshTokens::is_one(secret.expose()) {
            return self.refreshed(local, secret, origin).await;
        }
        if let Some(typ) = sign::typ(secret.expose()) {
            if typ.is(grant::TYP) || typ.is(access_token::TYP) {
                return Err(Refused::Kind.into());
            }
            if let Some(proven) = self.issued_elsewhere(local, secret).await? {
                return Ok(proven);
            }
            if TOKEN_USERS.contains(&user) {
                return Err(refused(UNDECLARED));
            }
        }
        let checked = self
            .passwords
            .check(local.accounts, user, secret, origin.address);
        let name = checked.await?;
        Ok(Proven {
            tie: self.passwords.tie(&name, secret),
            by: By::Password(secret.clone()),
            ..Proven::simply(Principal::Account { name })
        })
    }

    /// Whose token is shown to be exchanged: a rule grant's, or an issuer's.
    ///
    /// # Errors
    /// When it is anything else, not valid here, or cannot be checked now.
    pub async fn exchange(
        &self,
        local: Local<'_>,
        token: &Secret,
        origin: Origin<'_>,
    ) -> Result<Proven, Error> {
        match sign::typ(token.expose()) {
            Some(typ) if typ.is(grant::TYP) => self.granted(local, token, origin),
            Some(_) => self.subject(local, token).await,
            None => Err(Refused::Kind.into()),
        }
    }

    /// Whom a token of a declared issuer names.
    ///
    /// # Errors
    /// When it is none, not valid here, or cannot be checked now.
    pub async fn subject(&self, local: Local<'_>, token: &Secret) -> Result<Proven, Error> {
        match sign::typ(token.expose()) {
            Some(typ) if !typ.is(grant::TYP) && !typ.is(access_token::TYP) => {
                let proven = self.issued_elsewhere(local, token).await?;
                proven.ok_or_else(|| refused(UNDECLARED))
            }
            Some(_) | None => Err(Refused::Kind.into()),
        }
    }

    fn granted(
        &self,
        local: Local<'_>,
        token: &Secret,
        origin: Origin<'_>,
    ) -> Result<Proven, Error> {
        let checked = grant::check(local.trust, local.audience, token, origin, self.now());
        let granted = checked.map_err(|reason| {
            tracing::info!(%reason, "a rule grant was refused");
            Refused::Grant(reason)
        })?;
        Ok(Proven {
            bound: Some(granted.bound),
            bound_to: granted.bound_to,
            via: Some(granted.via),
            by: By::Token {
                hash: access_token::hash(token.expose()),
                ends: granted.expires,
            },
            ..Proven::simply(granted.principal)
        })
    }

    async fn issued_elsewhere(
        &self,
        local: Local<'_>,
        token: &Secret,
    ) -> Result<Option<Proven>, Error> {
        let now = self.now();
        let verified = local.outsiders.verify(token, now).await?;
        Ok(verified.map(|verified| Proven {
            by: By::Token {
                hash: access_token::hash(token.expose()),
                ends: session_end(&verified, now),
            },
            ..Proven::simply(verified.principal)
        }))
    }
}

/// When the session of somebody that an issuer vouches for ends: a person's as any person's, a workload's with its token, which may
/// be made for years.
fn session_end(verified: &Verified, now: WallTime) -> WallTime {
    match verified.person {
        true => now.plus(refresh::LIFE),
        false => verified.expires.min(now.plus(grant::LONGEST_LIFE)),
    }
}
