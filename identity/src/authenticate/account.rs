//! Local accounts: is this the account's password.
//!
//! The password's place is asked again on every check that is not remembered, so a changed file counts within a minute; what is
//! kept of it is an argon2id hash. A check is remembered for a minute under a MAC of the secret, so that Basic on every
//! request costs one MAC. An unknown account costs what a known one does, and wrong secrets are counted (`failure.rs`).
//! Where passwords are read is left to a closure: this file knows no files and no environment.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use futures_util::future::BoxFuture;
use runtime::{Clock, Limit, Secret, Tasks};
use tokio::time::Instant;
use wire::{name::AccountName, secret_ref::SecretRef};

use self::{
    declared::Entry,
    hash::{Hash, make_hash, nobody},
};
use super::failure::{Failures, Source};
use crate::{
    error::{ACCOUNT_PASSWORD, BoxError, Error, Refused},
    sign::Keys,
};

pub use declared::Accounts;

mod declared;
mod hash;

/// How long a check is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many checks are remembered.
const MAX_REMEMBERED: u64 = 10_000;
/// How many hashes are made at once: each takes 19 MiB and a core.
const MAX_HASHING: usize = 2;
/// The longest password looked at, in bytes.
const MAX_PASSWORD: usize = 4096;

/// Reads a secret where a reference says it is.
pub type Resolve =
    Arc<dyn Fn(SecretRef) -> BoxFuture<'static, Result<Secret, BoxError>> + Send + Sync>;

type Mac = [u8; 32];

/// Checks passwords. Lives as long as the node; the accounts come and go with topologies. Clones are the same.
#[derive(Clone)]
pub struct Passwords(Arc<Inner>);

struct Inner {
    resolve: Resolve,
    /// Of whoever ties tokens to passwords.
    keys: Option<Arc<Keys>>,
    key: hmac::Key,
    checked: moka::sync::Cache<Mac, Checked>,
    failures: Failures,
    hashing: Limit,
    tasks: Tasks,
    clock: Clock,
    /// What an unknown account's password is compared with, at the same cost as another's.
    nobody: Arc<Hash>,
}

#[derive(Clone, Copy)]
struct Checked {
    right: bool,
    at: Instant,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    /// Passwords read by `resolve`.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn new(resolve: Resolve, clock: &Clock, tasks: &Tasks) -> Result<Self, Error> {
        Self::build(resolve, None, clock, tasks)
    }

    /// Passwords read by `resolve`, to which `keys` tie tokens.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn with_ties(
        resolve: Resolve,
        keys: Arc<Keys>,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        Self::build(resolve, Some(keys), clock, tasks)
    }

    fn build(
        resolve: Resolve,
        keys: Option<Arc<Keys>>,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|error| crypto(Box::new(error)))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let nobody = Arc::new(nobody()?);
        Ok(Self(Arc::new(Inner {
            resolve,
            keys,
            key,
            checked: moka::sync::Cache::new(MAX_REMEMBERED),
            failures: Failures::default(),
            hashing: Limit::new("password_hashes", MAX_HASHING),
            tasks: tasks.clone(),
            clock: clock.clone(),
            nobody,
        })))
    }

    /// The account whose name and password these are. `address` is where they come from.
    ///
    /// # Errors
    /// When they are wrong, were wrong too often, or the password cannot be read.
    pub async fn check(
        &self,
        accounts: &Accounts,
        name: &str,
        password: &Secret,
        address: IpAddr,
    ) -> Result<AccountName, Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let account = accounts.get(name);
        let mac = inner.mac(
            account.as_ref().map_or(0, |(_, entry)| entry.id),
            name,
            password,
        );
        let source = Source::new(account.as_ref().map(|(name, _)| name.clone()), address);
        if let Some(checked) = inner.remembered(&mac, now) {
            return match account {
                Some((name, _)) if checked.right => Ok(name),
                _ => Err(inner.failures.again(&source, now)),
            };
        }
        inner.failures.allow(&source, now)?;
        let right = inner.compare(accounts, account.as_ref(), password).await?;
        inner.checked.insert(mac, Checked { right, at: now });
        match account {
            Some((name, _)) if right => Ok(name),
            _ => Err(inner.failures.first(&source, now)),
        }
    }

    /// What ties a token to the password it is given for: a MAC under the node's key, which says nothing to others. None without
    /// keys.
    #[must_use]
    pub fn tie(&self, name: &AccountName, password: &Secret) -> Option<String> {
        self.0.ties(name, password).into_iter().next()
    }

    /// Reads and hashes every password that is not idle, so that the first check of each costs what later ones do. What cannot be
    /// read now is tried again when it is needed; the names of those are returned.
    pub async fn warm(&self, accounts: &Accounts) -> Vec<AccountName> {
        let mut unread = Vec::new();
        let entries = accounts.entries.iter();
        for (name, entry) in entries.filter(|(name, _)| !accounts.is_idle(name)) {
            if self.0.hash_of(name, entry).await.is_err() {
                unread.push(name.clone());
            }
        }
        unread
    }

    /// The password of an account, as it is now; `None` when there is no such account.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn current(
        &self,
        accounts: &Accounts,
        name: &AccountName,
    ) -> Result<Option<Secret>, Error> {
        match accounts.entries.get(name) {
            Some(entry) => self.0.read(entry).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Inner {
    fn mac(&self, id: u64, name: &str, password: &Secret) -> Mac {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&id.to_be_bytes());
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(password.expose().as_bytes());
        to_array(context.sign())
    }

    fn ties(&self, name: &AccountName, password: &Secret) -> Vec<String> {
        let Some(keys) = &self.keys else {
            return Vec::new();
        };
        let text = Secret::new(format!("{name}\0{}", password.expose()));
        keys.macs(text.expose().as_bytes())
    }

    fn remembered(&self, mac: &Mac, now: Instant) -> Option<Checked> {
        self.checked
            .get(mac)
            .filter(|checked| now.saturating_duration_since(checked.at) < REMEMBERED)
    }

    /// Whether this is the entry's password; for no entry, and for an idle one that cannot be read, the same work with nobody's hash.
    async fn compare(
        &self,
        accounts: &Accounts,
        account: Option<&(AccountName, Arc<Entry>)>,
        password: &Secret,
    ) -> Result<bool, Error> {
        let known = match account {
            Some((name, entry)) => match self.hash_of(name, entry).await {
                Ok(hash) => Some(hash),
                Err(error) if accounts.is_idle(name) => {
                    tracing::debug!(account = %name, %error, "nothing is assigned to this account here, and its password cannot be read");
                    None
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let is_known = known.is_some();
        let hash = known.unwrap_or_else(|| Arc::clone(&self.nobody));
        let fits = password.expose().len() <= MAX_PASSWORD;
        let shown = if fits {
            password.clone()
        } else {
            Secret::from("")
        };
        let same = self.blocking(move || hash.is_of(&shown)).await?;
        Ok(same && fits && is_known)
    }

    /// The hash of the password as it is now; made again when the password is another.
    async fn hash_of(&self, name: &AccountName, entry: &Arc<Entry>) -> Result<Arc<Hash>, Error> {
        let password = self.read(entry).await?;
        let mac = self.mac(entry.id, "", &password);
        let known = entry
            .hash
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(hash) = known.filter(|hash| verify_slices_are_equal(&hash.mac, &mac).is_ok()) {
            return Ok(hash);
        }
        let ties = self.ties(name, &password);
        let made = self.blocking(move || make_hash(&password, mac, ties));
        let hash = Arc::new(made.await??);
        *entry.hash.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&hash));
        Ok(hash)
    }

    async fn read(&self, entry: &Entry) -> Result<Secret, Error> {
        let unavailable = |source| Error::Unavailable {
            what: ACCOUNT_PASSWORD,
            source,
        };
        let password = (self.resolve)(entry.reference.clone())
            .await
            .map_err(unavailable)?;
        if password.expose().is_empty() || password.expose().len() > MAX_PASSWORD {
            return Err(unavailable(
                "the password is empty or longer than 4096 bytes".into(),
            ));
        }
        Ok(password)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.hashing.acquire().await;
        let run = move || {
            let _permit = permit;
            work()
        };
        self.tasks
            .spawn_blocking("password", run)
            .await
            .map_err(|error| crypto(Box::new(error)))
    }
}

fn to_array(tag: hmac::Tag) -> Mac {
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

fn crypto(source: BoxError) -> Error {
    Error::Unavailable {
        what: "the password's check",
        source,
    }
}

/// A wrong secret, as the caller is told.
pub(super) fn wrong() -> Error {
    Refused::Password.into()
}

#[cfg(test)]
mod tests;
