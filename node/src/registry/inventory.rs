//! What this node holds, for people: repositories, tags, manifests with what is stored per platform, and whether something is whole.
//!
//! Records alone are read, no bytes but those of a manifest that was asked for. Nothing here is shown to clients of the registry: the
//! control plane asks, for somebody with a role in the mesh.

use wire::{
    api::inventory::{Deleted, Holding, Listed, Manifest, ManifestBody, Page, Repository, Tag},
    digest::Digest,
    platform::Platform,
    reference::Reference,
    repository::RepositoryName,
};

use super::{Error, Registry};
use crate::{
    copy::closure,
    request::Request,
    rule::Covered,
    store::{
        self,
        metadata::{ChildKind, Link, LinkKind, Origin},
    },
};

/// How many items a part of a list has at most, and when nobody says.
const MOST: usize = 500;
/// How many repositories are looked at for a digest that is asked for without one.
const REPOSITORIES: usize = 100;

impl Registry {
    /// Its repositories.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn repositories(&self, page: &Page) -> Result<Listed<Repository>, store::Error> {
        let metadata = self.inner.store.metadata();
        let limit = limit(page);
        let names = metadata
            .repositories(page.after.as_deref(), limit + 1)
            .await?;
        let mut items = Vec::new();
        for name in names.iter().take(limit) {
            let extent = metadata.extent(name).await?;
            let rule = self.inner.rules.load().resolve(name);
            items.push(Repository {
                name: name.clone(),
                rule: rule.map(|covered| covered.active.rule.name.clone()),
                tags: extent.tags,
                manifests: extent.manifests,
                bytes: extent.bytes,
            });
        }
        let next = next(
            names.len() > limit,
            items.last().map(|item| item.name.to_string()),
        );
        Ok(Listed { items, next })
    }

    /// The tags of a repository; `None` when nothing is known of it.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn held_tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
    ) -> Result<Option<Listed<Tag>>, store::Error> {
        let metadata = self.inner.store.metadata();
        let limit = limit(page);
        let after = page.after.as_deref();
        let Some(tags) = metadata.tags(repository, after, limit + 1).await? else {
            return Ok(None);
        };
        let mut items = Vec::new();
        for tag in tags.iter().take(limit) {
            // Deleted since it was listed.
            let Some(record) = metadata.tag(repository, tag).await? else {
                continue;
            };
            let complete = self.is_whole(repository, &record.current.digest).await?;
            let pushed = record.origin == Origin::Pushed;
            items.push(Tag {
                name: record.tag,
                digest: record.current.digest,
                updated_at: record.observed_at,
                checked_at: (!pushed).then_some(record.checked_at),
                complete,
            });
        }
        let next = next(
            tags.len() > limit,
            items.last().map(|item| item.name.to_string()),
        );
        Ok(Some(Listed { items, next }))
    }

    /// The manifests of a repository; `None` when nothing is known of it.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn held_manifests(
        &self,
        repository: &RepositoryName,
        page: &Page,
    ) -> Result<Option<Listed<Manifest>>, store::Error> {
        let metadata = self.inner.store.metadata();
        let limit = limit(page);
        let links = metadata
            .manifests(repository, page.after.as_deref(), limit + 1)
            .await?;
        if links.is_empty() && metadata.tags(repository, None, 1).await?.is_none() {
            return Ok(None);
        }
        let covered = self.inner.rules.load().resolve(repository);
        let mut items = Vec::new();
        for link in links.iter().take(limit) {
            items.extend(self.held(link, covered.as_ref()).await?);
        }
        let last = links.get(limit.saturating_sub(1));
        let next = next(
            links.len() > limit,
            last.map(|link| link.digest.to_string()),
        );
        Ok(Some(Listed { items, next }))
    }

    /// One manifest with its bytes; `None` when it is not here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn held_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestBody>, store::Error> {
        let Some(digest) = self.digest_here(repository, reference).await? else {
            return Ok(None);
        };
        let store = &self.inner.store;
        let Some(link) = store.metadata().link(repository, &digest).await? else {
            return Ok(None);
        };
        let covered = self.inner.rules.load().resolve(repository);
        let manifest = self.held(&link, covered.as_ref()).await?;
        let bytes = store.read_small(&digest).await?;
        Ok(manifest.zip(bytes).map(|(manifest, bytes)| ManifestBody {
            manifest,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }))
    }

    /// What of a reference is here. A digest without a repository is looked for in all of them.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn holds(
        &self,
        repository: Option<&RepositoryName>,
        reference: &Reference,
    ) -> Result<Holding, store::Error> {
        let metadata = self.inner.store.metadata();
        let repositories = match (repository, reference) {
            (Some(repository), _) => vec![repository.clone()],
            (None, Reference::Digest(digest)) => metadata.linked_by(digest, REPOSITORIES).await?,
            (None, Reference::Tag(_)) => Vec::new(),
        };
        let mut best = Holding {
            digest: None,
            complete: false,
            stored: Vec::new(),
        };
        for repository in &repositories {
            let Some(digest) = self.digest_here(repository, reference).await? else {
                continue;
            };
            let complete = self.is_whole(repository, &digest).await?;
            if complete || best.digest.is_none() {
                let covered = self.inner.rules.load().resolve(repository);
                let stored = self.stored_platforms(repository, &digest, None, covered.as_ref());
                best = Holding {
                    stored: stored.await,
                    digest: Some(digest),
                    complete,
                };
            }
            if complete {
                break;
            }
        }
        Ok(best)
    }

    /// Deletes a tag or manifest, or everything of a repository, from this node's storage.
    ///
    /// # Errors
    /// As a client's DELETE; `NameUnknown` when nothing of the repository is here.
    pub async fn evict(
        &self,
        repository: &RepositoryName,
        reference: Option<&Reference>,
        request: &Request,
    ) -> Result<Deleted, Error> {
        let before = self.inner.store.metadata().extent(repository).await?;
        match reference {
            Some(reference) => self.delete_manifest(repository, reference, request).await?,
            None => self.delete_all(repository, request).await?,
        }
        let after = self.inner.store.metadata().extent(repository).await?;
        Ok(Deleted {
            tags: before.tags.saturating_sub(after.tags),
            manifests: before.manifests.saturating_sub(after.manifests),
        })
    }

    /// Every manifest of a repository, one after the other; what clients push meanwhile may stay.
    async fn delete_all(
        &self,
        repository: &RepositoryName,
        request: &Request,
    ) -> Result<(), Error> {
        let metadata = self.inner.store.metadata();
        let mut links = metadata.manifests(repository, None, MOST).await?;
        if links.is_empty() {
            return Err(Error::NameUnknown {
                repository: repository.clone(),
                hint: None,
            });
        }
        while let Some(last) = links.last() {
            let after = last.digest.to_string();
            for link in &links {
                let reference = Reference::Digest(link.digest.clone());
                match self.delete_manifest(repository, &reference, request).await {
                    // It went with the closure of another.
                    Ok(()) | Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            links = metadata.manifests(repository, Some(&after), MOST).await?;
        }
        Ok(())
    }

    /// The digest that a reference has here, if its manifest is linked.
    pub(super) async fn digest_here(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, store::Error> {
        let metadata = self.inner.store.metadata();
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match metadata.tag(repository, tag).await? {
                Some(record) => record.current.digest,
                None => return Ok(None),
            },
        };
        let link = metadata.link(repository, &digest).await?;
        Ok(link
            .filter(|link| link.kind == LinkKind::Manifest)
            .map(|link| link.digest))
    }

    /// Whether a manifest can be served without an upstream with all that this node took of it: its own copy is committed, and so are
    /// those of the platforms that somebody began to pull, of which there must be one. What is refused because of a recall is not.
    pub(super) async fn is_whole(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, store::Error> {
        let metadata = self.inner.store.metadata();
        let link = metadata.link(repository, digest).await?;
        let Some(record) = metadata.manifest(digest).await? else {
            return Ok(false);
        };
        if !link.is_some_and(|link| link.complete) || self.not_in_recall(digest).await.is_err() {
            return Ok(false);
        }
        if !closure::is_index(&record) {
            return Ok(true);
        }
        let children = record.children.iter();
        let of_kind = children.filter(|child| child.kind == ChildKind::Manifest && !child.foreign);
        let (mut begun, mut whole) = (0_usize, 0_usize);
        let mut named = 0_usize;
        for child in of_kind {
            named += 1;
            if let Some(link) = metadata.link(repository, &child.digest).await? {
                begun += 1;
                whole += usize::from(link.complete);
            }
        }
        Ok(begun == whole && (whole > 0 || named == 0))
    }

    async fn held(
        &self,
        link: &Link,
        covered: Option<&Covered>,
    ) -> Result<Option<Manifest>, store::Error> {
        let metadata = self.inner.store.metadata();
        let Some(record) = metadata.manifest(&link.digest).await? else {
            return Ok(None);
        };
        let tags = metadata.tags_of(&link.repository, &link.digest).await?;
        let stored = self
            .stored_platforms(&link.repository, &link.digest, None, covered)
            .await;
        Ok(Some(Manifest {
            digest: link.digest.clone(),
            media_type: record.media_type.clone(),
            artifact_type: record.artifact_type.clone(),
            size: record.size,
            platform: self.platform_of(link).await?,
            tags,
            complete: self.is_whole(&link.repository, &link.digest).await?,
            stored,
            created_at: link.created_at,
            last_used_at: Some(link.used_at),
        }))
    }

    /// The platform that an index of the repository gives a manifest.
    async fn platform_of(&self, link: &Link) -> Result<Option<Platform>, store::Error> {
        let metadata = self.inner.store.metadata();
        for parent in metadata.parents(&link.repository, &link.digest).await? {
            let index = metadata.manifest(&parent).await?;
            let named = index.iter().flat_map(|index| &index.children);
            let platform = named
                .filter(|child| child.digest == link.digest)
                .find_map(|child| child.platform.clone());
            if platform.is_some() {
                return Ok(platform);
            }
        }
        Ok(None)
    }
}

fn limit(page: &Page) -> usize {
    match usize::try_from(page.limit) {
        Ok(0) | Err(_) => MOST,
        Ok(limit) => limit.min(MOST),
    }
}

/// Where the next part begins.
fn next(more: bool, last: Option<String>) -> Option<String> {
    last.filter(|_| more)
}
