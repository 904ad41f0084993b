//! What a request shows -> who calls, at `now`.
//!
//! The data path takes Basic and the node's own access tokens; the token service takes what `prove` takes: an account's
//! password, or a refresh token under any user name. Who shows nothing is `Anonymous`; who shows something wrong is refused
//! and never taken for nobody. Further proofs (an issuer's token, a rule grant) join `prove` and change nothing above it.

pub mod access_token;
pub mod account;
mod failure;
pub mod grant;
pub mod oidc;
pub mod outsiders;
pub mod refresh;
pub mod trust;

use std::{net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine, alphabet, engine};
use runtime::{Clock, Secret, Tasks};
use wire::{name::AccountName, time::WallTime};

use self::{
    access_token::{AccessTokens, Content, Issued},
    account::{Accounts, Passwords, Resolve},
    outsiders::Outsiders,
    refresh::{Holder, Record, RefreshStore, RefreshTokens},
    trust::Trust,
};
use crate::{
    certificate::SpiffeId,
    decide::Bound,
    error::{Error, Refused},
    principal::Principal,
    sign::Keys,
};

/// The longest `Authorization` header looked at, in bytes.
pub const MAX_HEADER: usize = 64 * 1024;

/// Clients differ in padding, which carries nothing here.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// What an `Authorization` header holds.
#[derive(Debug)]
pub enum Credentials {
    /// A user name and a secret.
    Basic {
        /// Who they say they are.
        user: String,
        /// A password, or a token.
        secret: Secret,
    },
    /// A token.
    Bearer(Secret),
}

impl Credentials {
    /// Reads the values of all `Authorization` lines; `None` when there is none.
    ///
    /// # Errors
    /// When there are several, or the only one is not Basic or Bearer, well-formed.
    pub fn parse<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, Refused> {
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() || value.len() > MAX_HEADER {
            return Err(Refused::Malformed);
        }
        let value = std::str::from_utf8(value).map_err(|_| Refused::Malformed)?;
        let (scheme, rest) = value.trim().split_once(' ').ok_or(Refused::Malformed)?;
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest).map(Some).ok_or(Refused::Malformed)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Some(Self::Bearer(Secret::from(rest))))
        } else {
            Err(Refused::Scheme)
        }
    }
}

fn basic(text: &str) -> Option<Credentials> {
    let decoded = Secret::new(BASE64.decode(text).ok()?);
    let (user, secret) = std::str::from_utf8(decoded.expose())
        .ok()?
        .split_once(':')?;
    Some(Credentials::Basic {
        user: user.to_owned(),
        secret: Secret::from(secret),
    })
}

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
}

/// Who asks for a token, and by what.
#[derive(Debug)]
pub struct Proven {
    /// Who.
    pub principal: Principal,
    /// What tokens for them may say at most; none for no limit but the roles'.
    pub bound: Option<Bound>,
    /// The SPIFFE id their tokens are bound to.
    pub bound_to: Option<String>,
    /// What ties their tokens to an account's password.
    tie: Option<String>,
    by: By,
}

#[derive(Debug)]
enum By {
    Nothing,
    Password(Secret),
    RefreshToken(Secret),
}

impl Proven {
    /// What a request without credentials proves: the node that its connection's certificate names, else nothing. Tokens for a node
    /// are worth something under its certificate alone.
    #[must_use]
    pub fn by_connection(origin: Origin<'_>) -> Self {
        let principal = origin.principal();
        let bound_to = origin.spiffe.filter(|_| principal.is_known());
        Self {
            bound_to: bound_to.map(str::to_owned),
            principal,
            bound: None,
            tie: None,
            by: By::Nothing,
        }
    }
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
            tokens: AccessTokens::new(self.keys),
            refresh: RefreshTokens::new(self.refresh),
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
            }),
            Some(Credentials::Bearer(token)) => self.bearer(local, token, origin),
            Some(Credentials::Basic { user, secret }) => {
                let proven = self.prove(local, user, secret, origin).await?;
                Ok(Caller {
                    principal: proven.principal,
                    bound: proven.bound.map(Arc::new),
                })
            }
        }
    }

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
        let checked = self
            .passwords
            .check(local.accounts, user, secret, origin.address);
        let name = checked.await?;
        let tie = self.passwords.tie(&name, secret);
        let principal = Principal::Account { name };
        Ok(Proven {
            principal,
            bound: None,
            bound_to: None,
            tie,
            by: By::Password(secret.clone()),
        })
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
        if record.bound_to.is_some() && record.bound_to.as_deref() != origin.spiffe {
            return Err(Refused::RefreshToken.into());
        }
        Ok(Proven {
            principal: record.principal,
            bound: record.bound,
            bound_to: record.bound_to,
            tie,
            by: By::RefreshToken(token.clone()),
        })
    }

    /// An access token for what was proven.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, local: Local<'_>, proven: &Proven, bound: Bound) -> Result<Issued, Error> {
        let content = Content {
            principal: &proven.principal,
            bound,
            bound_to: proven.bound_to.clone(),
            tie: proven.tie.clone(),
            life: access_token::LIFE,
        };
        let issued = self.tokens.issue(local.audience, content, self.now());
        issued.map_err(|source| Error::Unavailable {
            what: "the node's key",
            source: Box::new(source),
        })
    }

    /// A refresh token for what was proven: a new one for a password, the same again for a refresh token, none for nobody or
    /// when there is no room for more sessions.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn issue_refresh(
        &self,
        local: Local<'_>,
        proven: &Proven,
    ) -> Result<Option<Secret>, Error> {
        match &proven.by {
            By::Nothing => Ok(None),
            By::RefreshToken(token) => Ok(Some(token.clone())),
            By::Password(password) => {
                let holder = Holder {
                    principal: &proven.principal,
                    audience: local.audience,
                    password: Some(password),
                };
                self.refresh.issue(holder, self.now()).await
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
        let claims = verified.map_err(|_| Refused::Token)?;
        if claims.bound_to().is_some() && claims.bound_to() != origin.spiffe {
            return Err(Refused::Token.into());
        }
        if let Principal::Account { name } = &claims.principal
            && !local.accounts.takes(name, claims.tie())
        {
            return Err(Refused::Token.into());
        }
        Ok(Caller {
            principal: claims.principal.clone(),
            bound: Some(Arc::clone(&claims.access)),
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
        let password = self.passwords.current(local.accounts, name).await?;
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

#[cfg(test)]
mod tests;
