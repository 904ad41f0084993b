//! The rig as a hub: it believes a control plane's grants, knows the node `edge` by its certificate, and the issuer `corp`.

use std::sync::Arc;

use identity::{
    authenticate::{grant, trust::Trust},
    certificate::Authority,
    sign::{Keys, Public},
};
use runtime::listener::Peer;
use serde_json::{Value, json};
use topology::model::Network;
use wire::{
    assignment::Assignment, generation::Generation, time::WallTime, withdrawal::Withdrawal,
};

use super::{Access, Corp, Rig, access, rig, roles};
use crate::membership::{
    Membership,
    tests::{certified, connection, membership},
};

/// A node of a mesh, and its control plane.
pub(in crate::http) struct Hub {
    pub(in crate::http) rig: Rig,
    pub(in crate::http) control: Keys,
    authority: Authority,
    pub(in crate::http) membership: Membership,
}

/// Another node: a connection under its certificate.
pub(in crate::http) type Edge = Peer;

pub(in crate::http) fn hub() -> Hub {
    let mut rig = rig(false);
    let authority = Authority::generate(WallTime(rig.clock.wall_ms())).unwrap();
    let membership = membership(&authority, &rig.clock);
    let control = Keys::generate().unwrap();
    let trust = trust(&control);
    rig.access = made(&rig, &membership, &roles(false), trust);
    Hub {
        rig,
        control,
        authority,
        membership,
    }
}

fn made(rig: &Rig, membership: &Membership, roles: &[Assignment], trust: Trust) -> Arc<Access> {
    let made = access(&rig.authenticate, roles, Network::default());
    let made = made.among(Some(membership)).knowing(Arc::new(Corp));
    Arc::new(made.believing(Some(trust)))
}

fn trust(control: &Keys) -> Trust {
    Trust {
        mesh: "contoso".parse().unwrap(),
        issuer: "https://control.example".to_owned(),
        keys: Public::read(&control.points()),
        former: [].into(),
        withdrawn: [].into(),
        plain: false,
    }
}

impl Hub {
    /// A connection under the certificate of a node of this mesh.
    pub(in crate::http) fn connection(&self, node: &str) -> Edge {
        let id = format!("spiffe://contoso/node/{node}");
        connection(&certified(&self.authority, &id, &self.rig.clock).0)
    }

    /// From now on these roles are in force, and the rule `apps` is withdrawn or not.
    pub(in crate::http) fn swap(&mut self, roles: &[Assignment], withdrawn: bool) {
        let mut trust = trust(&self.control);
        if withdrawn {
            let withdrawal = Withdrawal {
                before: Generation(1_000),
                at: WallTime(0),
                left: None,
            };
            trust.withdrawn = [("edge/apps".parse().unwrap(), withdrawal)].into();
        }
        self.rig.access = made(&self.rig, &self.membership, roles, trust);
    }

    /// A grant for the rule `apps` of `edge`: `team/*` of this node as `promoter`.
    pub(in crate::http) fn grant(&self) -> String {
        self.grant_with(|_| ())
    }

    pub(in crate::http) fn grant_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let s = WallTime(self.rig.clock.wall_ms()).seconds();
        let mut claims = json!({
            "iss": "https://control.example", "aud": "prod.example:5443", "sub": "mesh:contoso:identity:promoter",
            "iat": s, "nbf": s, "exp": s + 86_400, "jti": "6f1c1f8e-3b53-4a8f-9a55-1f3f2b0f6a11",
            "regmesh": {"node": "edge", "rule": "apps", "repositories": ["team/*"], "actions": ["pull"], "generation": 7},
            "cnf": {"spiffe": "spiffe://contoso/node/edge"}
        });
        change(&mut claims);
        self.control
            .sign(grant::TYP, &claims)
            .unwrap()
            .expose()
            .clone()
    }
}
