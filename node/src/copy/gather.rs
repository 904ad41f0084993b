//! Looks up what of a manifest's closure is here, as far as `closure` will ask.

use std::sync::Arc;

use topology::model::rule::Platforms;
use wire::{digest::Digest, repository::RepositoryName};

use super::closure::{self, Known};
use crate::store::{
    self, Store,
    metadata::{ChildKind, ManifestRecord},
};

/// Adds to `known` what is stored and linked of the closure of `root`. What is known already is not looked up again.
pub(super) async fn gather(
    store: &Store,
    repository: &RepositoryName,
    root: &Digest,
    platforms: &Platforms,
    known: &mut Known,
) -> Result<(), store::Error> {
    let mut open = vec![root.clone()];
    let mut visited = std::collections::HashSet::new();
    while let Some(digest) = open.pop() {
        if !visited.insert(digest.clone()) || visited.len() > closure::MAX_MANIFESTS {
            continue;
        }
        let record = match known.manifests.get(&digest) {
            Some(record) => Arc::clone(record),
            None => match manifest(store, repository, &digest).await? {
                Some(record) => Arc::clone(known.manifests.entry(digest).or_insert(record)),
                None => continue,
            },
        };
        for child in &record.children {
            if child.kind == ChildKind::Manifest {
                open.extend(closure::demanded(child, platforms).then(|| child.digest.clone()));
            } else if !child.foreign
                && !known.blobs.contains(&child.digest)
                && is_here(store, repository, &child.digest).await?
            {
                known.blobs.insert(child.digest.clone());
            }
        }
    }
    Ok(())
}

/// A manifest that is stored and linked.
async fn manifest(
    store: &Store,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Arc<ManifestRecord>>, store::Error> {
    if !is_here(store, repository, digest).await? {
        return Ok(None);
    }
    store.metadata().manifest(digest).await
}

/// Whether a content is stored and linked.
pub(crate) async fn is_here(
    store: &Store,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, store::Error> {
    let metadata = store.metadata();
    Ok(
        metadata.link(repository, digest).await?.is_some()
            && metadata.blob(digest).await?.is_some(),
    )
}
