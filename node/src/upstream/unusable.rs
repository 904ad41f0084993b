//! An upstream that cannot be asked at all, because of how the rule stands: it says so, each time, and touches nothing.

use async_trait::async_trait;
use wire::{digest::Digest, page::Page, reference::Reference, repository::RepositoryName};

use super::{
    BlobBody, BlobHead, BlobRange, Error, ManifestBody, ManifestHead, Patience, Reach, Referrers,
    TagPage, Upstream, reach::Step,
};
use crate::request::Request;

/// Answers every question with the same error.
#[derive(Debug, Clone)]
pub struct Unusable {
    name: String,
    error: Error,
}

impl Unusable {
    /// An upstream of that name that always fails this way.
    #[must_use]
    pub fn new(name: String, error: Error) -> Self {
        Self { name, error }
    }
}

#[async_trait]
impl Upstream for Unusable {
    fn name(&self) -> &str {
        &self.name
    }

    async fn reach(&self) -> Reach {
        Reach::blocked(self.name.clone(), Step::Rule, self.error.to_string())
    }

    async fn head_manifest(
        &self,
        _repository: &RepositoryName,
        _reference: &Reference,
        _patience: Patience,
        _request: &Request,
    ) -> Result<ManifestHead, Error> {
        Err(self.error.clone())
    }

    async fn get_manifest(
        &self,
        _repository: &RepositoryName,
        _reference: &Reference,
        _request: &Request,
    ) -> Result<ManifestBody, Error> {
        Err(self.error.clone())
    }

    async fn head_blob(
        &self,
        _repository: &RepositoryName,
        _digest: &Digest,
        _request: &Request,
    ) -> Result<BlobHead, Error> {
        Err(self.error.clone())
    }

    async fn get_blob(
        &self,
        _repository: &RepositoryName,
        _digest: &Digest,
        _range: Option<BlobRange>,
        _request: &Request,
    ) -> Result<BlobBody, Error> {
        Err(self.error.clone())
    }

    async fn tags(
        &self,
        _repository: &RepositoryName,
        _page: &Page,
        _patience: Patience,
        _request: &Request,
    ) -> Result<TagPage, Error> {
        Err(self.error.clone())
    }

    async fn referrers(
        &self,
        _repository: &RepositoryName,
        _subject: &Digest,
        _patience: Patience,
        _request: &Request,
    ) -> Result<Referrers, Error> {
        Err(self.error.clone())
    }
}
