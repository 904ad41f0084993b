//! A registry in memory, for tests of what stands on top of `Upstream`.
//!
//! It holds manifests, blobs and tags, counts and keeps every call, and does what it is told to: fail the next calls of a
//! kind, break a blob's transfer at an offset, serve other bytes than the digest promises, or stand still at a gate until the
//! test opens it. Nothing here waits by itself: with no gate and no failure set, every call answers at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wire::{digest::Digest, repository::RepositoryName, time::WallTime};

pub use self::gate::Gate;
use self::state::{Content, State};
use super::{BlobRange, Error, Patience, Reach};
use crate::request::Request;

mod answer;
mod gate;
mod state;
#[cfg(test)]
mod tests;

/// The kinds of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `head_manifest`.
    HeadManifest,
    /// `get_manifest`.
    GetManifest,
    /// `head_blob`.
    HeadBlob,
    /// `get_blob`.
    GetBlob,
    /// `tags`.
    Tags,
    /// `referrers`.
    Referrers,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::HeadManifest,
        Self::GetManifest,
        Self::HeadBlob,
        Self::GetBlob,
        Self::Tags,
        Self::Referrers,
    ];
}

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its kind.
    pub verb: Verb,
    /// Of which repository.
    pub repository: RepositoryName,
    /// The tag or digest asked for; empty for tags.
    pub what: String,
    /// The range, of a blob.
    pub range: Option<BlobRange>,
    /// The patience, of a HEAD of a manifest and of lists.
    pub patience: Option<Patience>,
    /// On whose behalf.
    pub request: Request,
}

impl Call {
    fn new(
        verb: Verb,
        repository: &RepositoryName,
        what: impl ToString,
        request: &Request,
    ) -> Self {
        Self {
            verb,
            repository: repository.clone(),
            what: what.to_string(),
            range: None,
            patience: None,
            request: request.clone(),
        }
    }
}

/// The scripted registry. Shared as an `Arc`; scripts may change while calls are under way.
pub struct Scripted {
    name: String,
    state: Arc<Mutex<State>>,
}

impl Scripted {
    /// An empty registry of that name.
    #[must_use]
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            state: Arc::new(Mutex::new(State::new())),
        })
    }

    /// The token that is in hand for it ends then.
    pub fn token_ends(&self, at: Option<WallTime>) {
        self.lock().token_ends = at;
    }

    /// Holds this manifest, and moves the tag to it if one is given. The media type is what `Content-Type` will say.
    pub fn manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        let content = Content {
            media_type: media_type.to_owned(),
            bytes,
        };
        let mut state = self.lock();
        let repository = state.repository(repository);
        repository.manifests.insert(digest.clone(), content);
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest.clone());
        }
        digest
    }

    /// Holds this blob.
    pub fn blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        self.lock()
            .repository(repository)
            .blobs
            .insert(digest.clone(), bytes);
        digest
    }

    /// Moves a tag.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.lock()
            .repository(repository)
            .tags
            .insert(tag.to_owned(), digest.clone());
    }

    /// Deletes a tag.
    pub fn untag(&self, repository: &str, tag: &str) {
        self.lock().repository(repository).tags.remove(tag);
    }

    /// Deletes a manifest or blob.
    pub fn remove(&self, repository: &str, digest: &Digest) {
        let mut state = self.lock();
        let repository = state.repository(repository);
        repository.manifests.remove(digest);
        repository.blobs.remove(digest);
    }

    /// Answers `referrers` of `subject` with these bytes instead of an empty index.
    pub fn refer(&self, repository: &str, subject: &Digest, index: impl Into<Bytes>) {
        self.lock()
            .repository(repository)
            .referrers
            .insert(subject.clone(), index.into());
    }

    /// Fails the next `times` calls of that kind (`usize::MAX`: until [`Scripted::heal`]). Failures queue up.
    pub fn fail(&self, verb: Verb, times: usize, error: Error) {
        self.lock()
            .failures
            .entry(verb)
            .or_default()
            .push_back((times, error));
    }

    /// Fails every call until [`Scripted::heal`].
    pub fn fail_all(&self, error: &Error) {
        for verb in Verb::ALL {
            self.fail(verb, usize::MAX, error.clone());
        }
    }

    /// Forgets all failures and breaks that are still due.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.failures.clear();
        state.breaks.clear();
    }

    /// The next transfer of this blob that comes to `offset` (of the whole blob) breaks off there. Breaks queue up.
    pub fn break_at(&self, digest: &Digest, offset: u64) {
        self.lock()
            .breaks
            .entry(digest.clone())
            .or_default()
            .push_back(offset);
    }

    /// Serves these bytes under that digest, as manifest and as blob.
    pub fn instead(&self, digest: &Digest, bytes: impl Into<Bytes>) {
        self.lock().instead.insert(digest.clone(), bytes.into());
    }

    /// Whether a HEAD of a manifest says too little, so that a GET is asked after it.
    pub fn tell_by_get(&self, yes: bool) {
        self.lock().tells_by_get = yes;
    }

    /// Whether ranges are ignored: answers then begin at 0.
    pub fn ignore_ranges(&self, yes: bool) {
        self.lock().ignores_ranges = yes;
    }

    /// The size of the chunks of a blob's stream.
    pub fn chunk(&self, bytes: usize) {
        self.lock().chunk = bytes.max(1);
    }

    /// What answers say about their age, their `Cache-Status` and `Warning`.
    pub fn answer_with(&self, age: u64, cache_status: Option<&str>, warning: Option<&str>) {
        let mut state = self.lock();
        state.age = age;
        state.cache_status = cache_status.map(str::to_owned);
        state.warning = warning.map(str::to_owned);
    }

    /// What a look at the way here finds; else that it answers.
    pub fn seen_as(&self, reach: Reach) {
        self.lock().reach = Some(reach);
    }

    /// Calls of that kind stand still, counted already, until the gate is opened.
    pub fn gate(&self, verb: Verb) -> Gate {
        let gate = Gate::new();
        self.lock().gates.insert(verb, gate.clone());
        gate
    }

    /// Transfers of this blob stand still at `offset` until the gate is opened.
    pub fn gate_at(&self, digest: &Digest, offset: u64) -> Gate {
        let gate = Gate::new();
        self.lock()
            .blob_gates
            .insert(digest.clone(), (offset, gate.clone()));
        gate
    }

    /// All calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many calls of that kind there were.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.lock().calls.iter().filter(|c| c.verb == verb).count()
    }

    /// How many calls of that kind there were for this tag or digest.
    #[must_use]
    pub fn count_of(&self, verb: Verb, what: &str) -> usize {
        let state = self.lock();
        let wanted = |c: &&Call| c.verb == verb && c.what == what;
        state.calls.iter().filter(wanted).count()
    }

    /// How many calls there were.
    #[must_use]
    pub fn total(&self) -> usize {
        self.lock().calls.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
