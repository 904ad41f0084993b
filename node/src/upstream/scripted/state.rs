//! What the scripted registry holds and what it was told to do.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use wire::{digest::Digest, reference::Reference, repository::RepositoryName, time::WallTime};

use super::{Call, Gate, Verb};
use crate::upstream::{Error, Reach};

#[derive(Clone)]
pub(super) struct Content {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

#[derive(Default)]
pub(super) struct Repository {
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) manifests: HashMap<Digest, Content>,
    pub(super) blobs: HashMap<Digest, Bytes>,
    pub(super) referrers: HashMap<Digest, Bytes>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) repositories: HashMap<RepositoryName, Repository>,
    pub(super) calls: Vec<Call>,
    pub(super) failures: HashMap<Verb, VecDeque<(usize, Error)>>,
    pub(super) gates: HashMap<Verb, Gate>,
    pub(super) blob_gates: HashMap<Digest, (u64, Gate)>,
    pub(super) breaks: HashMap<Digest, VecDeque<u64>>,
    pub(super) instead: HashMap<Digest, Bytes>,
    pub(super) ignores_ranges: bool,
    pub(super) tells_by_get: bool,
    pub(super) chunk: usize,
    pub(super) age: u64,
    pub(super) cache_status: Option<String>,
    pub(super) warning: Option<String>,
    pub(super) reach: Option<Reach>,
    pub(super) token_ends: Option<WallTime>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            chunk: 16 * 1024,
            ..Self::default()
        }
    }

    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        let name: RepositoryName = name.parse().expect("a test's repository name is legal");
        self.repositories.entry(name).or_default()
    }

    pub(super) fn due(&mut self, verb: Verb) -> Option<Error> {
        let queue = self.failures.get_mut(&verb)?;
        let (times, error) = queue.front_mut()?;
        let error = error.clone();
        if *times != usize::MAX {
            *times -= 1;
            if *times == 0 {
                queue.pop_front();
            }
        }
        Some(error)
    }

    pub(super) fn content(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Option<(Digest, &Content)> {
        let repository = self.repositories.get(repository)?;
        let digest = match reference {
            Reference::Tag(tag) => repository.tags.get(tag.as_str())?,
            Reference::Digest(digest) => digest,
        };
        Some((digest.clone(), repository.manifests.get(digest)?))
    }

    /// The end of the piece that begins at `at`, and whether the transfer breaks right there.
    pub(super) fn next_stop(&mut self, digest: &Digest, at: u64, end: u64) -> (u64, bool) {
        let mut stop = end.min(at.saturating_add(self.chunk as u64));
        if let Some((gate, _)) = self.blob_gates.get(digest).filter(|(gate, _)| *gate > at) {
            stop = stop.min(*gate);
        }
        let Some(queue) = self.breaks.get_mut(digest) else {
            return (stop, false);
        };
        match queue.front() {
            Some(offset) if *offset == at => {
                queue.pop_front();
                (at, true)
            }
            Some(offset) if *offset > at => (stop.min(*offset), false),
            Some(_) | None => (stop, false),
        }
    }
}
