//! Who uses the API: the admin token, an account's session, or nobody, and which mesh-wide roles they have.
//!
//! A session is a token of ours, signed and kept nowhere, so that any control plane over the same state takes it. It is bound to the
//! account's password as it was: a changed password, a removed account or eight hours end it. Roles are looked up in the topology in
//! force at every request. An issuer's token becomes one more form in `caller`, and nothing above it changes.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::{
    authenticate::account::{Accounts, Passwords, Resolve},
    decide::concerns,
    principal::Principal,
    secret::Secrets,
};
use runtime::{Clock, Secret, Tasks};
use serde::{Deserialize, Serialize};
use topology::model::Topology;
use wire::{
    api::sign_in::Session,
    assignment::Role,
    name::{AccountName, IdentityName, NodeName},
    time::WallTime,
};

pub mod admin_token;

/// How long a session lasts.
pub const LIFE: Duration = Duration::from_secs(8 * 3600);
/// What a session's token begins with.
const PREFIX: &str = "regmesh-session.v1.";

/// Who asks, and what they may.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As the audit log names them.
    pub who: String,
    /// Their mesh-wide roles.
    pub roles: BTreeSet<Role>,
    /// The identities they may put into rules, beside an administrator's right to all.
    pub identities: BTreeSet<IdentityName>,
    /// When their session ends; `None` for the admin token and for nobody.
    pub until: Option<WallTime>,
    pub(crate) principal: Option<Principal>,
}

/// Why it is not known who asks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something was shown that opens nothing (any more).
    #[error("the token is not valid here; it may have ended, sign in again")]
    Token,
    /// The password is wrong, was wrong too often, or cannot be read.
    #[error(transparent)]
    Password(#[from] identity::error::Error),
}

/// Signing in. Clones are the same.
#[derive(Clone)]
pub struct SignIn(Arc<Inner>);

struct Inner {
    admin: digest::Digest,
    key: hmac::Key,
    passwords: Passwords,
    /// The accounts of the topology last looked at: what is known about their passwords moves with them.
    accounts: Mutex<Known>,
    clock: Clock,
}

#[derive(Default)]
struct Known {
    of: Option<Arc<Topology>>,
    accounts: Arc<Accounts>,
}

/// What a session says: signed, not hidden.
#[derive(Serialize, Deserialize)]
struct Content {
    account: AccountName,
    until: WallTime,
    /// MAC of the password that was shown.
    password: String,
}

impl SignIn {
    /// Takes `admin` for the administrator, signs sessions with `key` (32 bytes that all control planes of the mesh share) and reads
    /// passwords by `secrets`.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn new(
        admin: &Secret,
        key: &Secret<Vec<u8>>,
        secrets: Secrets,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, identity::error::Error> {
        let resolve: Resolve = Arc::new(move |reference| {
            let secrets = secrets.clone();
            Box::pin(async move { secrets.read(&reference).await.map_err(Into::into) })
        });
        Ok(Self(Arc::new(Inner {
            admin: sha256(admin.expose()),
            key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
            passwords: Passwords::new(resolve, clock, tasks)?,
            accounts: Mutex::default(),
            clock: clock.clone(),
        })))
    }

    /// Who shows this bearer token; nobody, when none is shown.
    ///
    /// # Errors
    /// When what is shown is not valid, or the account's password cannot be read now.
    pub async fn caller(
        &self,
        shown: Option<&Secret>,
        topology: Option<&Arc<Topology>>,
    ) -> Result<Caller, Error> {
        let Some(token) = shown else {
            return Ok(Caller::of(Principal::Anonymous, None, topology));
        };
        let Some(session) = token.expose().strip_prefix(PREFIX) else {
            let same =
                verify_slices_are_equal(sha256(token.expose()).as_ref(), self.0.admin.as_ref());
            return same.map(|()| Caller::admin()).map_err(|_| Error::Token);
        };
        let content = self.read(session).ok_or(Error::Token)?;
        let accounts = self.accounts(topology);
        let password = self.0.passwords.current(&accounts, &content.account);
        let password = password.await?.ok_or(Error::Token)?;
        let now = WallTime(self.0.clock.wall_ms());
        if content.until <= now || !self.is_of(&content, &password) {
            return Err(Error::Token);
        }
        let principal = Principal::Account {
            name: content.account,
        };
        Ok(Caller::of(principal, Some(content.until), topology))
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
        let until = WallTime(self.0.clock.wall_ms()).plus(LIFE);
        let content = Content {
            password: self.bound(&name, password),
            account: name.clone(),
            until,
        };
        let session = Session {
            token: self.write(&content),
            expires_at: until,
        };
        let caller = Caller::of(Principal::Account { name }, Some(until), topology);
        Ok((caller, session))
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

    fn write(&self, content: &Content) -> String {
        let content = serde_json::to_vec(content).expect("plain values are always JSON");
        let content = URL_SAFE_NO_PAD.encode(content);
        let tag = hmac::sign(&self.0.key, content.as_bytes());
        format!("{PREFIX}{content}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn read(&self, session: &str) -> Option<Content> {
        let (content, tag) = session.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0.key, content.as_bytes(), &tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).ok()?).ok()
    }

    fn bound(&self, account: &AccountName, password: &Secret) -> String {
        let mut context = hmac::Context::with_key(&self.0.key);
        context.update(b"password\0");
        context.update(account.as_str().as_bytes());
        context.update(b"\0");
        context.update(password.expose().as_bytes());
        hex::encode(context.sign())
    }

    fn is_of(&self, content: &Content, password: &Secret) -> bool {
        let bound = self.bound(&content.account, password);
        verify_slices_are_equal(bound.as_bytes(), content.password.as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

impl Caller {
    fn admin() -> Self {
        Self {
            who: "admin-token".to_owned(),
            roles: [Role::MeshAdministrator].into(),
            identities: BTreeSet::new(),
            until: None,
            principal: None,
        }
    }

    fn of(principal: Principal, until: Option<WallTime>, topology: Option<&Arc<Topology>>) -> Self {
        let mesh_wide = topology.map(|topology| topology.access.iter());
        let given = mesh_wide.into_iter().flatten();
        let users = topology.map(|topology| topology.identity_users.iter());
        Self {
            who: principal.to_string(),
            roles: given
                .filter(|given| concerns(&given.to, &principal))
                .map(|given| given.role)
                .collect(),
            identities: users
                .into_iter()
                .flatten()
                .filter(|user| concerns(&user.to, &principal))
                .flat_map(|user| user.identities.iter().cloned())
                .collect(),
            until,
            principal: Some(principal),
        }
    }

    /// Whether they have shown who they are.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.principal.as_ref().is_none_or(Principal::is_known)
    }

    /// Whether they may everything.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.roles.contains(&Role::MeshAdministrator)
    }

    /// Whether one of these roles is theirs; an administrator has them all.
    #[must_use]
    pub fn has(&self, roles: &[Role]) -> bool {
        self.is_administrator() || roles.iter().any(|role| self.roles.contains(role))
    }

    /// Whether the role is theirs for one node, by an assignment with `on` or by a mesh-wide one.
    #[must_use]
    pub fn has_on(&self, role: Role, node: &NodeName, topology: Option<&Arc<Topology>>) -> bool {
        if self.has(&[role]) {
            return true;
        }
        let (Some(principal), Some(topology)) = (&self.principal, topology) else {
            return false;
        };
        let given = topology
            .node(node)
            .into_iter()
            .flat_map(|node| &node.access);
        given
            .filter(|given| given.role == role)
            .any(|given| concerns(&given.to, principal))
    }

    /// Whether they may put this identity into rules.
    #[must_use]
    pub fn may_use(&self, identity: &str) -> bool {
        self.is_administrator() || self.identities.iter().any(|name| name.as_str() == identity)
    }
}

fn sha256(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

#[cfg(test)]
mod tests;
