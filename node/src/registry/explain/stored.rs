//! What of an image is here, platform by platform, from the records alone.

use std::collections::HashSet;

use wire::{api::explain::Stored, digest::Digest, platform::Platform, repository::RepositoryName};

use crate::{
    copy::{closure, is_here},
    registry::Registry,
    rule::Covered,
    store::metadata::{Child, ChildKind},
};

/// How many platforms are told of.
const MOST: usize = 256;

impl Registry {
    /// The platforms of `root` (only `asked`, if given), or the one image that it is.
    pub(in crate::registry) async fn stored_platforms(
        &self,
        repository: &RepositoryName,
        root: &Digest,
        asked: Option<&Platform>,
        covered: Option<&Covered>,
    ) -> Vec<Stored> {
        let platforms = covered.map(|covered| &covered.active.rule.platforms);
        let mut found = Vec::new();
        let mut open = vec![(root.clone(), None, true)];
        let mut seen = HashSet::new();
        while let Some((digest, platform, wanted)) = open.pop() {
            if found.len() >= MOST || !seen.insert(digest.clone()) {
                continue;
            }
            let children = self.children(repository, &digest).await;
            let inner: Vec<&Child> = of_index(children.as_deref());
            if inner.is_empty() {
                let image = Image {
                    digest,
                    platform,
                    wanted,
                };
                found.push(self.image(repository, image, children.as_deref()).await);
                continue;
            }
            // Taken from the end, so the index's first comes first.
            for child in inner.into_iter().rev() {
                if is_asked_for(asked, child.platform.as_ref()) {
                    let wanted = platforms.is_none_or(|all| closure::demanded(child, all));
                    open.push((child.digest.clone(), child.platform.clone(), wanted));
                }
            }
        }
        found
    }

    /// What a manifest needs; none when it is not here.
    async fn children(&self, repository: &RepositoryName, digest: &Digest) -> Option<Vec<Child>> {
        let store = &self.inner.store;
        if !self.looked(is_here(store, repository, digest)).await {
            return None;
        }
        let record = self.looked(store.metadata().manifest(digest)).await?;
        Some(record.children.clone())
    }

    async fn image(
        &self,
        repository: &RepositoryName,
        image: Image,
        children: Option<&[Child]>,
    ) -> Stored {
        let mut stored = Stored {
            platform: image.platform,
            digest: image.digest,
            complete: false,
            contents: 0,
            of: None,
            bytes: 0,
            total_bytes: None,
            wanted: image.wanted,
        };
        let Some(children) = children else {
            return stored;
        };
        let metadata = self.inner.store.metadata();
        let own = self.looked(metadata.blob(&stored.digest)).await;
        let size = own.map_or(0, |own| own.size);
        (stored.contents, stored.bytes) = (1, size);
        let (mut of, mut total) = (1, size);
        let mut seen = HashSet::new();
        for child in children.iter().filter(|child| !child.foreign) {
            if !seen.insert(&child.digest) {
                continue;
            }
            of += 1;
            total += child.size;
            let here = is_here(&self.inner.store, repository, &child.digest);
            if self.looked(here).await {
                stored.contents += 1;
                stored.bytes += child.size;
            }
        }
        stored.complete = stored.contents == of;
        (stored.of, stored.total_bytes) = (Some(of), Some(total));
        stored
    }
}

struct Image {
    digest: Digest,
    platform: Option<Platform>,
    wanted: bool,
}

/// The manifests in an index; none of what is no index.
fn of_index(children: Option<&[Child]>) -> Vec<&Child> {
    let children = children.unwrap_or_default().iter();
    children
        .filter(|child| child.kind == ChildKind::Manifest && !child.foreign)
        .collect()
}

fn is_asked_for(asked: Option<&Platform>, own: Option<&Platform>) -> bool {
    match (asked, own) {
        (Some(asked), Some(own)) => asked.matches(own),
        (None, _) | (_, None) => true,
    }
}
