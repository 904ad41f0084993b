//! Which accounts and issuers a node's role assignments are about.
//!
//! A node knows all of the mesh, so that whoever shows the right credentials is known and merely lacks a right. Those that nothing here
//! is assigned to are asked about only when somebody shows one: nothing of theirs is read ahead, and nothing about them is wrong here.

use std::collections::BTreeSet;

use wire::{
    assignment::Assignee,
    name::{AccountName, IssuerName},
};

use super::Node;

/// Accounts and issuers that a node's role assignments are about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assigned<'n> {
    /// Whether `authenticated` has a role, so that every account and issuer counts.
    everybody: bool,
    accounts: BTreeSet<&'n AccountName>,
    issuers: BTreeSet<&'n IssuerName>,
}

impl Node {
    /// Accounts and issuers that its role assignments are about.
    #[must_use]
    pub fn assigned(&self) -> Assigned<'_> {
        let mut assigned = Assigned::default();
        for given in &self.access {
            match &given.to {
                Assignee::Authenticated => assigned.everybody = true,
                Assignee::Account(name) => drop(assigned.accounts.insert(name)),
                Assignee::Claims { issuer, .. } => drop(assigned.issuers.insert(issuer)),
                Assignee::Anonymous | Assignee::Identity(_) | Assignee::Node(_) => {}
            }
        }
        assigned
    }
}

impl Assigned<'_> {
    /// Whether something is assigned to this account.
    #[must_use]
    pub fn account(&self, name: &AccountName) -> bool {
        self.everybody || self.accounts.contains(name)
    }

    /// Whether something is assigned to somebody whom this issuer knows.
    #[must_use]
    pub fn issuer(&self, name: &IssuerName) -> bool {
        self.everybody || self.issuers.contains(name)
    }
}
