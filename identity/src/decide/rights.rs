//! A set of rights: what a role gives, what is left of it.

use std::ops::{BitAnd, BitOr, BitOrAssign};

use wire::{assignment::Role, scope::Action};

/// A set of actions on a repository, and being told that it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read.
    pub const PULL: Self = Self(1);
    /// Write.
    pub const PUSH: Self = Self(1 << 1);
    /// Delete.
    pub const DELETE: Self = Self(1 << 2);
    /// Be shown it in the catalog.
    pub const CATALOG: Self = Self(1 << 3);

    /// What a role gives on a node; the roles of the control plane give nothing here.
    #[must_use]
    pub fn of(role: Role) -> Self {
        match role {
            Role::RepositoryReader => Self::PULL,
            Role::RepositoryWriter => Self::PULL | Self::PUSH,
            Role::RepositoryDeleter => Self::PULL | Self::DELETE,
            Role::CatalogLister => Self::CATALOG,
            Role::CacheRuleAdministrator
            | Role::CredentialSetAdministrator
            | Role::MeshAdministrator
            | Role::MeshReader
            | Role::IdentityUser
            | Role::NodeEnroller => Self::NONE,
        }
    }

    /// Whether an action is among them.
    #[must_use]
    pub fn allow(self, action: Action) -> bool {
        self.contain(action.into())
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions among them, in order.
    pub fn actions(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.allow(*action))
    }
}

impl From<Action> for Rights {
    fn from(action: Action) -> Self {
        match action {
            Action::Pull => Self::PULL,
            Action::Push => Self::PUSH,
            Action::Delete => Self::DELETE,
        }
    }
}

impl FromIterator<Action> for Rights {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions
            .into_iter()
            .fold(Self::NONE, |all, action| all | action.into())
    }
}

impl BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Rights {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Rights {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
