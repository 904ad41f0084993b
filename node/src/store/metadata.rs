//! Tags, manifests, links, jobs, events and uploads: the seam to SQLite (and, later, to PostgreSQL).
//!
//! Lookups are separate methods; every change is a list of `Op`s that happen in one transaction or not at all, so that an
//! event is never recorded without the commit it tells of.

use std::sync::Arc;

use async_trait::async_trait;
use wire::{
    digest::Digest, name::WebhookName, reference::Tag, repository::RepositoryName, time::WallTime,
};

use super::Error;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod merge;
pub mod op;
pub mod record;
pub mod sqlite;

/// The most events that the outbox holds.
pub const OUTBOX: u64 = 100_000;
/// How many deliveries of each webhook are kept whatever their age.
pub const KEPT_DELIVERIES: usize = 100;

pub use op::Op;
pub use record::{
    BlobRecord, Child, ChildKind, Delivery, DeliveryState, EventRecord, Extent, Job, JobId, Link,
    LinkKind, ManifestRecord, Origin, TagRecord, Totals, UploadRecord, Version,
};

/// What is known about contents. Every implementation passes `metadata::conformance`.
#[async_trait]
pub trait Metadata: Send + Sync + 'static {
    /// The record of a tag.
    async fn tag(&self, repository: &RepositoryName, tag: &Tag)
    -> Result<Option<TagRecord>, Error>;

    /// Whether and how a repository refers to a digest.
    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, Error>;

    /// What a stored manifest says.
    async fn manifest(&self, digest: &Digest) -> Result<Option<Arc<ManifestRecord>>, Error>;

    /// A stored content (manifests are contents too).
    async fn blob(&self, digest: &Digest) -> Result<Option<BlobRecord>, Error>;

    /// Tags of a repository in lexical order, beginning after `after`, at most `limit`; `None` when nothing of the
    /// repository is known at all.
    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Tag>>, Error>;

    /// Repositories in lexical order, beginning after `after`, at most `limit`.
    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>, Error>;

    /// How much a repository has: tags, manifests, bytes of its contents.
    async fn extent(&self, repository: &RepositoryName) -> Result<Extent, Error>;

    /// Links to manifests in the order of their digests, beginning after `after`, at most `limit`.
    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Link>, Error>;

    /// A repository among those that `covered` takes which holds pushed content, if any (for `Conflict`).
    async fn pushed_repository(
        &self,
        covered: &wire::pattern::Pattern,
    ) -> Result<Option<RepositoryName>, Error>;

    /// Manifests linked to `repository` whose subject is `subject`.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Arc<ManifestRecord>>, Error>;

    /// Manifests linked to `repository` that have `child` as a child.
    async fn parents(
        &self,
        repository: &RepositoryName,
        child: &Digest,
    ) -> Result<Vec<Digest>, Error>;

    /// Tags of `repository` whose current or complete version is `digest`.
    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, Error>;

    /// Repositories that link `digest`, at most `limit`.
    async fn linked_by(&self, digest: &Digest, limit: usize) -> Result<Vec<RepositoryName>, Error>;

    /// Copy jobs, earliest due first, at most `limit`.
    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, Error>;

    /// The copy job for a manifest in a repository.
    async fn job(&self, repository: &RepositoryName, root: &Digest) -> Result<Option<Job>, Error>;

    /// Undelivered events of a webhook in the order they were recorded, at most `limit`.
    async fn pending_events(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error>;

    /// The last deliveries of a webhook, newest first, for `list-events`.
    async fn deliveries(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error>;

    /// How many events wait, by webhook.
    async fn pending_counts(&self) -> Result<Vec<(WebhookName, u64)>, Error>;

    /// A client's upload.
    async fn upload(&self, id: uuid::Uuid) -> Result<Option<UploadRecord>, Error>;

    /// Uploads not touched since `before`, at most `limit`.
    async fn stale_uploads(
        &self,
        before: WallTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>, Error>;

    /// Stored contents, least recently verified first, for the scrubber.
    async fn least_verified(&self, limit: usize) -> Result<Vec<BlobRecord>, Error>;

    /// Filled root manifests (linked by a repository, not a child of another manifest linked there), least recently used
    /// first, for eviction.
    async fn least_used(&self, limit: usize) -> Result<Vec<Link>, Error>;

    /// Contents that no link refers to, stored before `before`, at most `limit`.
    async fn unreferenced(&self, before: WallTime, limit: usize) -> Result<Vec<BlobRecord>, Error>;

    /// Counts and bytes.
    async fn totals(&self) -> Result<Totals, Error>;

    /// A small value of the node's own, by key (rule states, keys of tokens).
    async fn value(&self, key: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Values whose keys begin with `prefix`.
    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error>;

    /// Carries out all of `ops` in one durable transaction, or none of them.
    async fn commit(&self, ops: Vec<Op>) -> Result<(), Error>;
}
