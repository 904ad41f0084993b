//! Where a rule's content comes from: the seam to other registries.
//!
//! Called by registry, fill and copy, one object per rule, so that nothing of one rule (tokens, breaker, budget) is another's.
//! An answer is a value; whatever else happened is an `Error` that says whose fault it was and whether to try again.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use wire::{
    digest::Digest, page::Page, reference::Reference, repository::RepositoryName, time::WallTime,
};

use crate::request::Request;

pub mod breaker;
pub mod budget;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod error;
pub mod grant;
pub mod observer;
pub mod pool;
pub mod profile;
pub mod reach;
pub mod remote;
#[cfg(any(test, feature = "testing"))]
pub mod scripted;

pub mod unusable;

pub use error::Error;
pub use reach::Reach;

/// What a HEAD or GET of a manifest said.
#[derive(Debug, Clone)]
pub struct ManifestHead {
    /// `Docker-Content-Digest`, or the hash of a body fetched because there was none.
    pub digest: Digest,
    /// `Content-Type` without parameters.
    pub media_type: String,
    /// `Content-Length`.
    pub size: u64,
    /// The `Age` the answer carried, in seconds.
    pub age: u64,
    /// The upstream's `Cache-Status`, to which this node appends its member.
    pub cache_status: Option<String>,
    /// The upstream's `Warning`, if it served stale.
    pub warning: Option<String>,
    /// The whole manifest, verified, where HEAD did not tell its digest and a GET had to be asked instead.
    pub body: Option<Bytes>,
}

/// The size of a blob, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobHead {
    /// `Content-Length`.
    pub size: u64,
    /// The upstream's `Cache-Status`, to which this node appends its member.
    pub cache_status: Option<String>,
}

/// A manifest, whole and verified.
#[derive(Debug, Clone)]
pub struct ManifestBody {
    /// What its headers said; the digest is the computed one.
    pub head: ManifestHead,
    /// Its bytes as they came, at most 4 MiB.
    pub bytes: Bytes,
}

/// The beginning of a blob's transfer.
pub struct BlobBody {
    /// The size of the whole blob.
    pub size: u64,
    /// The offset of the first byte that `stream` yields: the one asked for, or 0 when the upstream ignored the range.
    pub offset: u64,
    /// The upstream's `Cache-Status`.
    pub cache_status: Option<String>,
    /// The bytes, not verified; ends with an error when the transfer breaks or is silent for too long.
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

/// A range of a blob to ask for: from `start`, to the end or up to and including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRange {
    /// The first byte.
    pub start: u64,
    /// The last byte, inclusive; `None` for all that follows.
    pub end: Option<u64>,
}

/// A page of tags.
#[derive(Debug, Clone, Default)]
pub struct TagPage {
    /// Tags in the upstream's order.
    pub tags: Vec<String>,
    /// What to ask for next; `None` at the end.
    pub next: Option<Page>,
    /// The upstream's `Cache-Status`.
    pub cache_status: Option<String>,
    /// The upstream's `Warning`, if it could not list all.
    pub warning: Option<String>,
}

/// What refers to a manifest.
#[derive(Debug, Clone)]
pub struct Referrers {
    /// The bytes of an image index.
    pub index: Bytes,
    /// The upstream's `Cache-Status`.
    pub cache_status: Option<String>,
    /// The upstream's `Warning`, if it could not list all.
    pub warning: Option<String>,
}

/// How long an answer may take to begin, tokens, redirects and the retry included. Blobs have no such limit: their transfers
/// end by silence alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Patience {
    /// Something stored can be served instead: 2 s by default.
    Short,
    /// Nothing else can be served: 8 s by default.
    Long,
}

/// A registry as one rule sees it. Every implementation passes `upstream::conformance`. Retries once, next to the fault
/// only; follows redirects; never blocks on anything but the network and its own token source.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Whose it is, for metrics: the host, or the node's name.
    fn name(&self) -> &str;

    /// When the token of our own that is in hand for it ends: a grant, a token of a foreign tenant. None where there is none in hand, or it
    /// does not end (a password).
    fn token_ends(&self) -> Option<WallTime> {
        None
    }

    /// A look at the way there: no repository, no credential, no circuit, nothing noted. Never fails, says what it found.
    async fn reach(&self) -> Reach;

    /// HEAD of a manifest. An upstream whose HEAD carries no digest or is refused is asked by GET and remembered for it; the answer
    /// then has the manifest with it.
    async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        patience: Patience,
        request: &Request,
    ) -> Result<ManifestHead, Error>;

    /// GET of a manifest. By digest the bytes hash to it, else `Error` says wrong bytes.
    async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        request: &Request,
    ) -> Result<ManifestBody, Error>;

    /// HEAD of a blob: its size.
    async fn head_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        request: &Request,
    ) -> Result<BlobHead, Error>;

    /// GET of a blob, whole or from an offset.
    async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<BlobRange>,
        request: &Request,
    ) -> Result<BlobBody, Error>;

    /// A page of its tags.
    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        patience: Patience,
        request: &Request,
    ) -> Result<TagPage, Error>;

    /// Everything that refers to `subject`: by the referrers API, all pages joined, or where
    /// there is none by the fallback tag. "Could not ask" is an error, never an empty list.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        patience: Patience,
        request: &Request,
    ) -> Result<Referrers, Error>;
}
