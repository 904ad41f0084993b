//! What the verbs answer: values, from which `http` makes headers and bodies.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use uuid::Uuid;
use wire::{
    cache_status::CacheStatus,
    digest::{Algorithm, Digest},
    name::RuleName,
    range::Span,
    reference::Tag,
    repository::RepositoryName,
};

use crate::{fill::Fill, store::blob::Content};

/// How a request ended, as `regmesh_requests_total{outcome}` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the store, nobody was asked.
    Hit,
    /// From the store after the upstream agreed.
    Checked,
    /// From the store although the upstream could not be asked.
    Stale,
    /// From the upstream.
    Fill,
    /// From the upstream, by a request that somebody else had begun.
    Collapsed,
    /// From the store of a repository that no rule covers.
    Local,
    /// Refused.
    Denied,
    /// Anything else that went wrong.
    Error,
}

impl Outcome {
    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Checked => "checked",
            Self::Stale => "stale",
            Self::Fill => "fill",
            Self::Collapsed => "collapsed",
            Self::Local => "local",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }
}

/// Where an answer came from: headers, metrics and the log line are made of it.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// How it ended.
    pub outcome: Outcome,
    /// The rule that covers the repository.
    pub rule: Option<RuleName>,
    /// This node's `Cache-Status` member; none of an answer that is no content.
    pub cache: Option<CacheStatus>,
    /// The upstream's `Cache-Status`, to stand before ours.
    pub upstream_cache: Option<String>,
    /// Whole seconds since the origin was last known to agree: `Age`, on tags.
    pub age: Option<u64>,
    /// What `Warning: 299` says.
    pub warning: Option<String>,
}

impl Provenance {
    /// This node's own, and nobody else's: no rule is involved.
    #[must_use]
    pub fn local() -> Self {
        Self {
            outcome: Outcome::Local,
            rule: None,
            cache: None,
            upstream_cache: None,
            age: None,
            warning: None,
        }
    }
}

/// A manifest.
#[derive(Debug, Clone)]
pub struct ManifestAnswer {
    /// Its digest.
    pub digest: Digest,
    /// Its type as it came.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, verified; `None` for HEAD.
    pub bytes: Option<Bytes>,
    /// Where from.
    pub provenance: Provenance,
}

/// A blob, or a part of it.
#[derive(Debug, Clone)]
pub struct BlobAnswer {
    /// Its digest.
    pub digest: Digest,
    /// The size of the whole.
    pub size: u64,
    /// The part that is sent: 206 with this `Content-Range`. `None` is the whole: 200.
    pub part: Option<Span>,
    /// Its bytes.
    pub body: BlobBody,
    /// Where from.
    pub provenance: Provenance,
}

impl BlobAnswer {
    /// The bytes that are sent, end exclusive: of `part`, else of the whole.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.part
            .map_or(0..self.size, |part| part.first..part.last.saturating_add(1))
    }
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum BlobBody {
    /// HEAD.
    None,
    /// Stored; read `BlobAnswer::range` of it.
    Stored(Content),
    /// On their way; `Fill::read` of `BlobAnswer::range`.
    Filling(Arc<Fill>),
}

/// A manifest was pushed.
#[derive(Debug, Clone)]
pub struct PutAnswer {
    /// Its digest.
    pub digest: Digest,
    /// What it refers to: `OCI-Subject`.
    pub subject: Option<Digest>,
    /// The tags it has now: `OCI-Tag`, of a push by digest.
    pub tags: Vec<Tag>,
}

/// An upload, or none because there was nothing to upload.
#[derive(Debug, Clone)]
pub enum UploadStarted {
    /// 201: the blob is linked from the other repository.
    Mounted(Digest),
    /// 202: here it goes.
    Upload(Upload),
}

/// A client's upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: Uuid,
    /// Bytes here so far.
    pub length: u64,
}

/// What an upload is begun with.
#[derive(Debug, Clone)]
pub struct UploadStart {
    /// Take this blob from that repository instead; `allowed` says whether the caller may read there.
    pub mount: Option<Mount>,
    /// The algorithm its digest will have.
    pub algorithm: Algorithm,
}

/// A blob to link instead of uploading it.
#[derive(Debug, Clone)]
pub struct Mount {
    /// The blob.
    pub digest: Digest,
    /// The repository that has it.
    pub from: RepositoryName,
    /// Whether the caller may read there; if not, an ordinary upload begins, as if it had not been found.
    pub allowed: bool,
}

/// A page of tags.
#[derive(Debug, Clone)]
pub struct TagsAnswer {
    /// In lexical order.
    pub tags: Vec<String>,
    /// The last tag of this page, when another page follows: `Link` with `last`.
    pub next: Option<String>,
    /// Where from.
    pub provenance: Provenance,
}

/// A page of repositories.
#[derive(Debug, Clone)]
pub struct CatalogAnswer {
    /// In lexical order.
    pub repositories: Vec<RepositoryName>,
    /// The last repository of this page, when another page follows.
    pub next: Option<String>,
}

/// What refers to a manifest.
#[derive(Debug, Clone)]
pub struct ReferrersAnswer {
    /// An OCI image index.
    pub index: Bytes,
    /// Whether only the wanted artifact type is listed: `OCI-Filters-Applied: artifactType`.
    pub filtered: bool,
    /// The last digest of this page, when another page follows.
    pub next: Option<String>,
    /// Where from.
    pub provenance: Provenance,
}
