//! The role assignments of one node, indexed: deciding costs the length of a path, not the number of assignments.
//!
//! Grouped by whom they are given to, then by pattern. Claims are found by one claim with a literal value (a repository's id, a
//! subject); only assignments whose claims are all globs are tried one by one.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};
use wire::{
    assignment::{Assignee, Assignment},
    name::{AccountName, IdentityName, IssuerName, NodeName},
    pattern::Pattern,
    repository::RepositoryName,
    scope::Scope,
};

use super::{Bound, Rights, claims::Claims, essence::essence};
use crate::principal::Principal;

/// Who has which role for which repositories on this node.
#[derive(Debug, Default)]
pub struct Assignments {
    everybody: Grants,
    known: Grants,
    accounts: HashMap<AccountName, Grants>,
    identities: HashMap<IdentityName, Grants>,
    nodes: HashMap<NodeName, Grants>,
    issuers: HashMap<IssuerName, Workloads>,
}

impl Assignments {
    /// The index over a node's assignments.
    #[must_use]
    pub fn new<'a>(assignments: impl IntoIterator<Item = &'a Assignment>) -> Self {
        let mut index = Self::default();
        for assignment in assignments {
            let rights = Rights::of(assignment.role);
            if !rights.is_empty() {
                index
                    .grants_of(&assignment.to)
                    .add(rights, &assignment.repositories);
            }
        }
        index
    }

    /// What `principal` may do with `repository`.
    #[must_use]
    pub fn rights(&self, principal: &Principal, repository: &RepositoryName) -> Rights {
        self.sum(principal, |grants| grants.on(repository.as_str()))
    }

    /// What `principal` may do with some repository or other.
    #[must_use]
    pub fn any(&self, principal: &Principal) -> Rights {
        self.sum(principal, |grants| grants.any)
    }

    /// What a token for these scopes may say: what is asked for and allowed. Perhaps nothing.
    #[must_use]
    pub fn grant(&self, principal: &Principal, scopes: &[Scope]) -> Bound {
        let mut bound = Bound::default();
        for scope in scopes {
            match scope {
                Scope::Repository { name, actions } => {
                    let asked: Rights = actions.iter().copied().collect();
                    bound.add(name.clone(), asked & self.rights(principal, name));
                }
                Scope::Catalog => {
                    bound.catalog |= self.any(principal).contain(Rights::CATALOG);
                }
                Scope::Other(_) => {}
            }
        }
        bound
    }

    /// `principal` as our own tokens carry it: short, and with the same rights by these assignments.
    #[must_use]
    pub fn essence(&self, principal: &Principal) -> Principal {
        let Principal::Workload { issuer, claims } = principal else {
            return principal.clone();
        };
        let wanted = self
            .issuers
            .get(issuer)
            .into_iter()
            .flat_map(Workloads::claims);
        let claims = match essence(claims, wanted) {
            Some(claims) => Arc::new(claims),
            None => Arc::clone(claims),
        };
        let issuer = issuer.clone();
        Principal::Workload { issuer, claims }
    }

    fn sum(&self, principal: &Principal, of: impl Fn(&Grants) -> Rights) -> Rights {
        let mut rights = of(&self.everybody);
        if principal.is_known() {
            rights |= of(&self.known);
        }
        let own = match principal {
            Principal::Anonymous => None,
            Principal::Account { name } => self.accounts.get(name),
            Principal::Identity { name } => self.identities.get(name),
            Principal::Node { name } => self.nodes.get(name),
            Principal::Workload { issuer, claims } => {
                if let Some(workloads) = self.issuers.get(issuer) {
                    workloads
                        .matching(claims)
                        .for_each(|grants| rights |= of(grants));
                }
                None
            }
        };
        rights | own.map_or(Rights::NONE, of)
    }

    fn grants_of(&mut self, to: &Assignee) -> &mut Grants {
        match to {
            Assignee::Anonymous => &mut self.everybody,
            Assignee::Authenticated => &mut self.known,
            Assignee::Account(name) => self.accounts.entry(name.clone()).or_default(),
            Assignee::Identity(name) => self.identities.entry(name.clone()).or_default(),
            Assignee::Node(name) => self.nodes.entry(name.clone()).or_default(),
            Assignee::Claims { issuer, claims } => self
                .issuers
                .entry(issuer.clone())
                .or_default()
                .grants_of(&Claims::new(claims)),
        }
    }
}

/// Rights by pattern.
#[derive(Debug, Default)]
struct Grants {
    any: Rights,
    all: Rights,
    below: HashMap<Arc<str>, Rights>,
    exact: HashMap<Arc<str>, Rights>,
}

impl Grants {
    fn add(&mut self, rights: Rights, repositories: &[Pattern]) {
        for pattern in repositories {
            self.any |= rights;
            match pattern {
                Pattern::All => self.all |= rights,
                Pattern::Below(path) => {
                    *self.below.entry(path.as_str().into()).or_default() |= rights
                }
                Pattern::Exact(name) => {
                    *self.exact.entry(name.as_str().into()).or_default() |= rights
                }
            }
        }
    }

    fn on(&self, name: &str) -> Rights {
        let mut rights = self.all;
        if !self.exact.is_empty() {
            rights |= self.exact.get(name).copied().unwrap_or_default();
        }
        if !self.below.is_empty() {
            // Every whole path above the name, never the name itself: `a/*` covers `a/b/c` and neither `a` nor `ab`.
            for (end, _) in name.match_indices('/') {
                rights |= self.below.get(&name[..end]).copied().unwrap_or_default();
            }
        }
        rights
    }
}

/// The assignments to bearers of one issuer's tokens.
#[derive(Debug, Default)]
struct Workloads {
    /// By claim, then by the literal value it must have.
    literal: HashMap<String, HashMap<String, Vec<(Claims, Grants)>>>,
    /// Those without a literal value.
    globs: Vec<(Claims, Grants)>,
}

impl Workloads {
    fn grants_of(&mut self, claims: &Claims) -> &mut Grants {
        let list = match claims.literal() {
            Some((key, value)) => self
                .literal
                .entry(key.to_owned())
                .or_default()
                .entry(value.to_owned())
                .or_default(),
            None => &mut self.globs,
        };
        let at = list
            .iter()
            .position(|(have, _)| have == claims)
            .unwrap_or_else(|| {
                list.push((claims.clone(), Grants::default()));
                list.len() - 1
            });
        &mut list[at].1
    }

    /// All claims that are asked for.
    fn claims(&self) -> impl Iterator<Item = &Claims> {
        let literal = self.literal.values().flat_map(HashMap::values).flatten();
        literal.chain(&self.globs).map(|(claims, _)| claims)
    }

    fn matching<'a>(&'a self, claims: &'a Map<String, Value>) -> impl Iterator<Item = &'a Grants> {
        let literal = self.literal.iter().flat_map(move |(key, by_value)| {
            super::claims::values(claims, key)
                .filter_map(|value| by_value.get(value.as_ref()))
                .flatten()
        });
        literal
            .chain(&self.globs)
            .filter(move |(wanted, _)| wanted.match_all(claims))
            .map(|(_, grants)| grants)
    }
}
