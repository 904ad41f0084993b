//! The changes that a transaction is made of.
//!
//! Each is idempotent, so that a job which repeats its last step after a crash does no harm. Guards that must hold inside
//! the transaction (a later observation of a tag wins) are part of the op and not of its caller.

use std::sync::Arc;

use uuid::Uuid;
use wire::{
    digest::Digest, name::WebhookName, reference::Tag, repository::RepositoryName, time::WallTime,
};

use super::record::{
    BlobRecord, Delivery, EventRecord, Job, JobId, Link, ManifestRecord, TagRecord, UploadRecord,
    Version,
};

/// One change.
#[derive(Debug, Clone)]
pub enum Op {
    /// A process begins, at this time: copy jobs and deliveries that wait are due. What a clock that was ahead wrote about tags
    /// counts as observed now, and as checked at [`NOT_KNOWN`](super::record::NOT_KNOWN).
    Begin(WallTime),
    /// A content is stored.
    PutBlob(BlobRecord),
    /// A content is stored no more. Its links stay, so that the next pull fills it again; with the last of them goes what
    /// is known about it as a manifest.
    DeleteBlob(Digest),
    /// A content that no link refers to is stored no more; nothing happens when a link does.
    DeleteUnreferenced(Digest),
    /// A content was hashed and found whole.
    Verified(Digest, WallTime),
    /// A repository may show a content. An existing link keeps its `created_at`, becomes `complete` when either is, and
    /// stays `Pushed` once it was.
    PutLink(Link),
    /// A repository shows a content no more: its tags with that digest go too, and the copy job of that manifest.
    DeleteLink(RepositoryName, Digest),
    /// A manifest of this repository is complete no more, because somebody deleted what it needs: its link and the tags that
    /// counted on it say so.
    Lacking(RepositoryName, Digest),
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
    /// A copy job, new or changed. There is one per (repository, root): it keeps its id, and its tags are joined to the
    /// stored one's, never taken away.
    PutJob(Job),
    /// A copy job is over.
    DeleteJob(JobId),
    /// A copy job has done what it had to for these tags. It goes, unless others were joined to it meanwhile: then it stays
    /// with those, due at once.
    FinishJob(JobId, Vec<Tag>),
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
