//! May this repository show this content? A `Visible` is the answer yes; nothing stored is opened without one.
//!
//! Holding a digest is never enough: content is shown through a repository that refers to it. What is stored because of
//! another repository becomes this one's only after this rule's upstream confirmed it under this rule's identity (`fill/adopt.rs`);
//! then no byte is transferred. Where no rule covers the repository, not linked is not there, with the same answer and the same work.
//! Source: `spec/pull-through.md` steps 2 and 4, `reference/faults.md` T47.

use bytes::Bytes;
use wire::{digest::Digest, repository::RepositoryName};

use super::Registry;
use crate::store::{
    self,
    blob::Content,
    metadata::{TagRecord, Version},
};

/// The right to show one content through one repository. Only this file makes one.
#[derive(Debug, Clone)]
pub(super) struct Visible {
    repository: RepositoryName,
    digest: Digest,
}

/// A stored manifest.
#[derive(Debug, Clone)]
pub(super) struct StoredManifest {
    pub(super) version: Version,
    pub(super) bytes: Bytes,
}

impl Registry {
    /// Whether the repository refers to it.
    pub(super) async fn linked(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Visible>, store::Error> {
        let link = self.inner.store.metadata().link(repository, digest).await?;
        Ok(link.map(|_| Visible {
            repository: repository.clone(),
            digest: digest.clone(),
        }))
    }

    /// A version of a tag: its repository refers to it as long as the tag has it.
    pub(super) fn of_tag(record: &TagRecord, version: &Version) -> Visible {
        Visible {
            repository: record.repository.clone(),
            digest: version.digest.clone(),
        }
    }

    /// Opens a stored content; `None` when its bytes are not there or are damaged, which is the same to whoever wants them.
    pub(super) async fn content(&self, visible: &Visible) -> Result<Option<Content>, store::Error> {
        let opened = self.inner.store.blobs().open(&visible.digest).await;
        let content = self.sound(visible, opened)?;
        if content.is_some() {
            let store = &self.inner.store;
            store.used(&visible.repository, &visible.digest);
        }
        Ok(content)
    }

    /// The bytes of a stored manifest of this version, verified when they entered memory.
    pub(super) async fn stored(
        &self,
        visible: &Visible,
        version: &Version,
    ) -> Result<Option<StoredManifest>, store::Error> {
        let read = self.inner.store.read_small(&visible.digest).await;
        let bytes = self.sound(visible, read)?;
        if bytes.is_some() {
            let store = &self.inner.store;
            store.used(&visible.repository, &visible.digest);
        }
        let version = version.clone();
        Ok(bytes.map(|bytes| StoredManifest { version, bytes }))
    }

    /// A manifest that the repository refers to, by its digest.
    pub(super) async fn stored_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>, store::Error> {
        let Some(visible) = self.linked(repository, digest).await? else {
            return Ok(None);
        };
        let metadata = self.inner.store.metadata();
        let Some(record) = metadata.manifest(digest).await? else {
            return Ok(None);
        };
        let version = Version {
            digest: digest.clone(),
            media_type: record.media_type.clone(),
            size: record.size,
        };
        self.stored(&visible, &version).await
    }

    /// Damaged content counts as not there, and is reported.
    fn sound<T>(
        &self,
        visible: &Visible,
        read: Result<Option<T>, store::Error>,
    ) -> Result<Option<T>, store::Error> {
        match read {
            Err(error @ store::Error::Corrupt(_)) => {
                tracing::error!(digest = %visible.digest, repository = %visible.repository, %error, "stored content is damaged");
                self.inner.store.report("read", &error);
                Ok(None)
            }
            Ok(None) => {
                tracing::warn!(digest = %visible.digest, repository = %visible.repository, "linked content has no bytes");
                Ok(None)
            }
            Ok(Some(read)) => Ok(Some(read)),
            Err(error) => Err(error),
        }
    }
}
