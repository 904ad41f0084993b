//! The certificate of an instance: what it says, and what comes of the state's word on it.

use identity::certificate::{Leaf, Request, SpiffeId, begins};
use rustls_pki_types::CertificateDer;
use topology::model::Topology;
use wire::{name::NodeName, time::WallTime};

use super::{Enrol, Enrolled, Error, Refused};
use crate::state::{Admitted, Instance};

impl Enrol {
    pub(super) fn certificate(
        &self,
        node: &NodeName,
        instance: &str,
        request: &Request,
        now: WallTime,
    ) -> Result<(Leaf, Vec<CertificateDer<'static>>), Error> {
        let topology = self.declared(node)?;
        let leaf = Leaf {
            id: SpiffeId::Node {
                mesh: topology.mesh.clone(),
                node: node.clone(),
            },
            instance: Some(instance.to_owned()),
            hosts: hosts(&topology, node),
            begins: begins(now, self.revoked(node)),
            ends: now.plus(self.ca.life()),
        };
        let chain = self.ca.issue(request, &leaf)?;
        Ok((leaf, chain))
    }

    pub(super) fn given(
        &self,
        node: &NodeName,
        leaf: Leaf,
        chain: Vec<CertificateDer<'static>>,
        admitted: Admitted,
    ) -> Result<Enrolled, Error> {
        let instance = refuse(node, admitted)?;
        Ok(Enrolled {
            mesh: leaf.id.mesh().clone(),
            node: node.clone(),
            chain,
            roots: self.ca.roots(),
            ends: leaf.ends,
            counter: instance.counter,
        })
    }
}

fn refuse(node: &NodeName, admitted: Admitted) -> Result<Instance, Refused> {
    let node = node.clone();
    Err(match admitted {
        Admitted::Yes(instance) => return Ok(instance),
        Admitted::UnknownToken => Refused::UnknownToken(node),
        Admitted::UsedUp => Refused::UsedToken(node),
        Admitted::Expired => Refused::ExpiredToken(node),
        Admitted::OtherNode(actual) => Refused::OtherNode {
            claimed: node,
            actual,
        },
        Admitted::UnknownInstance => Refused::UnknownInstance(node),
        Admitted::ShutOut(reason) => Refused::ShutOut { node, reason },
        Admitted::Copied { presented, given } => Refused::ShutOut {
            node,
            reason: format!(
                "its data directory was copied: it came with certificate {presented} after it was given {given}"
            ),
        },
    })
}

fn hosts(topology: &Topology, node: &NodeName) -> Vec<String> {
    let Some(node) = topology.nodes.get(node) else {
        return Vec::new();
    };
    let endpoints = std::iter::once(&node.endpoint).chain(&node.peer_endpoint);
    let mut hosts: Vec<String> = endpoints
        .map(|endpoint| {
            endpoint
                .host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned()
        })
        .collect();
    hosts.dedup();
    hosts
}
