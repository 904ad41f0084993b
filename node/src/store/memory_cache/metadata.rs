//! Metadata with memory in front: point lookups by memory first, everything else passed on.

use std::sync::Arc;

use async_trait::async_trait;
use runtime::Tasks;
use uuid::Uuid;
use wire::{
    digest::Digest, name::WebhookName, pattern::Pattern, reference::Tag,
    repository::RepositoryName, time::WallTime,
};

use super::{Key, MemoryCache, Value};
use crate::store::{
    Error,
    feed::Feed,
    holds::Holds,
    metadata::{
        BlobRecord, Delivery, EventRecord, Extent, Job, Link, ManifestRecord, Metadata, Op,
        TagRecord, Totals, UploadRecord,
    },
};

/// The decorator.
pub(crate) struct CachedMetadata {
    inner: Arc<dyn Metadata>,
    cache: MemoryCache,
    holds: Holds,
    feed: Arc<Feed>,
    tasks: Tasks,
}

impl CachedMetadata {
    pub(crate) fn new(
        inner: Arc<dyn Metadata>,
        cache: MemoryCache,
        holds: Holds,
        feed: Arc<Feed>,
        tasks: Tasks,
    ) -> Self {
        Self {
            inner,
            cache,
            holds,
            feed,
            tasks,
        }
    }
}

#[async_trait]
impl Metadata for CachedMetadata {
    async fn tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<TagRecord>, Error> {
        let key = Key::Tag(repository.clone(), tag.clone());
        if let Some(Value::Tag(record)) = self.cache.get(&key) {
            return Ok(Some(record));
        }
        let stamp = self.cache.stamp(&key);
        let record = self.inner.tag(repository, tag).await?;
        if let Some(record) = &record {
            self.cache.insert(key, stamp, Value::Tag(record.clone()));
        }
        Ok(record)
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, Error> {
        // Whoever deletes it is through first: see `holds`.
        self.holds.settled(digest).await;
        let key = Key::Link(repository.clone(), digest.clone());
        if let Some(Value::Link(link)) = self.cache.get(&key) {
            return Ok(Some(link));
        }
        let stamp = self.cache.stamp(&key);
        let link = self.inner.link(repository, digest).await?;
        if let Some(link) = &link {
            self.cache.insert(key, stamp, Value::Link(link.clone()));
        }
        Ok(link)
    }

    async fn manifest(&self, digest: &Digest) -> Result<Option<Arc<ManifestRecord>>, Error> {
        let key = Key::Manifest(digest.clone());
        if let Some(Value::Manifest(manifest)) = self.cache.get(&key) {
            return Ok(Some(manifest));
        }
        let stamp = self.cache.stamp(&key);
        let manifest = self.inner.manifest(digest).await?;
        if let Some(manifest) = &manifest {
            let value = Value::Manifest(Arc::clone(manifest));
            self.cache.insert(key, stamp, value);
        }
        Ok(manifest)
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<BlobRecord>, Error> {
        self.holds.settled(digest).await;
        self.inner.blob(digest).await
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Tag>>, Error> {
        self.inner.tags(repository, after, limit).await
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>, Error> {
        self.inner.repositories(after, limit).await
    }

    async fn extent(&self, repository: &RepositoryName) -> Result<Extent, Error> {
        self.inner.extent(repository).await
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Link>, Error> {
        self.inner.manifests(repository, after, limit).await
    }

    async fn pushed_repository(&self, covered: &Pattern) -> Result<Option<RepositoryName>, Error> {
        self.inner.pushed_repository(covered).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Arc<ManifestRecord>>, Error> {
        self.inner.referrers(repository, subject).await
    }

    async fn parents(
        &self,
        repository: &RepositoryName,
        child: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        self.inner.parents(repository, child).await
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, Error> {
        self.inner.tags_of(repository, digest).await
    }

    async fn linked_by(&self, digest: &Digest, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        self.inner.linked_by(digest, limit).await
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, Error> {
        self.inner.jobs(limit).await
    }

    async fn job(&self, repository: &RepositoryName, root: &Digest) -> Result<Option<Job>, Error> {
        self.inner.job(repository, root).await
    }

    async fn pending_events(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error> {
        self.inner.pending_events(webhook, limit).await
    }

    async fn deliveries(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error> {
        self.inner.deliveries(webhook, limit).await
    }

    async fn pending_counts(&self) -> Result<Vec<(WebhookName, u64)>, Error> {
        self.inner.pending_counts().await
    }

    async fn upload(&self, id: Uuid) -> Result<Option<UploadRecord>, Error> {
        self.inner.upload(id).await
    }

    async fn stale_uploads(
        &self,
        before: WallTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>, Error> {
        self.inner.stale_uploads(before, limit).await
    }

    async fn least_verified(&self, limit: usize) -> Result<Vec<BlobRecord>, Error> {
        self.inner.least_verified(limit).await
    }

    async fn least_used(&self, limit: usize) -> Result<Vec<Link>, Error> {
        self.inner.least_used(limit).await
    }

    async fn unreferenced(&self, before: WallTime, limit: usize) -> Result<Vec<BlobRecord>, Error> {
        self.inner.unreferenced(before, limit).await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        self.inner.totals().await
    }

    async fn value(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.inner.value(key).await
    }

    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.inner.values(prefix).await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), Error> {
        let (inner, cache) = (Arc::clone(&self.inner), self.cache.clone());
        let feed = Arc::clone(&self.feed);
        let run = self.tasks.spawn("commit", async move {
            let (touched, events) = (cache.touched_by(&ops), feed.of(&ops));
            let result = inner.commit(ops).await;
            cache.moved(&touched);
            if result.is_ok() {
                feed.committed(events);
            }
            result
        });
        run.await.unwrap_or(Err(Error::Closed))
    }
}
