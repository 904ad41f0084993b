//! A whole topology takes the place of the one in force.

use serde_json::{Value, json};
use topology::{change, document::Document, edit, model::Topology, place::At};
use wire::api::resource::{Applied, Apply, Change};

use super::{
    Current, Error,
    draft::{Draft, Next, Stamp},
};
use crate::state::NewEntry;

/// Reads and checks the files, and says what they change.
pub(super) fn apply(
    current: &Current,
    apply: &Apply,
    stamp: &Stamp,
) -> Result<Draft<Applied>, Error> {
    let files: Vec<(String, String)> = (apply.files.iter())
        .map(|file| (file.name.clone(), file.text.clone()))
        .collect();
    let loaded = topology::load(&files).map_err(Error::Invalid)?;
    let old = current.topology.as_deref();
    same_mesh(old, &loaded.topology)?;
    let mut document = loaded.document;
    document.version = Some(At::made(1));
    let removal = Removal::of(&current.document, &document);
    let mut changes = Vec::new();
    change::each(old, &loaded.topology, |change| changes.push(line(&change)));
    let mut answer = Applied {
        generation: current.generation(),
        published: false,
        changes,
        warnings: loaded.warnings.iter().map(Into::into).collect(),
        needs_prune: removal.needs_prune(),
    };
    if apply.dry_run || document == *current.document {
        return Ok(Draft::nothing(answer));
    }
    if answer.needs_prune && !apply.prune {
        return Err(removal.into());
    }
    let text = edit::written(&document).ok_or_else(unwritable)?;
    answer.generation = stamp.generation;
    answer.published = true;
    let audit = audit(&current.document, &document, stamp);
    let current = stamp.with_topology(current, text, document, loaded.topology);
    Ok(Draft {
        answer,
        next: Some(Next { current, audit }),
    })
}

pub(super) fn unwritable() -> Error {
    Error::Bad("the topology is too long to be kept: 16 MiB at most".to_owned())
}

fn same_mesh(old: Option<&Topology>, new: &Topology) -> Result<(), Error> {
    match old.filter(|old| old.mesh != new.mesh) {
        None => Ok(()),
        Some(old) => Err(Error::OtherMesh {
            old: old.mesh.to_string(),
            new: new.mesh.to_string(),
        }),
    }
}

fn line(change: &change::Change) -> Change {
    let text = change.to_string();
    let (sign, text) = text.split_once(' ').unwrap_or(("~", &text));
    Change {
        sign: sign.to_owned(),
        text: text.to_owned(),
    }
}

/// What goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Removal {
    nodes: usize,
    of_nodes: usize,
    rules: usize,
    of_rules: usize,
}

impl Removal {
    fn of(old: &Document, new: &Document) -> Self {
        let gone = |name: &At<String>| !new.nodes.contains_key(name.value.as_str());
        let gone_rule = |name: &At<String>| !new.rules.contains_key(name.value.as_str());
        Self {
            nodes: old.nodes.keys().filter(|name| gone(name)).count(),
            of_nodes: old.nodes.len(),
            rules: old.rules.keys().filter(|name| gone_rule(name)).count(),
            of_rules: old.rules.len(),
        }
    }

    /// All nodes, or more than half of the rules.
    fn needs_prune(self) -> bool {
        (self.of_nodes > 0 && self.nodes == self.of_nodes) || self.rules * 2 > self.of_rules
    }
}

impl From<Removal> for Error {
    fn from(removal: Removal) -> Self {
        Self::NeedsPrune {
            nodes: removal.nodes,
            rules: removal.rules,
            of_rules: removal.of_rules,
        }
    }
}

/// An entry for each resource that differs, and one for what belongs to none.
fn audit(old: &Document, new: &Document, stamp: &Stamp) -> Vec<NewEntry> {
    let (before, after) = (head(old), head(new));
    let mut entries = Vec::new();
    if before != after {
        entries.push(NewEntry {
            before: Some(before).filter(|_| old.mesh.is_some()),
            after: Some(after),
            ..stamp.entry("apply", "topology")
        });
    }
    for difference in edit::differences(old, new) {
        entries.push(NewEntry {
            before: difference.before,
            after: difference.after,
            ..stamp.entry("apply", format!("{}/{}", difference.kind, difference.name))
        });
    }
    if entries.is_empty() {
        entries.push(stamp.entry("apply", "topology"));
    }
    entries
}

fn head(document: &Document) -> Value {
    json!({"mesh": document.mesh, "control": document.control})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_removes_too_much_needs_a_second_word() {
        // (nodes gone, of, rules gone, of) -> needs prune
        let cases = [
            ((0, 0, 0, 0), false),
            ((1, 1, 0, 0), true),
            ((2, 3, 0, 0), false),
            ((3, 3, 0, 0), true),
            ((0, 1, 1, 2), false),
            ((0, 1, 2, 3), true),
            ((0, 1, 1, 1), true),
            ((0, 1, 5_000, 10_000), false),
            ((0, 1, 5_001, 10_000), true),
        ];
        for ((nodes, of_nodes, rules, of_rules), expected) in cases {
            let removal = Removal {
                nodes,
                of_nodes,
                rules,
                of_rules,
            };
            assert_eq!(removal.needs_prune(), expected, "{removal:?}");
        }
    }
}
