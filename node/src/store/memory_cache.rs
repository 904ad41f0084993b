//! moka in front of both halves of the store: small contents, manifests, tag records and links, bounded by weight.
//!
//! Coherent without locks: each entry carries the *stamp* its key had before it was loaded, and every change of the store moves
//! the stamps of what it touched, after it took effect and before it is acknowledged. An entry whose stamp is not today's is not
//! there, so a slow reader cannot put back what a commit took away. Stamps are shared by keys of one hash; that costs now and
//! then a reload and never a wrong answer. What does not exist is never remembered.
//!
//! Changes run as tasks of the store: were they dropped half-way with their caller, nobody would move the stamps.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use moka::sync::Cache;
use wire::{digest::Digest, reference::Tag, repository::RepositoryName};

use super::metadata::{Link, ManifestRecord, Op, TagRecord};

mod blobs;
mod metadata;

pub(crate) use blobs::CachedBlobs;
pub(crate) use metadata::CachedMetadata;

/// A power of two.
const STAMPS: usize = 1 << 14;
/// What moka and the entry itself cost beside keys and values.
const OVERHEAD: usize = 250;

/// The memory cache. Clones share it.
#[derive(Clone)]
pub(crate) struct MemoryCache(Arc<Inner>);

struct Inner {
    entries: Cache<Key, Entry>,
    stamps: Box<[AtomicU64]>,
    hasher: RandomState,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How the memory cache fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Lookups answered from memory.
    pub hits: u64,
    /// Lookups that were not.
    pub misses: u64,
    /// Bytes in memory now.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Content(Digest),
    Manifest(Digest),
    Link(RepositoryName, Digest),
    Tag(RepositoryName, Tag),
}

#[derive(Clone)]
pub(super) enum Value {
    Content(Bytes),
    Manifest(Arc<ManifestRecord>),
    Link(Link),
    Tag(TagRecord),
}

#[derive(Clone)]
struct Entry {
    stamp: u64,
    value: Value,
}

/// The stamps that a change moves.
pub(super) struct Touched(Vec<usize>);

impl MemoryCache {
    /// A cache that holds at most `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Key, entry: &Entry| {
                u32::try_from(weigh(key) + entry.value.weigh()).unwrap_or(u32::MAX)
            })
            .build();
        Self(Arc::new(Inner {
            entries,
            stamps: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }))
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.0.hits.load(Ordering::Relaxed),
            misses: self.0.misses.load(Ordering::Relaxed),
            bytes: self.0.entries.weighted_size(),
        }
    }

    /// The stamp of a key. To be read before the value is loaded.
    pub(super) fn stamp(&self, key: &Key) -> u64 {
        let own = self.read(self.place(key));
        match key {
            // Stamps only grow, so their sum is unchanged only when both are.
            Key::Tag(repository, _) => own.wrapping_add(self.read(self.place(repository))),
            Key::Content(_) | Key::Manifest(_) | Key::Link(..) => own,
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Value> {
        let stamp = self.stamp(key);
        let entry = self.0.entries.get(key).filter(|entry| entry.stamp == stamp);
        let counter = if entry.is_some() {
            &self.0.hits
        } else {
            &self.0.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        entry.map(|entry| entry.value)
    }

    /// Remembers what was loaded after `stamp` was read.
    pub(super) fn insert(&self, key: Key, stamp: u64, value: Value) {
        if stamp == self.stamp(&key) {
            self.0.entries.insert(key, Entry { stamp, value });
        }
    }

    pub(super) fn content(&self, digest: &Digest) -> Option<Bytes> {
        match self.get(&Key::Content(digest.clone()))? {
            Value::Content(bytes) => Some(bytes),
            Value::Manifest(_) | Value::Link(_) | Value::Tag(_) => None,
        }
    }

    /// What these ops change.
    pub(super) fn touched_by(&self, ops: &[Op]) -> Touched {
        let mut places = Vec::new();
        for op in ops {
            self.add_touched(op, &mut places);
        }
        Touched(places)
    }

    /// A content that goes.
    pub(super) fn touched_content(&self, digest: &Digest) -> Touched {
        Touched(vec![self.place(&Key::Content(digest.clone()))])
    }

    /// After the change, whether it worked or not.
    pub(super) fn moved(&self, touched: &Touched) {
        for place in &touched.0 {
            self.0.stamps[*place].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn add_touched(&self, op: &Op, places: &mut Vec<usize>) {
        match op {
            Op::DeleteBlob(digest) | Op::DeleteUnreferenced(digest) => {
                places.push(self.place(&Key::Content(digest.clone())));
                places.push(self.place(&Key::Manifest(digest.clone())));
            }
            Op::PutLink(link) => {
                let key = Key::Link(link.repository.clone(), link.digest.clone());
                places.push(self.place(&key));
            }
            Op::DeleteLink(repository, digest) | Op::Lacking(repository, digest) => {
                // Tags with that digest go or change too, and which those are is not known here: all of the repository count as changed.
                places.push(self.place(repository));
                places.push(self.place(&Key::Link(repository.clone(), digest.clone())));
                places.push(self.place(&Key::Manifest(digest.clone())));
            }
            Op::PutTag(tag) => {
                let key = Key::Tag(tag.repository.clone(), tag.tag.clone());
                places.push(self.place(&key));
            }
            Op::Checked(repository, tag, ..)
            | Op::Completed(repository, tag, _)
            | Op::DeleteTag(repository, tag) => {
                places.push(self.place(&Key::Tag(repository.clone(), tag.clone())));
            }
            // Before anything was remembered.
            Op::Begin(_) => {}
            // Nothing that is remembered: a manifest's record never changes, and last use is only told to the collector.
            Op::PutBlob(_)
            | Op::Verified(..)
            | Op::PutManifest(_)
            | Op::Used(..)
            | Op::PutJob(_)
            | Op::DeleteJob(_)
            | Op::FinishJob(..)
            | Op::PutEvent(..)
            | Op::PutDelivery(_)
            | Op::ForgetDeliveries(_)
            | Op::PutUpload(_)
            | Op::DeleteUpload(_)
            | Op::PutValue(..) => {}
        }
    }

    fn place(&self, key: &impl Hash) -> usize {
        let hash = self.0.hasher.hash_one(key);
        usize::try_from(hash % STAMPS as u64).unwrap_or(0)
    }

    fn read(&self, place: usize) -> u64 {
        self.0.stamps[place].load(Ordering::SeqCst)
    }
}

fn weigh(key: &Key) -> usize {
    // Their texts are mostly shared with the values and with each other, but not for sure.
    OVERHEAD
        + match key {
            Key::Content(digest) | Key::Manifest(digest) => digest.as_str().len(),
            Key::Link(repository, digest) => repository.as_str().len() + digest.as_str().len(),
            Key::Tag(repository, tag) => repository.as_str().len() + tag.as_str().len(),
        }
}

impl Value {
    fn weigh(&self) -> usize {
        match self {
            Self::Content(bytes) => bytes.len(),
            Self::Manifest(manifest) => {
                let text = manifest.annotations.iter().map(|(k, v)| k.len() + v.len());
                250 + manifest.children.len() * 300 + text.sum::<usize>()
            }
            Self::Link(_) => 150,
            Self::Tag(_) => 500,
        }
    }
}

#[cfg(test)]
mod tests;
