//! The verbs of a registry: what a node does, whoever speaks to it.
//!
//! Called by http, agent and doctor. Calls rule, fill, copy, upstream, store. Knows neither HTTP nor disk. Each verb asks
//! first where the repository belongs (`place`): nowhere but here, or under a rule. Decisions are pure and in files of their
//! own: `freshness` (may a record be served), `verdict` (what a client gets when the upstream did not simply answer).

use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::{Clock, Tasks};
use wire::name::{MeshName, NodeName};

use crate::{copy::Copies, event::Recorder, fill::Fills, rule::Rules, store::Store};

pub mod answer;
mod blob;
mod check;
mod delete;
pub mod error;
pub mod freshness;
mod list;
mod manifest;
mod place;
mod referrer;
mod remembered;
mod tag;
mod upload;
pub mod verdict;
mod visible;

pub use answer::{
    BlobAnswer, BlobBody, CatalogAnswer, ManifestAnswer, Mount, Outcome, Provenance, PutAnswer, ReferrersAnswer, TagsAnswer,
    Upload, UploadStart, UploadStarted,
};
pub use error::{Error, Trouble};

// The verbs, by file. `request` is &crate::request::Request, `repository` &RepositoryName everywhere.
//
// manifest.rs  manifest(repository, reference: &Reference, verb: ContentVerb, request) -> Result<ManifestAnswer, Error>
//              put_manifest(repository, reference: &Reference, tags: &[Tag], content_type: Option<&str>, bytes: Bytes, request)
//                  -> Result<PutAnswer, Error>
// blob.rs      blob(repository, digest: &Digest, verb: ContentVerb, range: Option<ByteRange>, request) -> Result<BlobAnswer, Error>
// delete.rs    delete_manifest(repository, reference: &Reference, request) -> Result<(), Error>
//              delete_blob(repository, digest: &Digest, request) -> Result<(), Error>
// upload.rs    start_upload(repository, start: UploadStart, request) -> Result<UploadStarted, Error>
//              append_upload(id: Uuid, repository, expected: Option<Span>, body: S) -> Result<Upload, Error>
//                  where S: Stream<Item = Result<Bytes, E>> + Send, E: Display
//              finish_upload(id: Uuid, repository, digest: &Digest, expected: Option<Span>, body: S) -> Result<Digest, Error>
//              push_blob(repository, digest: &Digest, body: S) -> Result<Digest, Error>             (the single POST)
//              upload_status(id: Uuid, repository) -> Result<Upload, Error>
//              cancel_upload(id: Uuid, repository) -> Result<(), Error>
// list.rs      tags(repository, page: &Page, request) -> Result<TagsAnswer, Error>
//              catalog(page: &Page, may_see: impl Fn(&RepositoryName) -> bool + Send) -> Result<CatalogAnswer, Error>
// referrer.rs  referrers(repository, subject: &Digest, artifact_type: Option<&str>, page: &Page, request)
//                  -> Result<ReferrersAnswer, Error>

/// What a registry is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The mesh, to find this node in a request's chain.
    pub mesh: MeshName,
    /// This node.
    pub node: NodeName,
}

/// A registry: every verb of the distribution-spec, over a store and the rules in force. Clones share it.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}
