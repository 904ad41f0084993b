//! Nodes never reach themselves, and no chain of parents has more than three nodes.
//!
//! A node reaches its parent and the upstream nodes of its rules. The walk over that graph is by hand, not by recursion, so
//! that a long chain cannot exhaust the stack. How long chains of rules are is counted in `origin`, which follows them anyway.

use std::collections::{BTreeMap, BTreeSet};

use wire::name::NodeName;

use super::{Mesh, rule::Rules};
use crate::{
    model::rule::UpstreamRef,
    place::Place,
    problem::{Code, Finding, Findings},
};

/// The longest chain of nodes.
pub(super) const MAX_DEPTH: usize = 3;

type Edges<'m> = BTreeMap<&'m NodeName, BTreeMap<&'m NodeName, Place>>;

/// Reports loops and long chains of parents. Returns whether there is no loop.
pub(super) fn check(mesh: &Mesh<'_>, rules: &Rules<'_>, findings: &mut Findings) -> bool {
    let edges = edges(mesh, rules);
    let loops = loops(&edges);
    for path in &loops {
        let mut steps: Vec<Place> = path
            .windows(2)
            .map(|step| edges[step[0]][step[1]])
            .collect();
        steps.sort();
        let (first, others) = steps.split_first().expect("a loop has a step");
        let mut finding = Finding::error(
            Code::Cycle,
            *first,
            format!("nodes reach themselves: {}", join(path)),
        )
        .advice("remove one of these parents or rules: content flows from an origin down");
        for place in others {
            finding = finding.also(*place, "a step of the loop");
        }
        findings.push(finding);
    }
    depth(mesh, findings);
    loops.is_empty()
}

fn parent_place(mesh: &Mesh<'_>, node: &NodeName) -> Place {
    let section = mesh.document.nodes.get(node.as_str());
    let parent = section.and_then(|section| section.parent.as_ref());
    parent.map(|at| at.place).unwrap_or_default()
}

fn edges<'m>(mesh: &'m Mesh<'_>, rules: &'m Rules<'_>) -> Edges<'m> {
    let mut edges: Edges<'m> = BTreeMap::new();
    for (name, node) in &mesh.nodes {
        if let Some(parent) = &node.parent {
            let place = parent_place(mesh, name);
            edges.entry(name).or_default().insert(parent, place);
        }
    }
    for instance in &rules.instances {
        if let UpstreamRef::Node(node) = &instance.source.upstream {
            let place = rules.drafts[instance.draft].source_place();
            let own = edges.entry(&instance.node).or_default();
            own.entry(node).or_insert(place);
        }
    }
    edges
}

/// Every loop that a walk meets: its nodes, the first again at the end.
fn loops<'m>(edges: &Edges<'m>) -> Vec<Vec<&'m NodeName>> {
    let mut found = Vec::new();
    let mut done: BTreeSet<&NodeName> = BTreeSet::new();
    for start in edges.keys() {
        if done.contains(*start) {
            continue;
        }
        let next = |node: &NodeName| {
            let own = edges.get(node).into_iter().flatten();
            own.map(|(to, _)| *to).collect::<Vec<_>>()
        };
        let mut path = vec![(*start, next(start))];
        while let Some((node, open)) = path.last_mut() {
            let Some(to) = open.pop() else {
                done.insert(*node);
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(node, _)| *node == to) {
                let mut nodes: Vec<&NodeName> = path[at..].iter().map(|(node, _)| *node).collect();
                nodes.push(to);
                found.push(nodes);
            } else if !done.contains(to) {
                path.push((to, next(to)));
            }
        }
    }
    found
}

fn depth(mesh: &Mesh<'_>, findings: &mut Findings) {
    for name in mesh.nodes.keys() {
        let mut chain = vec![name];
        let mut at = name;
        while let Some(parent) = mesh.nodes.get(at).and_then(|node| node.parent.as_ref()) {
            if chain.contains(&parent) {
                chain.clear();
                break;
            }
            chain.push(parent);
            at = parent;
            if chain.len() > 64 {
                break;
            }
        }
        if chain.len() > MAX_DEPTH {
            findings.push(too_deep(parent_place(mesh, name), "parents", &chain));
        }
    }
}

/// The problem of a chain with more than three nodes.
pub(super) fn too_deep(place: Place, of: &str, chain: &[&NodeName]) -> Finding {
    let message = format!("a chain of {of} has {} nodes: {}", chain.len(), join(chain));
    Finding::error(Code::DepthExceeded, place, message)
        .advice("a chain has at most three nodes: attach this one nearer to the origin")
}

fn join(nodes: &[&NodeName]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
    names.join(" -> ")
}
