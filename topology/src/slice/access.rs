//! A role assignment of the model as an entry of `access`.

use wire::{
    assignment::{Assignee, Assignment, Role},
    pattern::Pattern,
};

use super::{key, text};
use crate::{
    document::{
        Access, Assignee as Written, Selector,
        access::{Claims, Role as WrittenRole},
    },
    place::At,
};

pub(crate) fn assignment(given: &Assignment, on: Option<Selector>) -> Access {
    let all = given.repositories == [Pattern::All];
    Access {
        allow: Some(At::made(role(given.role))),
        to: Some(At::made(assignee(&given.to))),
        on,
        repositories: (!all).then(|| given.repositories.iter().map(key).collect()),
        identities: Vec::new(),
    }
}

/// As it is written after `to:`.
pub(crate) fn assignee(to: &Assignee) -> Written {
    let name = |text: String| Written::Name(key(text));
    match to {
        Assignee::Anonymous => name("anonymous".to_owned()),
        Assignee::Authenticated => name("authenticated".to_owned()),
        Assignee::Account(account) => name(format!("account:{account}")),
        Assignee::Identity(identity) => name(format!("identity:{identity}")),
        Assignee::Node(node) => name(format!("node:{node}")),
        Assignee::Claims { issuer, claims } => Written::Claims(Claims {
            issuer: text(issuer),
            claims: Some(
                (claims.iter())
                    .map(|(claim, glob)| (key(claim), key(glob)))
                    .collect(),
            ),
        }),
    }
}

fn role(role: Role) -> WrittenRole {
    match role {
        Role::RepositoryReader => WrittenRole::RepositoryReader,
        Role::RepositoryWriter => WrittenRole::RepositoryWriter,
        Role::RepositoryDeleter => WrittenRole::RepositoryDeleter,
        Role::CatalogLister => WrittenRole::CatalogLister,
        Role::CacheRuleAdministrator => WrittenRole::CacheRuleAdministrator,
        Role::CredentialSetAdministrator => WrittenRole::CredentialSetAdministrator,
        Role::MeshAdministrator => WrittenRole::MeshAdministrator,
        Role::MeshReader => WrittenRole::MeshReader,
        Role::IdentityUser => WrittenRole::IdentityUser,
        Role::NodeEnroller => WrittenRole::NodeEnroller,
    }
}
