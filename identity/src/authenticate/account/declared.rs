//! The accounts that a topology declares, and what is kept of each one's password.
//!
//! A node knows every account of the mesh, and some have no right there. Those are *idle*: nothing of theirs is read before somebody
//! shows their name, and where their password cannot be read on this node, which nobody meant it to be, any password is simply wrong.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use wire::{name::AccountName, secret_ref::SecretRef};

use super::hash::Hash;

/// The accounts that a topology declares. Swapped whole; what is known about unchanged ones is carried over.
#[derive(Debug, Default)]
pub struct Accounts {
    pub(super) entries: HashMap<AccountName, Arc<Entry>>,
    idle: HashSet<AccountName>,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Tells this entry from others of its name, in what is remembered.
    pub(super) id: u64,
    pub(super) reference: SecretRef,
    pub(super) hash: Mutex<Option<Arc<Hash>>>,
}

impl Accounts {
    /// The declared accounts. Those of `previous` with the same reference keep their hash and what is remembered.
    #[must_use]
    pub fn new(declared: &BTreeMap<AccountName, SecretRef>, previous: Option<&Self>) -> Self {
        let entry = |name: &AccountName, reference: &SecretRef| {
            let known = previous.and_then(|previous| previous.entries.get(name));
            match known.filter(|entry| entry.reference == *reference) {
                Some(entry) => Arc::clone(entry),
                None => Arc::new(Entry {
                    id: ::rand::random(),
                    reference: reference.clone(),
                    hash: Mutex::new(None),
                }),
            }
        };
        let entries = declared.iter();
        Self {
            entries: entries
                .map(|(name, reference)| (name.clone(), entry(name, reference)))
                .collect(),
            idle: HashSet::new(),
        }
    }

    /// The same, but those that nothing is `assigned` to are idle.
    #[must_use]
    pub fn assigned(mut self, assigned: impl Fn(&AccountName) -> bool) -> Self {
        let names = self.entries.keys();
        self.idle = names.filter(|name| !assigned(name)).cloned().collect();
        self
    }

    /// Whether there is such an account.
    #[must_use]
    pub fn contains(&self, name: &AccountName) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether nothing is assigned to it here.
    pub(in crate::authenticate) fn is_idle(&self, name: &AccountName) -> bool {
        self.idle.contains(name)
    }

    /// Whether a token of `name` still counts that was given for the password behind `tie`. Where the password was never read,
    /// it does: that nobody can get a new one now is no reason to end what was given. So does one without a tie.
    #[must_use]
    pub fn takes(&self, name: &AccountName, tie: Option<&str>) -> bool {
        let Some(entry) = self.entries.get(name) else {
            return false;
        };
        let hash = entry.hash.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*hash, tie) {
            (Some(hash), Some(tie)) => hash.ties.iter().any(|known| known == tie),
            (None, _) | (_, None) => true,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<(AccountName, Arc<Entry>)> {
        let name: AccountName = name.parse().ok()?;
        let entry = self.entries.get(&name);
        entry.map(|entry| (name, Arc::clone(entry)))
    }
}
