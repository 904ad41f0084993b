//! Which closures leave first; pure.
//!
//! A *closure* is a root manifest of one repository with all that it alone keeps there. What stays: what was pushed, what has a tag
//! of its own, what another manifest that stays needs. Bytes go only when no other repository links them. What is about to be stored
//! makes just the room it needs; beside that two marks keep some free, so that this happens seldom.

use std::collections::{BTreeMap, BTreeSet};

use wire::digest::Digest;

use super::space::{Seen, head_room};

/// Begin above this share of the disk, in percent, and go on down to that: others write to it too.
const DISK: (u64, u64) = (95, 90);
/// The same for `storage.maxSize`, which is all ours.
const MAX_SIZE: (u64, u64) = (98, 96);
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

/// How much has to go because the store is nearly full.
pub(crate) fn need(seen: &Seen, max_size: Option<u64>) -> Need {
    let (used, usable) = disk(seen);
    let allowed = max_size.map_or(0, |max| above(all(seen), max, MAX_SIZE));
    Need {
        bytes: above(used, usable, DISK).max(allowed),
        files: files(seen),
    }
}

/// How much has to go for `wanted` bytes to fit, and no more.
pub(crate) fn need_for(seen: &Seen, max_size: Option<u64>, wanted: u64) -> Need {
    let over = |used: u64, limit| used.saturating_add(wanted).saturating_sub(limit);
    let (used, usable) = disk(seen);
    let allowed = max_size.map_or(0, |max| over(all(seen), max));
    Need {
        bytes: over(used, usable).max(allowed),
        files: files(seen),
    }
}

/// What is used of the disk, promises included, and what may be.
fn disk(seen: &Seen) -> (u64, u64) {
    let total = seen.space.total;
    let used = total.saturating_sub(seen.space.free);
    let usable = total.saturating_sub(head_room(total));
    (used.saturating_add(seen.reserved), usable)
}

/// What counts for `storage.maxSize`.
fn all(seen: &Seen) -> u64 {
    seen.stored.saturating_add(seen.reserved)
}

fn files(seen: &Seen) -> u64 {
    let inodes = seen.space.free_inodes;
    if inodes < INODES.0 {
        INODES.1 - inodes
    } else {
        0
    }
}

/// How far `used` of `limit` is above the lower mark, once it is above the higher one.
fn above(used: u64, limit: u64, (high, low): (u64, u64)) -> u64 {
    if used <= share(limit, high) {
        return 0;
    }
    used.saturating_sub(share(limit, low))
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
        // stored, reserved, maxSize, wanted: bytes to free because it is nearly full, and for what is wanted
        for (stored, reserved, max, wanted, bytes, exactly) in [
            (98, 0, Some(100), 0, 0, 0),
            (99, 0, Some(100), 0, 3, 0),
            (90, 9, Some(100), 0, 3, 0),
            (92, 0, Some(100), 20, 0, 12),
            (92, 0, Some(100), 8, 0, 0),
            (90, 4, Some(100), 8, 0, 2),
            (105, 0, Some(100), 0, 9, 5),
            (50, 0, None, 0, 0, 0),
        ] {
            let seen = Seen {
                space: Space {
                    total: 10_000 * GIB,
                    free: 9_000 * GIB,
                    free_inodes: u64::MAX,
                },
                stored: stored * GIB,
                reserved: reserved * GIB,
            };
            let max = max.map(|max| max * GIB);
            let needs = (need(&seen, max), need_for(&seen, max, wanted * GIB));
            assert_eq!(
                (needs.0.bytes / GIB, needs.1.bytes / GIB),
                (bytes, exactly),
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
        assert!(need(&seen(14, u64::MAX), None).is_none());
        assert_eq!(need(&seen(12, u64::MAX), None).bytes, 6 * MIB);
        let wanted = need_for(&seen(28, u64::MAX), None, 50 * MIB);
        assert_eq!(wanted.bytes, 30 * MIB);
        assert_eq!(need(&seen(90, 100), None).files, 412);
    }
}
