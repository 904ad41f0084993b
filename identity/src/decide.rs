//! May this principal do this here? Pure: `(principal, needs, assignments, bound) -> Decision`, asked on every request.
//!
//! Deny by default: what no role gives is not allowed. What a token says (`Bound`) only takes away. Somebody unknown is asked
//! to show who they are, whatever there is or is not; somebody known who may not read gets one answer for everything, so
//! nobody learns what exists. Source: `spec/identity.md` "Being called".

mod assignments;
mod bound;
mod claims;
mod essence;
mod rights;

use wire::{
    assignment::{Assignee, Role},
    repository::RepositoryName,
    route::Needs,
    scope::Action,
};

pub use self::{assignments::Assignments, bound::Bound, claims::is_meant, rights::Rights};
use crate::principal::Principal;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Allow,
    /// 401: the caller has not shown who they are, and nobody unknown may do this.
    Challenge,
    /// 401 `insufficient_scope`: the roles give it, the token that was shown does not; another one would.
    InsufficientScope,
    /// 403.
    Deny(Denied),
}

/// How much a refused caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The caller may read there, or asks nothing about a repository: they are told which role they lack.
    Missing(Role),
    /// The caller may not read there, if there is anything: nothing is told.
    Hidden,
}

/// Decides. `bound` is what the token shown is limited to; `None` when the caller showed none.
#[must_use]
pub fn decide(
    principal: &Principal,
    needs: &Needs,
    assignments: &Assignments,
    bound: Option<&Bound>,
) -> Decision {
    match needs {
        Needs::Nothing => Decision::Allow,
        Needs::Session => session(principal, assignments, bound),
        Needs::Action { action, repository } => {
            on_repository(principal, *action, repository, assignments, bound)
        }
        Needs::Mount { repository, .. } => {
            on_repository(principal, Action::Push, repository, assignments, bound)
        }
        Needs::Catalog => catalog(principal, assignments, bound),
    }
}

/// Whether the caller may do `action` in `repository`, without saying what else they are to be told: for the second
/// repository of a mount.
#[must_use]
pub fn may(
    principal: &Principal,
    action: Action,
    repository: &RepositoryName,
    assignments: &Assignments,
    bound: Option<&Bound>,
) -> bool {
    assignments.rights(principal, repository).allow(action)
        && bound.is_none_or(|bound| bound.allows(action, repository))
}

/// Whether the catalog shows `repository` to the caller: listed by a role, and readable. A token for the catalog names no
/// repositories, so its bound does not count here.
#[must_use]
pub fn sees(principal: &Principal, repository: &RepositoryName, assignments: &Assignments) -> bool {
    let rights = assignments.rights(principal, repository);
    rights.contain(Rights::CATALOG) && rights.allow(Action::Pull)
}

/// Whether what is given `to` somebody is given to `principal`: for roles that know no repository.
#[must_use]
pub fn concerns(to: &Assignee, principal: &Principal) -> bool {
    match (to, principal) {
        (Assignee::Anonymous, _) => true,
        (Assignee::Authenticated, principal) => principal.is_known(),
        (Assignee::Account(given), Principal::Account { name }) => given == name,
        (Assignee::Identity(given), Principal::Identity { name }) => given == name,
        (Assignee::Node(given), Principal::Node { name }) => given == name,
        (
            Assignee::Claims {
                issuer: given,
                claims: wanted,
            },
            Principal::Workload { issuer, claims },
        ) => given == issuer && claims::Claims::new(wanted).match_all(claims),
        _ => false,
    }
}

/// `/v2/`. Without credentials always a challenge, even where anonymous readers are let in: this is where `docker login`
/// learns whom to ask, and a 200 would tell it that any password is right.
fn session(principal: &Principal, assignments: &Assignments, bound: Option<&Bound>) -> Decision {
    let shown = principal.is_known() || bound.is_some();
    match (shown, assignments.any(principal).is_empty()) {
        (true, false) => Decision::Allow,
        (true, true) if principal.is_known() => {
            Decision::Deny(Denied::Missing(Role::RepositoryReader))
        }
        _ => Decision::Challenge,
    }
}

fn on_repository(
    principal: &Principal,
    action: Action,
    repository: &RepositoryName,
    assignments: &Assignments,
    bound: Option<&Bound>,
) -> Decision {
    let rights = assignments.rights(principal, repository);
    if !rights.allow(action) {
        return match principal.is_known() {
            false => Decision::Challenge,
            true if rights.allow(Action::Pull) => Decision::Deny(Denied::Missing(role(action))),
            true => Decision::Deny(Denied::Hidden),
        };
    }
    match bound {
        Some(bound) if !bound.allows(action, repository) => Decision::InsufficientScope,
        _ => Decision::Allow,
    }
}

fn catalog(principal: &Principal, assignments: &Assignments, bound: Option<&Bound>) -> Decision {
    if !assignments.any(principal).contain(Rights::CATALOG) {
        return match principal.is_known() {
            true => Decision::Deny(Denied::Missing(Role::CatalogLister)),
            false => Decision::Challenge,
        };
    }
    match bound {
        Some(bound) if !bound.catalog => Decision::InsufficientScope,
        _ => Decision::Allow,
    }
}

/// The least role that gives an action.
fn role(action: Action) -> Role {
    match action {
        Action::Pull => Role::RepositoryReader,
        Action::Push => Role::RepositoryWriter,
        Action::Delete => Role::RepositoryDeleter,
    }
}

#[cfg(test)]
mod tests;
