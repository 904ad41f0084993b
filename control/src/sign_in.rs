//! Who uses the API: the admin token, a session, an issuer's token, or nobody, and which mesh-wide roles they have.
//!
//! A session is a token of ours, signed and kept nowhere, so that any control plane over the same state takes it. An account's is bound to
//! its password as it was: a changed password, a removed account or eight hours end it. A person's ends with the issuer's declaration or
//! after eight hours, however short the issuer's own token lives: roles are looked up in the topology in force at every request.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use identity::{
    authenticate::account::{Accounts, Passwords, Resolve},
    principal::Principal,
    secret::Secrets,
};
use runtime::{Clock, Secret, Tasks};
use topology::model::Topology;
use wire::{
    api::sign_in::{Device, Session, SignedIn},
    name::IssuerName,
    time::WallTime,
};

pub mod admin_token;
mod caller;
pub mod device;
pub mod oidc;
mod session;

pub use caller::Caller;
use device::{Devices, Kept, Standing};
use oidc::Oidc;
use session::{Content, PREFIX, Sessions};

/// How long a session lasts.
pub const LIFE: Duration = Duration::from_secs(8 * 3600);

/// Why it is not known who asks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something was shown that opens nothing (any more).
    #[error("the token is not valid here; it may have ended, sign in again")]
    Token,
    /// The password is wrong, was wrong too often, or cannot be read.
    #[error(transparent)]
    Password(#[from] identity::error::Error),
    /// An issuer's token opens nothing, or its issuer cannot be asked.
    #[error(transparent)]
    Oidc(#[from] oidc::Error),
    /// Signing in with an issuer did not work.
    #[error(transparent)]
    Device(#[from] device::Error),
}

/// How signing in with an issuer stands.
pub enum Outcome {
    /// The person has not finished; seconds until the next question.
    Waiting(u32),
    /// They are in.
    In {
        /// By whose word.
        issuer: IssuerName,
        /// As whom the log names them.
        who: String,
        /// What they get.
        signed_in: SignedIn,
    },
}

/// Signing in. Clones are the same.
#[derive(Clone)]
pub struct SignIn(Arc<Inner>);

struct Inner {
    admin: digest::Digest,
    sessions: Sessions,
    passwords: Passwords,
    /// The accounts of the topology last looked at: what is known about their passwords moves with them.
    accounts: Mutex<Known>,
    oidc: Oidc,
    devices: Devices,
    clock: Clock,
}

#[derive(Default)]
struct Known {
    of: Option<Arc<Topology>>,
    accounts: Arc<Accounts>,
}

impl SignIn {
    /// Takes `admin` for the administrator, signs sessions with `key` (32 bytes that all control planes of the mesh share), reads
    /// passwords by `secrets`, and believes issuers as `oidc` does. Sign-ins that have begun are in `flows`.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn new(
        admin: &Secret,
        key: &Secret<Vec<u8>>,
        secrets: Secrets,
        oidc: Oidc,
        flows: Kept,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, identity::error::Error> {
        let devices = Devices::new(flows, secrets.clone(), clock);
        let resolve: Resolve = Arc::new(move |reference| {
            let secrets = secrets.clone();
            Box::pin(async move { secrets.read(&reference).await.map_err(Into::into) })
        });
        Ok(Self(Arc::new(Inner {
            admin: sha256(admin.expose()),
            sessions: Sessions::new(key),
            passwords: Passwords::new(resolve, clock, tasks)?,
            accounts: Mutex::default(),
            oidc,
            devices,
            clock: clock.clone(),
        })))
    }

    /// Who shows this bearer token; nobody, when none is shown.
    ///
    /// # Errors
    /// When what is shown is not valid, or the account's password cannot be read or the issuer not asked now.
    pub async fn caller(
        &self,
        shown: Option<&Secret>,
        topology: Option<&Arc<Topology>>,
    ) -> Result<Caller, Error> {
        let Some(token) = shown else {
            return Ok(Caller::of(Principal::Anonymous, None, topology));
        };
        if let Some(session) = token.expose().strip_prefix(PREFIX) {
            let content = self.0.sessions.read(session).ok_or(Error::Token)?;
            return self.of_session(content, topology).await;
        }
        let shown = sha256(token.expose());
        if verify_slices_are_equal(shown.as_ref(), self.0.admin.as_ref()).is_ok() {
            return Ok(Caller::admin());
        }
        let Some(topology) = topology.filter(|_| oidc::is_one(token.expose())) else {
            return Err(Error::Token);
        };
        let shown = self.0.oidc.verify(token, topology).await?.by_itself()?;
        Ok(Caller::of(
            shown.principal,
            Some(shown.ends),
            Some(topology),
        ))
    }

    async fn of_session(
        &self,
        content: Content,
        topology: Option<&Arc<Topology>>,
    ) -> Result<Caller, Error> {
        let now = WallTime(self.0.clock.wall_ms());
        let (principal, until) = match content {
            Content::Account {
                account,
                until,
                password: bound,
            } => {
                let accounts = self.accounts(topology);
                let password = self.0.passwords.current(&accounts, &account);
                let password = password.await?.ok_or(Error::Token)?;
                if !self.0.sessions.is_of(&account, &bound, &password) {
                    return Err(Error::Token);
                }
                (Principal::Account { name: account }, until)
            }
            Content::Person {
                issuer,
                until,
                url,
                claims,
            } => {
                let declared = topology.and_then(|topology| topology.issuers.get(&issuer));
                if declared.is_none_or(|declared| declared.url != url) {
                    return Err(Error::Token);
                }
                (Principal::Workload { issuer, claims }, until)
            }
        };
        match until > now {
            true => Ok(Caller::of(principal, Some(until), topology)),
            false => Err(Error::Token),
        }
    }

    /// A session for who knows an account's password.
    ///
    /// # Errors
    /// When it is wrong, was wrong too often from `address` or for the account, or cannot be read.
    pub async fn sign_in(
        &self,
        account: &str,
        password: &Secret,
        address: IpAddr,
        topology: Option<&Arc<Topology>>,
    ) -> Result<(Caller, Session), identity::error::Error> {
        let accounts = self.accounts(topology);
        let checked = self
            .0
            .passwords
            .check(&accounts, account, password, address);
        let name = checked.await?;
        let until = self.until();
        let content = Content::Account {
            password: self.0.sessions.bound(&name, password),
            account: name.clone(),
            until,
        };
        let session = Session {
            token: self.0.sessions.write(&content),
            expires_at: until,
        };
        let caller = Caller::of(Principal::Account { name }, Some(until), topology);
        Ok((caller, session))
    }

    /// Issuers that people sign in with.
    #[must_use]
    pub fn offered(&self, topology: Option<&Arc<Topology>>) -> Vec<IssuerName> {
        device::offered(topology.map(AsRef::as_ref))
    }

    /// Begins to sign somebody at `address` in with an issuer.
    ///
    /// # Errors
    /// When nobody signs in with it, too many do, or it cannot be asked.
    pub async fn begin(
        &self,
        issuer: &str,
        address: IpAddr,
        topology: Option<&Arc<Topology>>,
    ) -> Result<Device, Error> {
        let topology = topology.map(AsRef::as_ref);
        Ok(self.0.devices.begin(issuer, address, topology).await?)
    }

    /// How a sign-in that was begun stands. The issuer's token is verified like any other; while its keys cannot be had, it waits.
    ///
    /// # Errors
    /// When it has ended without anybody signed in, or the issuer cannot be asked.
    pub async fn outcome(
        &self,
        id: &str,
        topology: Option<&Arc<Topology>>,
    ) -> Result<Outcome, Error> {
        let plain = topology.map(AsRef::as_ref);
        let (issuer, token) = match self.0.devices.poll(id, plain).await? {
            Standing::Waiting(seconds) => return Ok(Outcome::Waiting(seconds)),
            Standing::Done(issuer, token) => (issuer, token),
        };
        let topology = topology.ok_or(device::Error::Ended)?;
        let came_in = self.came_in(issuer, &token, topology).await;
        if let Err(Error::Oidc(oidc::Error::Away(_))) = came_in {
            return came_in;
        }
        match self.0.devices.end(id).await? {
            true => came_in,
            false => Err(device::Error::Ended.into()),
        }
    }

    async fn came_in(
        &self,
        issuer: IssuerName,
        token: &Secret,
        topology: &Arc<Topology>,
    ) -> Result<Outcome, Error> {
        let refused = |why: String| device::Error::Refused {
            issuer: issuer.clone(),
            why,
        };
        let shown = match self.0.oidc.verify(token, topology).await {
            Ok(shown) => shown,
            Err(oidc::Error::Refused(why)) => {
                return Err(refused(format!("its ID token is not valid: {why}")).into());
            }
            Err(error @ oidc::Error::Audience { .. }) => {
                return Err(refused(format!("its ID token is not valid: {error}")).into());
            }
            Err(error) => return Err(error.into()),
        };
        let declared = topology
            .issuers
            .get(&issuer)
            .filter(|_| shown.issuer == issuer);
        let Some(declared) = declared else {
            return Err(refused("its ID token is another issuer's".to_owned()).into());
        };
        let (until, who) = (self.until(), shown.principal.to_string());
        let content = Content::Person {
            issuer: issuer.clone(),
            until,
            url: declared.url.clone(),
            claims: Arc::new(session::asked_for(&issuer, &shown.claims, topology)),
        };
        let signed_in = SignedIn {
            token: self.0.sessions.write(&content),
            expires_at: until,
            id_token: token.expose().clone(),
        };
        Ok(Outcome::In {
            issuer,
            who,
            signed_in,
        })
    }

    fn until(&self) -> WallTime {
        WallTime(self.0.clock.wall_ms()).plus(LIFE)
    }

    fn accounts(&self, topology: Option<&Arc<Topology>>) -> Arc<Accounts> {
        let mut known = self
            .0
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let same = match (&known.of, topology) {
            (Some(of), Some(now)) => Arc::ptr_eq(of, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let declared = topology.map(|topology| topology.accounts.clone());
            let accounts = Accounts::new(&declared.unwrap_or_default(), Some(&known.accounts));
            *known = Known {
                of: topology.cloned(),
                accounts: Arc::new(accounts),
            };
        }
        Arc::clone(&known.accounts)
    }
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

fn sha256(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

#[cfg(test)]
mod tests;
