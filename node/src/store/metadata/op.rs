//! The changes that a transaction is made of.
//!
//! Each is idempotent, so that a job which repeats its last step after a crash does no harm. Guards that must hold inside
//! the transaction (a later observation of a tag wins) are part of the op and not of its caller.

use std::sync::Arc;

use uuid::Uuid;
use wire::{digest::Digest, name::WebhookName, reference::Tag, repository::RepositoryName, time::WallTime};

use super::record::{BlobRecord, Delivery, EventRecord, Job, JobId, Link, ManifestRecord, TagRecord, UploadRecord, Version};

/// One change.
#[derive(Debug, Clone)]
pub enum Op {
    /// A content is stored.
    PutBlob(BlobRecord),
    /// A content is stored no more (its links are gone before).
    DeleteBlob(Digest),
    /// A content was hashed and found whole.
    Verified(Digest, WallTime),
    /// A repository may show a content. An existing link keeps its `created_at`, becomes `complete` when either is, and
    /// stays `Pushed` once it was.
    PutLink(Link),
    /// A repository shows a content no more: its tags with that digest go too.
    DeleteLink(RepositoryName, Digest),
    /// What a manifest says.
    PutManifest(Arc<ManifestRecord>),
    /// A tag's record. Kept out when the stored one was observed later; the stored `complete` is kept when this has none.
    PutTag(TagRecord),
    /// The last check found the tag unchanged: only `checked_at` moves, forwards, if `current` still has that digest.
    Checked(RepositoryName, Tag, Digest, WallTime),
    /// The tag's `complete` becomes this version, if `current` still is that version.
    Completed(RepositoryName, Tag, Version),
    /// A tag goes.
    DeleteTag(RepositoryName, Tag),
    /// Contents were served.
    Used(Vec<(RepositoryName, Digest)>, WallTime),
    /// A copy job, new or changed. A new one for the same (repository, root) joins its tags to the old one's.
    PutJob(Job),
    /// A copy job is done.
    DeleteJob(JobId),
    /// An event, to be delivered to these webhooks; with none it is not kept. The outbox holds 100,000 events and drops the
    /// oldest beyond.
    PutEvent(EventRecord, Vec<WebhookName>),
    /// How a delivery stands now.
    PutDelivery(Delivery),
    /// Delivered and failed deliveries older than this are forgotten, all but the newest 100 of each webhook.
    ForgetDeliveries(WallTime),
    /// An upload, new or grown.
    PutUpload(UploadRecord),
    /// An upload is over.
    DeleteUpload(Uuid),
    /// A small value of the node's own; `None` removes it.
    PutValue(String, Option<Vec<u8>>),
}
