//! Document -> Topology, or every problem.
//!
//! The passes run in order and none stops the next: what did not parse has been reported and is simply not there for later
//! passes. A placeholder stands where the model demands a value; it is never seen outside, because one error refuses the whole.
//! A slice lacks the rest of the mesh, so the passes that need it (rights and networks of other nodes, attachment, who
//! `identity:` and `node:` are) do not run for one; the control plane ran them on the whole mesh before cutting it.

use std::collections::BTreeMap;

use wire::name::NodeName;

use crate::{
    document::Document,
    model::{Node, SliceOf, Topology},
    problem::{Code, Finding, Findings},
};

mod access;
mod authentication;
mod behaviour;
mod beside;
mod identity;
mod node;
mod origin;
mod reach;
pub(crate) mod reference;
mod rule;
mod section;
mod target;
mod tree;
mod value;
mod warning;
mod webhook;

use reference::Declared;
use rule::Rules;

/// What a document declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A whole mesh.
    Mesh,
    /// What one node needs of it.
    Slice,
}

/// What the passes look at together.
pub(crate) struct Mesh<'d> {
    pub(crate) document: &'d Document,
    pub(crate) declared: Declared<'d>,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) scope: Scope,
}

/// Runs every pass. `None` exactly when there is an error among the findings.
pub(crate) fn validate(
    document: &Document,
    scope: Scope,
    findings: &mut Findings,
) -> Option<Topology> {
    version(document, findings);
    let declared = Declared::of(document);
    let nodes = node::all(document, &declared, findings);
    let mut mesh = Mesh {
        document,
        declared,
        nodes,
        scope,
    };
    let mut topology = section::all(&mesh, findings);
    topology.identities = identity::all(&mesh, findings);
    access::all(&mut mesh, &mut topology, findings);
    webhook::all(&mut mesh, findings);
    let rules = Rules::of(&mesh, findings);
    let sound = tree::check(&mesh, &rules, findings);
    target::check(&mesh, &rules, findings);
    authentication::check(&mesh, &rules, &topology, findings);
    if scope == Scope::Mesh {
        reach::check(&mesh, &rules, &topology, findings);
        warning::check(&mesh, &rules, &topology, findings);
    }
    let built = origin::build(&mesh, &rules, sound, findings);
    for (node, rules) in built {
        if let Some(node) = mesh.nodes.get_mut(&node) {
            node.rules = rules;
        }
    }
    topology.slice = slice_of(&mesh, findings);
    topology.nodes = mesh.nodes;
    (!findings.has_errors()).then_some(topology)
}

fn version(document: &Document, findings: &mut Findings) {
    if let Some(version) = document.version.filter(|version| version.value != 1) {
        findings.push(
            Finding::error(
                Code::WrongType,
                version.place,
                format!("version {} of the format is not known", version.value),
            )
            .advice("write `version: 1`, or use the release that this document was written for"),
        );
    }
}

fn slice_of(mesh: &Mesh<'_>, findings: &mut Findings) -> Option<SliceOf> {
    let slice = mesh.document.slice.as_ref()?;
    if mesh.scope == Scope::Mesh {
        findings.push(
            Finding::error(
                Code::UnknownKey,
                slice.place,
                "`slice` is not a key of a topology that people write",
            )
            .advice("remove it: the control plane writes it into what it sends to nodes"),
        );
        return None;
    }
    Some(SliceOf {
        node: mesh.declared.node(slice.node.as_ref()?, findings)?,
        tier: slice
            .tier
            .and_then(|tier| u8::try_from(tier.value).ok())
            .unwrap_or(1),
        recalls: beside::recalls(slice, findings),
        revoked: beside::since(&slice.revoked, findings),
        grants: beside::grants(slice, findings),
    })
}
