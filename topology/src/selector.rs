//! `on` -> node names.

use std::collections::{BTreeMap, BTreeSet};

use wire::name::NodeName;

use crate::{
    document::{Entries, Selector},
    model::Node,
    place::At,
    problem::Findings,
    validate::reference::Declared,
};

/// The nodes that `selector` means; names that are not declared are reported.
pub(crate) fn resolve(
    selector: &Selector,
    nodes: &BTreeMap<NodeName, Node>,
    declared: &Declared<'_>,
    findings: &mut Findings,
) -> BTreeSet<NodeName> {
    match selector {
        Selector::Names(names) => names
            .all()
            .iter()
            .filter_map(|name| declared.node(name, findings))
            .collect(),
        Selector::Labels(labels) => nodes
            .values()
            .filter(|node| has_all(node, &labels.labels))
            .map(|node| node.name.clone())
            .collect(),
    }
}

fn has_all(node: &Node, wanted: &Entries<At<String>>) -> bool {
    !wanted.is_empty()
        && wanted
            .iter()
            .all(|(label, value)| node.labels.get(label.as_str()) == Some(&value.value))
}
