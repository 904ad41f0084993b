//! Metadata in memory: the twin of `sqlite` for tests of everything that stands on a store.
//!
//! Plain ordered maps under one lock; lookups walk them where a database would have an index, which is fine for the tens of
//! records of a test. `memory/apply.rs` carries out the ops.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use uuid::Uuid;
use wire::{
    digest::Digest, name::WebhookName, pattern::Pattern, reference::Tag,
    repository::RepositoryName, time::WallTime,
};

use super::{
    BlobRecord, Delivery, DeliveryState, EventRecord, Extent, Job, Link, LinkKind, ManifestRecord,
    Metadata, OUTBOX, Op, Origin, TagRecord, Totals, UploadRecord,
};
use crate::store::Error;

mod apply;

/// Metadata in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    tags: BTreeMap<(RepositoryName, Tag), TagRecord>,
    links: BTreeMap<(RepositoryName, Digest), Link>,
    manifests: BTreeMap<Digest, Arc<ManifestRecord>>,
    blobs: BTreeMap<Digest, BlobRecord>,
    jobs: BTreeMap<(RepositoryName, Digest), Job>,
    events: BTreeMap<u64, EventRecord>,
    next_event: u64,
    deliveries: BTreeMap<(WebhookName, u64), Delivery>,
    uploads: BTreeMap<Uuid, UploadRecord>,
    values: BTreeMap<String, Vec<u8>>,
    outbox: u64,
    events_dropped: u64,
    read_only: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_outbox(OUTBOX)
    }
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one whose outbox holds this many events.
    pub fn with_outbox(outbox: u64) -> Self {
        let state = State {
            outbox,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Whether it refuses every transaction from now on.
    pub fn read_only(&self, yes: bool) {
        self.lock().read_only = yes;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn repositories(&self) -> BTreeSet<&RepositoryName> {
        let linked = self.links.keys().map(|(repository, _)| repository);
        let tagged = self.tags.keys().map(|(repository, _)| repository);
        linked.chain(tagged).collect()
    }

    fn linked(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        let key = (repository.clone(), digest.clone());
        self.links.contains_key(&key)
    }

    fn has_parent(&self, link: &Link) -> bool {
        self.manifests.values().any(|manifest| {
            let child = manifest.children.iter().any(|c| c.digest == link.digest);
            child && self.linked(&link.repository, &manifest.digest)
        })
    }

    fn deliveries(
        &self,
        webhook: &WebhookName,
    ) -> impl DoubleEndedIterator<Item = (EventRecord, Delivery)> {
        let of_webhook = self
            .deliveries
            .iter()
            .filter(move |((name, _), _)| name == webhook);
        of_webhook.filter_map(|((_, event), delivery)| {
            Some((self.events.get(event)?.clone(), delivery.clone()))
        })
    }
}

#[async_trait]
impl Metadata for Memory {
    async fn tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<TagRecord>, Error> {
        let key = (repository.clone(), tag.clone());
        Ok(self.lock().tags.get(&key).cloned())
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, Error> {
        let key = (repository.clone(), digest.clone());
        Ok(self.lock().links.get(&key).cloned())
    }

    async fn manifest(&self, digest: &Digest) -> Result<Option<Arc<ManifestRecord>>, Error> {
        Ok(self.lock().manifests.get(digest).cloned())
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<BlobRecord>, Error> {
        Ok(self.lock().blobs.get(digest).cloned())
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Tag>>, Error> {
        let state = self.lock();
        if !state.repositories().contains(repository) {
            return Ok(None);
        }
        let tags = state.tags.keys().filter(|(of, _)| of == repository);
        let tags = tags.map(|(_, tag)| tag);
        let tags = tags.filter(|tag| after.is_none_or(|after| tag.as_str() > after));
        Ok(Some(tags.take(limit).cloned().collect()))
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>, Error> {
        let state = self.lock();
        let names = state.repositories().into_iter();
        let names = names.filter(|name| after.is_none_or(|after| name.as_str() > after));
        Ok(names.take(limit).cloned().collect())
    }

    async fn extent(&self, repository: &RepositoryName) -> Result<Extent, Error> {
        let state = self.lock();
        let links = || state.links.values().filter(|l| l.repository == *repository);
        let bytes = links().filter_map(|link| state.blobs.get(&link.digest));
        Ok(Extent {
            tags: state.tags.keys().filter(|(of, _)| of == repository).count() as u64,
            manifests: links().filter(|l| l.kind == LinkKind::Manifest).count() as u64,
            bytes: bytes.map(|blob| blob.size).sum(),
        })
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Link>, Error> {
        let state = self.lock();
        let links = state.links.values().filter(|link| {
            link.repository == *repository
                && link.kind == LinkKind::Manifest
                && after.is_none_or(|after| link.digest.as_str() > after)
        });
        Ok(links.take(limit).cloned().collect())
    }

    async fn pushed_repository(&self, covered: &Pattern) -> Result<Option<RepositoryName>, Error> {
        let state = self.lock();
        let mut pushed = state
            .links
            .values()
            .filter(|link| link.origin == Origin::Pushed && covered.covers(&link.repository));
        Ok(pushed.next().map(|link| link.repository.clone()))
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Arc<ManifestRecord>>, Error> {
        let state = self.lock();
        let referring = state
            .manifests
            .values()
            .filter(|m| m.subject.as_ref() == Some(subject) && state.linked(repository, &m.digest));
        Ok(referring.cloned().collect())
    }

    async fn parents(
        &self,
        repository: &RepositoryName,
        child: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        let state = self.lock();
        let parents = state.manifests.values().filter(|manifest| {
            let is_child = manifest.children.iter().any(|c| c.digest == *child);
            is_child && state.linked(repository, &manifest.digest)
        });
        Ok(parents.map(|manifest| manifest.digest.clone()).collect())
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, Error> {
        let state = self.lock();
        let tags = state.tags.values().filter(|tag| {
            let complete = tag.complete.as_ref().is_some_and(|v| v.digest == *digest);
            tag.repository == *repository && (tag.current.digest == *digest || complete)
        });
        Ok(tags.map(|tag| tag.tag.clone()).collect())
    }

    async fn linked_by(&self, digest: &Digest, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        let state = self.lock();
        let links = state.links.keys().filter(|(_, linked)| linked == digest);
        let names = links.map(|(repository, _)| repository.clone());
        Ok(names.take(limit).collect())
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, Error> {
        let mut jobs: Vec<Job> = self.lock().jobs.values().cloned().collect();
        jobs.sort_by_key(|job| (job.due_at, job.id));
        jobs.truncate(limit);
        Ok(jobs)
    }

    async fn job(&self, repository: &RepositoryName, root: &Digest) -> Result<Option<Job>, Error> {
        let key = (repository.clone(), root.clone());
        Ok(self.lock().jobs.get(&key).cloned())
    }

    async fn pending_events(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error> {
        let state = self.lock();
        let pending = state
            .deliveries(webhook)
            .filter(|(_, delivery)| delivery.state == DeliveryState::Pending);
        Ok(pending.take(limit).collect())
    }

    async fn deliveries(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error> {
        Ok(self.lock().deliveries(webhook).rev().take(limit).collect())
    }

    async fn pending_counts(&self) -> Result<Vec<(WebhookName, u64)>, Error> {
        let mut counts = BTreeMap::new();
        for ((webhook, _), delivery) in &self.lock().deliveries {
            if delivery.state == DeliveryState::Pending {
                *counts.entry(webhook.clone()).or_insert(0) += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }

    async fn upload(&self, id: Uuid) -> Result<Option<UploadRecord>, Error> {
        Ok(self.lock().uploads.get(&id).cloned())
    }

    async fn stale_uploads(
        &self,
        before: WallTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>, Error> {
        let mut stale: Vec<UploadRecord> = self.lock().uploads.values().cloned().collect();
        stale.retain(|upload| upload.touched_at < before);
        stale.sort_by_key(|upload| upload.touched_at);
        stale.truncate(limit);
        Ok(stale)
    }

    async fn least_verified(&self, limit: usize) -> Result<Vec<BlobRecord>, Error> {
        let mut blobs: Vec<BlobRecord> = self.lock().blobs.values().cloned().collect();
        blobs.sort_by_key(|blob| blob.verified_at);
        blobs.truncate(limit);
        Ok(blobs)
    }

    async fn least_used(&self, limit: usize) -> Result<Vec<Link>, Error> {
        let state = self.lock();
        let mut roots: Vec<Link> = state
            .links
            .values()
            .filter(|link| link.kind == LinkKind::Manifest && link.origin != Origin::Pushed)
            .filter(|link| !state.has_parent(link))
            .cloned()
            .collect();
        roots.sort_by_key(|link| link.used_at);
        roots.truncate(limit);
        Ok(roots)
    }

    async fn unreferenced(&self, before: WallTime, limit: usize) -> Result<Vec<BlobRecord>, Error> {
        let state = self.lock();
        let linked: BTreeSet<&Digest> = state.links.keys().map(|(_, digest)| digest).collect();
        let mut loose: Vec<BlobRecord> = state
            .blobs
            .values()
            .filter(|blob| blob.stored_at < before && !linked.contains(&blob.digest))
            .cloned()
            .collect();
        loose.sort_by_key(|blob| blob.stored_at);
        loose.truncate(limit);
        Ok(loose)
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let state = self.lock();
        Ok(Totals {
            blobs: state.blobs.len() as u64,
            bytes: state.blobs.values().map(|blob| blob.size).sum(),
            manifests: state.manifests.len() as u64,
            tags: state.tags.len() as u64,
            repositories: state.repositories().len() as u64,
            jobs: state.jobs.len() as u64,
            events: state.events.len() as u64,
            events_dropped: state.events_dropped,
        })
    }

    async fn value(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.lock().values.get(key).cloned())
    }

    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let state = self.lock();
        let found = state
            .values
            .iter()
            .filter(|(key, _)| key.starts_with(prefix));
        Ok(found
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), Error> {
        let mut state = self.lock();
        if state.read_only {
            return Err(Error::ReadOnly);
        }
        for op in ops {
            state.apply(op);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metadata::conformance;

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        conformance::run(&|outbox| async move {
            Arc::new(Memory::with_outbox(outbox)) as Arc<dyn Metadata>
        })
        .await;
    }
}
