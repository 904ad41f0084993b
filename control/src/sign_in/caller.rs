//! Who asks, and what the topology in force gives them: mesh-wide roles, roles on one node, identities for rules.

use std::{collections::BTreeSet, sync::Arc};

use identity::{decide::concerns, principal::Principal};
use topology::model::Topology;
use wire::{
    assignment::Role,
    name::{IdentityName, NodeName},
    time::WallTime,
};

/// Who asks, and what they may.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As the audit log names them.
    pub who: String,
    /// Their mesh-wide roles.
    pub roles: BTreeSet<Role>,
    /// The identities they may put into rules, beside an administrator's right to all.
    pub identities: BTreeSet<IdentityName>,
    /// When their session or token ends; `None` for the admin token and for nobody.
    pub until: Option<WallTime>,
    pub(crate) principal: Option<Principal>,
}

impl Caller {
    pub(super) fn admin() -> Self {
        Self {
            who: "admin-token".to_owned(),
            roles: [Role::MeshAdministrator].into(),
            identities: BTreeSet::new(),
            until: None,
            principal: None,
        }
    }

    pub(crate) fn of(
        principal: Principal,
        until: Option<WallTime>,
        topology: Option<&Arc<Topology>>,
    ) -> Self {
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
