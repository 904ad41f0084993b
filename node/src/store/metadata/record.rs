//! What the metadata holds: one struct per kind of record. Times are wall time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::{
    digest::{Algorithm, Digest},
    name::{RuleName, WebhookName},
    platform::Platform,
    reference::Tag,
    repository::RepositoryName,
    time::WallTime,
};

/// Where content of a repository came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A client pushed it: never evicted.
    Pushed,
    /// A rule filled it.
    Filled(RuleName),
}

/// One version of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its media type as it came.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The time of a check that was made by a clock that was ahead: in the future of everybody, so that it counts as never and expires
/// nothing, until any other time replaces it.
pub const NOT_KNOWN: WallTime = WallTime(i64::MAX);

/// What a tag means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag.
    pub tag: Tag,
    /// The last version seen; its manifest's bytes are stored, its children perhaps not yet.
    pub current: Version,
    /// The last version that can be served without an upstream; what stale answers give.
    pub complete: Option<Version>,
    /// When the origin was last known to agree: the time of the check less the `Age` that the upstream's answer carried.
    pub checked_at: WallTime,
    /// When the observation that set `current` began; a later observation is never replaced by an earlier one.
    pub observed_at: WallTime,
    /// Where it came from.
    pub origin: Origin,
}

/// How a repository refers to a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    /// As a manifest.
    Manifest,
    /// As a blob.
    Blob,
}

/// That a repository may show a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The repository.
    pub repository: RepositoryName,
    /// The content.
    pub digest: Digest,
    /// As what.
    pub kind: LinkKind,
    /// For manifests: whether its copy was committed (for an index: itself and the platforms the rule asks for).
    pub complete: bool,
    /// Where it came from.
    pub origin: Origin,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last served.
    pub used_at: WallTime,
}

/// What a child is to its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildKind {
    /// The configuration of an image.
    Config,
    /// A layer of an image.
    Layer,
    /// A manifest of an index.
    Manifest,
}

/// A descriptor in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// What it is.
    pub kind: ChildKind,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, as the manifest says.
    pub size: u64,
    /// Its media type, as the manifest says.
    pub media_type: String,
    /// Its platform, where one is named.
    pub platform: Option<Platform>,
    /// Whether its bytes live elsewhere (`urls`, non-distributable types): never fetched, never awaited.
    pub foreign: bool,
}

/// What a stored manifest says; its bytes are a blob of the same digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Its digest.
    pub digest: Digest,
    /// Its media type as it came.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it needs, in the manifest's order.
    pub children: Vec<Child>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// Its artifact type for referrers lists (with the fallback to the configuration's type).
    pub artifact_type: Option<String>,
    /// Its annotations, for referrers lists.
    pub annotations: BTreeMap<String, String>,
}

/// A stored content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRecord {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored.
    pub stored_at: WallTime,
    /// When its bytes were last hashed.
    pub verified_at: WallTime,
}

/// The identity of a copy job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub Uuid);

/// A durable copy job: makes one manifest complete in one repository. There is at most one per (repository, root).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its identity, stable across restarts.
    pub id: JobId,
    /// The repository on this node.
    pub repository: RepositoryName,
    /// The rule it copies under.
    pub rule: RuleName,
    /// The manifest to make complete.
    pub root: Digest,
    /// The tags by which it was pulled: each gets its record and its event at the commit.
    pub tags: Vec<Tag>,
    /// The platform of the root, where its index named one.
    pub platform: Option<Platform>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub due_at: WallTime,
    /// When it was recorded.
    pub created_at: WallTime,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// Children that the upstream does not have; tried again when the tag is next checked.
    pub missing: Vec<Digest>,
    /// The client's request that caused it, for events.
    pub request: RequestInfo,
}

/// The request that caused a change, as events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestInfo {
    /// The request's id.
    pub id: String,
    /// The host the client asked.
    pub host: String,
    /// Its method.
    pub method: String,
    /// The client's `User-Agent`, cut to 256 characters.
    pub user_agent: String,
    /// The trace it belongs to, 32 hexadecimal digits.
    pub trace_id: String,
}

/// An event in the outbox: the body as it is sent, the same at every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Its identity, stable across retries; grows with time.
    pub id: Uuid,
    /// Its repository and tag, which decide its order.
    pub key: String,
    /// The action.
    pub action: String,
    /// The JSON body.
    pub body: Vec<u8>,
    /// When it was recorded.
    pub recorded_at: WallTime,
}

/// Where the delivery of an event to a webhook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// To be sent, or sent again.
    Pending,
    /// Taken by the receiver.
    Delivered,
    /// Given up after 24 h.
    Failed,
}

/// The delivery of one event to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The webhook.
    pub webhook: WebhookName,
    /// The event.
    pub event: Uuid,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next.
    pub due_at: WallTime,
    /// When it was last sent.
    pub sent_at: Option<WallTime>,
    /// What the receiver answered: a status, or why there was none.
    pub response: Option<String>,
}

/// A client's upload, between requests. Its bytes are the stage of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// Its id, as in its URL.
    pub id: Uuid,
    /// The repository it belongs to.
    pub repository: RepositoryName,
    /// The algorithm the client announced.
    pub algorithm: Algorithm,
    /// Bytes durable so far.
    pub length: u64,
    /// When it was begun.
    pub created_at: WallTime,
    /// When it was last written to.
    pub touched_at: WallTime,
}

/// How much one repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Its tags.
    pub tags: u64,
    /// Manifests linked to it.
    pub manifests: u64,
    /// Bytes of the stored contents linked to it; what it shares with others counts in each.
    pub bytes: u64,
}

/// Counts and bytes of everything stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Stored contents.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Stored manifests.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Repositories.
    pub repositories: u64,
    /// Copy jobs.
    pub jobs: u64,
    /// Events in the outbox, delivered or not.
    pub events: u64,
    /// Events that the outbox dropped because it was full, since the store was made.
    pub events_dropped: u64,
}
