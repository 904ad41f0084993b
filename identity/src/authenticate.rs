//! What a request shows -> who calls, at `now`.
//!
//! The data path takes Basic and the node's own access tokens; the token service takes what `prove` takes: an account's
//! password, an issuer's token, or a refresh token, under any user name, because the secret says what it is. A rule grant is worth
//! something to `exchange` alone. Who shows nothing is `Anonymous`; who shows something wrong is refused and never taken for nobody.

pub mod access_token;
pub mod account;
mod credentials;
mod failure;
mod given;
pub mod grant;
pub mod oidc;
pub mod outsiders;
mod prove;
mod proven;
pub mod refresh;
pub mod trust;

use std::{net::IpAddr, sync::Arc, time::Duration};

use runtime::{Clock, Secret, Tasks};
use wire::{name::AccountName, time::WallTime};

use self::{
    access_token::{AccessTokens, Content, Issued},
    account::{Accounts, Passwords, Resolve},
    given::Given,
    outsiders::Outsiders,
    proven::By,
    refresh::{Holder, Record, RefreshStore, RefreshTokens},
    trust::{Trust, Via},
};
pub use self::{
    credentials::{Credentials, MAX_HEADER},
    proven::Proven,
};
use crate::{
    certificate::SpiffeId,
    decide::Bound,
    error::{Error, Refused},
    principal::Principal,
    sign::Keys,
};

/// What of the node's slice counts here.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// This node's login server: issuer and audience of its tokens.
    pub audience: &'a str,
    /// The accounts in force.
    pub accounts: &'a Accounts,
    /// What rule grants are believed by; none before there is an issuer of them.
    pub trust: Option<&'a Trust>,
    /// The issuers outside this node.
    pub outsiders: &'a dyn Outsiders,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The SPIFFE id of a valid client certificate of this mesh, if the connection shows one.
    pub spiffe: Option<&'a str>,
    /// Whether this is a connection without TLS from this very machine.
    pub plain_loopback: bool,
}

impl Origin<'_> {
    /// Who calls, when nothing is shown but the connection's certificate.
    #[must_use]
    pub fn principal(&self) -> Principal {
        let id: Option<SpiffeId> = self.spiffe.and_then(|id| id.parse().ok());
        match id.as_ref().and_then(SpiffeId::node) {
            Some(node) => Principal::Node { name: node.clone() },
            None => Principal::Anonymous,
        }
    }
}

/// Who calls, and what their token is limited to.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The upper bound of the token shown; `None` when none was.
    pub bound: Option<Arc<Bound>>,
    /// The rule behind an identity.
    pub via: Option<Via>,
}

/// What authentication is built of.
#[derive(Debug)]
pub struct Config {
    /// The node's keys.
    pub keys: Arc<Keys>,
    /// Where its refresh tokens are kept.
    pub refresh: Arc<dyn RefreshStore>,
}

/// Finds out who calls and gives tokens. Lives as long as the node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Authenticate {
    keys: Arc<Keys>,
    passwords: Passwords,
    tokens: AccessTokens,
    refresh: RefreshTokens,
    clock: Clock,
}

impl Config {
    /// Passwords are read by `resolve`.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn build(
        self,
        resolve: Resolve,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Authenticate, Error> {
        Ok(Authenticate {
            passwords: Passwords::with_ties(resolve, Arc::clone(&self.keys), clock, tasks)?,
            tokens: AccessTokens::new(Arc::clone(&self.keys)),
            refresh: RefreshTokens::new(self.refresh),
            keys: self.keys,
            clock: clock.clone(),
        })
    }
}

impl Authenticate {
    /// Who calls on the data path.
    ///
    /// # Errors
    /// When what is shown is wrong, or cannot be checked now.
    pub async fn caller(
        &self,
        local: Local<'_>,
        shown: Option<&Credentials>,
        origin: Origin<'_>,
    ) -> Result<Caller, Error> {
        match shown {
            None => Ok(Caller {
                principal: origin.principal(),
                bound: None,
                via: None,
            }),
            Some(Credentials::Bearer(token)) => self.bearer(local, token, origin),
            Some(Credentials::Basic { user, secret }) => {
                let proven = self.prove(local, user, secret, origin).await?;
                Ok(Caller {
                    principal: proven.principal,
                    bound: proven.bound.map(Arc::new),
                    via: proven.via,
                })
            }
        }
    }

    /// Whose refresh token this is.
    ///
    /// # Errors
    /// When it is not valid (any more), or cannot be checked now.
    pub async fn refreshed(
        &self,
        local: Local<'_>,
        token: &Secret,
        origin: Origin<'_>,
    ) -> Result<Proven, Error> {
        let record = self.refresh.find(token, local.audience, self.now()).await?;
        let tie = match &record.principal {
            Principal::Account { name } => {
                self.still_an_account(local, name, &record, token).await?
            }
            Principal::Anonymous
            | Principal::Identity { .. }
            | Principal::Node { .. }
            | Principal::Workload { .. } => None,
        };
        let given = Given {
            principal: &record.principal,
            bound_to: record.bound_to.as_deref(),
            via: record.via.as_ref(),
        };
        if !given.counts(local, origin, self.now()) {
            return Err(Refused::RefreshToken.into());
        }
        Ok(Proven {
            principal: record.principal,
            bound: record.bound,
            bound_to: record.bound_to,
            via: record.via,
            tie,
            by: By::RefreshToken(token.clone()),
        })
    }

    /// An access token for what was proven.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, local: Local<'_>, proven: &Proven, bound: Bound) -> Result<Issued, Error> {
        self.issue_as(local, proven, &proven.principal, bound)
    }

    /// The same, and the token says `principal` of its bearer: the one that was proven, in fewer claims.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue_as(
        &self,
        local: Local<'_>,
        proven: &Proven,
        principal: &Principal,
        bound: Bound,
    ) -> Result<Issued, Error> {
        let content = Content {
            principal,
            bound,
            bound_to: proven.bound_to.clone(),
            tie: proven.tie.clone(),
            via: proven.via.clone(),
        };
        let issued = self.tokens.issue(local.audience, content, self.now());
        issued.map_err(|source| Error::Unavailable {
            what: "the node's key",
            source: Box::new(source),
        })
    }

    /// A refresh token for what was proven: a new one for a password, the same again for what was shown before, none for nobody.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn issue_refresh(
        &self,
        local: Local<'_>,
        proven: &Proven,
    ) -> Result<Option<Secret>, Error> {
        let now = self.now();
        let holder = Holder {
            bound: proven.bound.as_ref(),
            bound_to: proven.bound_to.as_deref(),
            via: proven.via.as_ref(),
            ..Holder::new(&proven.principal, local.audience, now.plus(refresh::LIFE))
        };
        match &proven.by {
            By::Nothing => Ok(None),
            By::RefreshToken(token) => Ok(Some(token.clone())),
            By::Password(password) => {
                let password = Some(password);
                let issued = self.refresh.issue(Holder { password, ..holder });
                issued.await.map(Some)
            }
            By::Token { hash, ends } => {
                let holder = Holder {
                    ends: *ends,
                    ..holder
                };
                let keys = &self.keys;
                let issued = self.refresh.issue_once(keys, *hash, holder, now);
                issued.await.map(Some)
            }
        }
    }

    /// Reads and hashes every password beforehand; the names of those that cannot be read now are returned.
    pub async fn warm(&self, accounts: &Accounts) -> Vec<AccountName> {
        self.passwords.warm(accounts).await
    }

    /// The reader of time that lives and tries are measured by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn bearer(
        &self,
        local: Local<'_>,
        token: &Secret,
        origin: Origin<'_>,
    ) -> Result<Caller, Error> {
        let verified = self
            .tokens
            .verify(local.audience, token.expose(), self.now());
        let claims = verified.map_err(|_| {
            refused(
                "it is none of this node's, or is over: signature, `iss`, `aud`, `exp` or `nbf`",
            )
        })?;
        let given = Given {
            principal: &claims.principal,
            bound_to: claims.bound_to(),
            via: claims.via.as_ref(),
        };
        if !given.counts(local, origin, self.now()) {
            return Err(refused(
                "what it was given for is withdrawn or no longer declared, or the connection does not show its certificate",
            ));
        }
        if let Principal::Account { name } = &claims.principal
            && !local.accounts.takes(name, claims.tie())
        {
            return Err(refused("its account is gone, or has another password"));
        }
        Ok(Caller {
            principal: claims.principal.clone(),
            bound: Some(Arc::clone(&claims.access)),
            via: claims.via.clone(),
        })
    }

    /// What ties the tokens of an account to its password, which is still the one that this refresh token was given for.
    async fn still_an_account(
        &self,
        local: Local<'_>,
        name: &AccountName,
        record: &Record,
        token: &Secret,
    ) -> Result<Option<String>, Error> {
        let password = match self.passwords.current(local.accounts, name).await {
            Err(_) if local.accounts.is_idle(name) => return Err(Refused::RefreshToken.into()),
            read => read?,
        };
        let same = password.filter(|password| refresh::still_bound(record, token, password));
        if let Some(password) = same {
            return Ok(self.passwords.tie(name, &password));
        }
        self.refresh.revoke(token).await?;
        Err(Refused::RefreshToken.into())
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }
}

impl Issued {
    /// Whole seconds of its life, for `expires_in`.
    #[must_use]
    pub fn expires_in_seconds(&self) -> u64 {
        self.expires_in.max(Duration::from_secs(60)).as_secs()
    }
}

/// A token that is not valid here; why is for the log alone.
fn refused(reason: &str) -> Error {
    tracing::info!(reason, "a token was refused");
    Refused::Token.into()
}

#[cfg(test)]
mod tests;
