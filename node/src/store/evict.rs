//! Which closures leave first; pure.
//!
//! A *closure* is a root manifest of one repository with all that it alone keeps there. What stays: what was pushed, what has a tag
//! of its own, what another manifest that stays needs. Bytes go only when no other repository links them. How much has to go is
//! decided by two marks, so that eviction runs seldom and then for a while.

use std::collections::{BTreeMap, BTreeSet};

use wire::digest::Digest;

use super::space::{Seen, head_room};

/// Begin above this share of what there is, in percent.
const HIGH: u64 = 95;
/// And go on down to this.
const LOW: u64 = 90;
/// Begin below this many free inodes, and go on up to that many.
const INODES: (u64, u64) = (128, 512);

/// How much has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Need {
    /// Bytes.
    pub bytes: u64,
    /// Files, when inodes run out.
    pub files: u64,
}

/// A content as one repository links it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub size: u64,
    /// Manifests linked by the repository that need it.
    pub parents: BTreeSet<Digest>,
    /// A client pushed it.
    pub pushed: bool,
    /// A tag leads to it.
    pub tagged: bool,
    /// Somebody works with it.
    pub held: bool,
    /// Another repository links it too.
    pub elsewhere: bool,
}

/// What leaves together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// No longer linked by the repository.
    pub unlink: BTreeSet<Digest>,
    /// Of those, no longer stored.
    pub delete: BTreeSet<Digest>,
    /// The bytes of those.
    pub bytes: u64,
}

impl Need {
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn less(self, leaving: &Leaving) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(leaving.bytes),
            files: self.files.saturating_sub(leaving.delete.len() as u64),
        }
    }
}

/// How much has to go, when `wanted` bytes were refused since the last time.
pub(crate) fn need(seen: &Seen, max_size: Option<u64>, wanted: u64) -> Need {
    let usable = seen.space.total.saturating_sub(head_room(seen.space.total));
    let used = seen.space.total.saturating_sub(seen.space.free);
    let on_disk = surplus(used.saturating_add(seen.reserved), usable, wanted);
    let allowed = max_size.map_or(0, |max| {
        surplus(seen.stored.saturating_add(seen.reserved), max, wanted)
    });
    let inodes = seen.space.free_inodes;
    Need {
        bytes: on_disk.max(allowed),
        files: if inodes < INODES.0 {
            INODES.1 - inodes
        } else {
            0
        },
    }
}

/// How far `used` of `limit` is above the mark that lets `wanted` more in. A wish that never fits is not one.
fn surplus(used: u64, limit: u64, wanted: u64) -> u64 {
    let wanted = if wanted <= limit { wanted } else { 0 };
    let fits = used.saturating_add(wanted) <= limit;
    if fits && used <= share(limit, HIGH) {
        return 0;
    }
    used.saturating_sub(share(limit, LOW).min(limit - wanted))
}

fn share(limit: u64, percent: u64) -> u64 {
    limit / 100 * percent + limit % 100 * percent / 100
}

/// What leaves with `root`. `nodes` are all contents that it leads to, itself included, as its repository links them. `None` when
/// it may not leave now.
pub(crate) fn closure(root: &Digest, nodes: &BTreeMap<Digest, Node>) -> Option<Leaving> {
    let first = nodes.get(root)?;
    if first.pushed || !first.parents.is_empty() {
        return None;
    }
    let mut leaving = Leaving::default();
    leaving.unlink.insert(root.clone());
    // Each round takes along what only those that leave already need.
    loop {
        let next: Vec<Digest> = nodes
            .iter()
            .filter(|(digest, node)| {
                let alone = !node.pushed && !node.tagged && node.parents.is_subset(&leaving.unlink);
                alone && !leaving.unlink.contains(digest)
            })
            .map(|(digest, _)| digest.clone())
            .collect();
        if next.is_empty() {
            break;
        }
        leaving.unlink.extend(next);
    }
    for digest in &leaving.unlink {
        let node = nodes.get(digest)?;
        if node.held {
            return None;
        }
        if !node.elsewhere {
            leaving.delete.insert(digest.clone());
            leaving.bytes = leaving.bytes.saturating_add(node.size);
        }
    }
    Some(leaving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blob::Space;

    fn digest(of: &str) -> Digest {
        Digest::sha256(of.as_bytes())
    }

    fn nodes(list: &[(&str, &[&str])]) -> BTreeMap<Digest, Node> {
        let node = |parents: &[&str]| Node {
            size: 10,
            parents: parents.iter().map(|parent| digest(parent)).collect(),
            ..Node::default()
        };
        list.iter()
            .map(|(of, parents)| (digest(of), node(parents)))
            .collect()
    }

    fn unlinked(leaving: Option<Leaving>) -> Option<BTreeSet<Digest>> {
        leaving.map(|leaving| leaving.unlink)
    }

    fn set(list: &[&str]) -> Option<BTreeSet<Digest>> {
        Some(list.iter().map(|of| digest(of)).collect())
    }

    const INDEX: &[(&str, &[&str])] = &[
        ("index", &[]),
        ("amd", &["index"]),
        ("arm", &["index"]),
        ("amd-layer", &["amd"]),
        ("shared", &["amd", "arm"]),
    ];

    #[test]
    fn a_closure_leaves_with_all_that_it_alone_needs() {
        let leaving = closure(&digest("index"), &nodes(INDEX)).unwrap();
        assert_eq!(leaving.unlink.len(), 5);
        assert_eq!(leaving.bytes, 50);
        assert_eq!(leaving.delete, leaving.unlink);
    }

    #[test]
    fn what_somebody_else_needs_stays() {
        let mut graph = nodes(INDEX);
        let of = |of: &str| digest(of);
        graph
            .get_mut(&of("shared"))
            .unwrap()
            .parents
            .insert(of("other"));
        let all_but_shared = set(&["index", "amd", "arm", "amd-layer"]);
        assert_eq!(unlinked(closure(&of("index"), &graph)), all_but_shared);
        graph.get_mut(&of("amd")).unwrap().tagged = true;
        assert_eq!(
            unlinked(closure(&of("index"), &graph)),
            set(&["index", "arm"])
        );
        graph.get_mut(&of("arm")).unwrap().pushed = true;
        assert_eq!(unlinked(closure(&of("index"), &graph)), set(&["index"]));
    }

    #[test]
    fn bytes_of_another_repository_stay() {
        let mut graph = nodes(INDEX);
        graph.get_mut(&digest("amd-layer")).unwrap().elsewhere = true;
        let leaving = closure(&digest("index"), &graph).unwrap();
        assert_eq!(
            (leaving.unlink.len(), leaving.delete.len(), leaving.bytes),
            (5, 4, 40)
        );
    }

    #[test]
    fn what_is_held_pushed_or_a_child_does_not_leave() {
        for change in [
            |node: &mut Node| node.held = true,
            |node: &mut Node| node.pushed = true,
            |node: &mut Node| node.parents = BTreeSet::from([Digest::sha256(b"x")]),
        ] {
            let mut graph = nodes(INDEX);
            change(graph.get_mut(&digest("index")).unwrap());
            assert_eq!(closure(&digest("index"), &graph), None);
        }
        let mut graph = nodes(INDEX);
        graph.get_mut(&digest("amd-layer")).unwrap().held = true;
        assert_eq!(closure(&digest("index"), &graph), None);
        assert_eq!(closure(&digest("unknown"), &graph), None);
    }

    #[test]
    fn the_marks_say_how_much_has_to_go() {
        const GIB: u64 = 1 << 30;
        // stored, reserved, maxSize, wanted: bytes to free
        for (stored, reserved, max, wanted, bytes) in [
            (95, 0, Some(100), 0, 0),
            (96, 0, Some(100), 0, 6),
            (90, 6, Some(100), 0, 6),
            (92, 0, Some(100), 20, 12),
            (92, 0, Some(100), 8, 0),
            (50, 0, Some(100), 101, 0),
            (50, 0, None, 0, 0),
        ] {
            let seen = Seen {
                space: Space {
                    total: 10_000 * GIB,
                    free: 9_000 * GIB,
                    free_inodes: u64::MAX,
                },
                stored: stored * GIB,
                reserved: reserved * GIB,
                wanted: 0,
            };
            let need = need(&seen, max.map(|max| max * GIB), wanted * GIB);
            assert_eq!(
                need.bytes / GIB,
                bytes,
                "{stored} {reserved} {max:?} {wanted}"
            );
        }
    }

    #[test]
    fn a_full_disk_and_missing_inodes_count_as_well() {
        const MIB: u64 = 1 << 20;
        let seen = |free, free_inodes| Seen {
            space: Space {
                total: 108 * MIB,
                free: free * MIB,
                free_inodes,
            },
            ..Seen::default()
        };
        assert!(need(&seen(14, u64::MAX), None, 0).is_none());
        assert_eq!(need(&seen(12, u64::MAX), None, 0).bytes, 6 * MIB);
        assert_eq!(need(&seen(28, u64::MAX), None, 50 * MIB).bytes, 30 * MIB);
        assert_eq!(need(&seen(90, 100), None, 0).files, 412);
    }
}
