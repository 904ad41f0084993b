//! What is still missing for a manifest to be complete in a repository; pure.
//!
//! An image needs its configuration and layers, foreign ones excepted. An index needs itself and the children that the rule's
//! `platforms` asks for: none with `requested`, because each platform that somebody pulls is a copy of its own. A child
//! manifest that the upstream does not have leaves an index complete without it; a blob that it does not have leaves its
//! image incomplete, because such an image cannot be run. Source: `spec/pull-through.md` step 6.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use topology::model::rule::Platforms;
use wire::{digest::Digest, media_type, platform::Platform};

use crate::store::metadata::{Child, ChildKind, ManifestRecord};

/// How deep indexes may lie in indexes.
pub const MAX_DEPTH: usize = 8;
/// How many manifests one copy may comprise.
pub const MAX_MANIFESTS: usize = 10_000;

/// What is here.
#[derive(Debug, Default)]
pub struct Known {
    /// Manifests that are stored and linked to the repository.
    pub manifests: HashMap<Digest, Arc<ManifestRecord>>,
    /// Blobs that are stored and linked to the repository.
    pub blobs: HashSet<Digest>,
    /// What the upstream says it does not have.
    pub gone: HashSet<Digest>,
}

/// What there is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to fetch, manifests and blobs; after that there may be more.
    pub fetch: Vec<Child>,
    /// Manifests that are whole, children before parents, each once, with the platform that an index named.
    pub whole: Vec<(Digest, Option<Platform>)>,
    /// What the upstream does not have.
    pub missing: Vec<Digest>,
}

impl Plan {
    /// Whether this manifest is whole.
    #[must_use]
    pub fn is_whole(&self, digest: &Digest) -> bool {
        self.whole.iter().any(|(whole, _)| whole == digest)
    }
}

/// Whether a copy of an index takes this child along. A child without a platform is for all of them.
#[must_use]
pub fn demanded(child: &Child, platforms: &Platforms) -> bool {
    child.kind == ChildKind::Manifest
        && !child.foreign
        && match platforms {
            Platforms::Requested => false,
            Platforms::All => true,
            Platforms::Listed(list) => child
                .platform
                .as_ref()
                .is_none_or(|own| list.iter().any(|wanted| wanted.matches(own))),
        }
}

/// Whether a manifest is an index: what a child's media type says, or its children.
#[must_use]
pub fn is_index(record: &ManifestRecord) -> bool {
    media_type::is_index(&record.media_type)
        || record
            .children
            .iter()
            .any(|child| child.kind == ChildKind::Manifest)
}

/// Plans the copy of `root`, of this platform.
#[must_use]
pub fn plan(
    root: &Digest,
    platform: Option<&Platform>,
    known: &Known,
    platforms: &Platforms,
) -> Plan {
    let mut walk = Walk {
        known,
        platforms,
        seen: HashMap::new(),
        asked: HashSet::new(),
        plan: Plan::default(),
    };
    walk.manifest(root, platform, 0);
    walk.plan
}

/// How a manifest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Whole,
    /// Something has to be fetched first.
    Pending,
    /// The upstream lacks what it needs.
    Lacking,
}

struct Walk<'a> {
    known: &'a Known,
    platforms: &'a Platforms,
    seen: HashMap<Digest, Standing>,
    asked: HashSet<Digest>,
    plan: Plan,
}

impl Walk<'_> {
    fn manifest(&mut self, digest: &Digest, platform: Option<&Platform>, depth: usize) -> Standing {
        if let Some(standing) = self.seen.get(digest) {
            return *standing;
        }
        let Some(record) = self
            .known
            .manifests
            .get(digest)
            .filter(|_| depth < MAX_DEPTH && self.seen.len() < MAX_MANIFESTS)
        else {
            return Standing::Lacking;
        };
        // What contains itself cannot hash to its digest; the mark only ends the walk.
        self.seen.insert(digest.clone(), Standing::Pending);
        let mut standing = Standing::Whole;
        for child in &record.children {
            standing = worse(standing, self.child(child, depth));
        }
        if standing == Standing::Whole {
            let platform = platform.filter(|platform| !platform.is_unknown());
            self.plan.whole.push((digest.clone(), platform.cloned()));
        }
        self.seen.insert(digest.clone(), standing);
        standing
    }

    fn child(&mut self, child: &Child, depth: usize) -> Standing {
        let is_manifest = child.kind == ChildKind::Manifest;
        let needed = if is_manifest {
            demanded(child, self.platforms)
        } else {
            !child.foreign
        };
        let here = if is_manifest {
            self.known.manifests.contains_key(&child.digest)
        } else {
            self.known.blobs.contains(&child.digest)
        };
        if !needed {
            return Standing::Whole;
        }
        match (here, is_manifest) {
            (true, false) => Standing::Whole,
            (true, true) => {
                match self.manifest(&child.digest, child.platform.as_ref(), depth + 1) {
                    Standing::Lacking => self.lacks(&child.digest, true),
                    standing @ (Standing::Whole | Standing::Pending) => standing,
                }
            }
            (false, _) if self.known.gone.contains(&child.digest) => {
                self.lacks(&child.digest, is_manifest)
            }
            (false, _) => {
                if self.asked.insert(child.digest.clone()) {
                    self.plan.fetch.push(child.clone());
                }
                Standing::Pending
            }
        }
    }

    fn lacks(&mut self, digest: &Digest, is_manifest: bool) -> Standing {
        if !self.plan.missing.contains(digest) {
            self.plan.missing.push(digest.clone());
        }
        if is_manifest {
            Standing::Whole
        } else {
            Standing::Lacking
        }
    }
}

fn worse(a: Standing, b: Standing) -> Standing {
    match (a, b) {
        (Standing::Lacking, _) | (_, Standing::Lacking) => Standing::Lacking,
        (Standing::Pending, _) | (_, Standing::Pending) => Standing::Pending,
        (Standing::Whole, Standing::Whole) => Standing::Whole,
    }
}

#[cfg(test)]
mod tests;
