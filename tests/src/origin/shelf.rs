//! What the scripted upstream holds: repositories with manifests, tags and blobs. Tests change it while it is being served.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bytes::Bytes;
use wire::digest::Digest;

use crate::{Content, Image};

/// All repositories. Every method is atomic.
#[derive(Default)]
pub struct Shelf(Mutex<State>);

#[derive(Default)]
struct State {
    repositories: HashMap<String, Repository>,
    no_referrers: bool,
}

#[derive(Default)]
struct Repository {
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<String, Digest>,
    blobs: HashMap<Digest, Content>,
}

#[derive(Clone)]
pub struct Manifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Bytes,
}

impl Shelf {
    /// All manifests and blobs of an image, without a tag.
    pub fn put(&self, repository: &str, image: &Image) {
        self.change(repository, |shelf| {
            for manifest in &image.manifests {
                shelf.manifests.insert(
                    manifest.digest.clone(),
                    Manifest {
                        digest: manifest.digest.clone(),
                        media_type: manifest.media_type.clone(),
                        bytes: manifest.bytes.clone(),
                    },
                );
            }
            for (digest, content) in &image.blobs {
                shelf.blobs.insert(digest.clone(), content.clone());
            }
        });
    }

    /// Sets or moves a tag.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.change(repository, |shelf| {
            shelf.tags.insert(tag.to_owned(), digest.clone());
        });
    }

    pub fn untag(&self, repository: &str, tag: &str) {
        self.change(repository, |shelf| {
            shelf.tags.remove(tag);
        });
    }

    pub fn put_blob(&self, repository: &str, content: &Content) -> Digest {
        let digest = content.digest();
        self.change(repository, |shelf| {
            shelf.blobs.insert(digest.clone(), content.clone());
        });
        digest
    }

    pub fn remove_blob(&self, repository: &str, digest: &Digest) {
        self.change(repository, |shelf| {
            shelf.blobs.remove(digest);
        });
    }

    /// Removes the manifest and every tag that points to it.
    pub fn remove_manifest(&self, repository: &str, digest: &Digest) {
        self.change(repository, |shelf| {
            shelf.manifests.remove(digest);
            shelf.tags.retain(|_, tagged| tagged != digest);
        });
    }

    pub fn remove_repository(&self, repository: &str) {
        self.0.lock().unwrap().repositories.remove(repository);
    }

    /// Without it `/referrers/` is a 404 as at registries that do not know it.
    pub fn offer_referrers(&self, offer: bool) {
        self.0.lock().unwrap().no_referrers = !offer;
    }

    pub(super) fn offers_referrers(&self) -> bool {
        !self.0.lock().unwrap().no_referrers
    }

    /// By tag or digest.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        self.look(repository, |shelf| {
            let by_digest = reference.parse().ok();
            let digest = by_digest.or_else(|| shelf.tags.get(reference).cloned())?;
            shelf.manifests.get(&digest).cloned()
        })
    }

    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> Option<Content> {
        self.look(repository, |shelf| shelf.blobs.get(digest).cloned())
    }

    /// In order; `None` for an unknown repository.
    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        self.look(repository, |shelf| {
            Some(shelf.tags.keys().cloned().collect())
        })
    }

    pub(super) fn manifests(&self, repository: &str) -> Vec<Manifest> {
        self.look(repository, |shelf| {
            Some(shelf.manifests.values().cloned().collect())
        })
        .unwrap_or_default()
    }

    /// The names of all.
    pub(crate) fn repositories(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let mut names: Vec<String> = state.repositories.keys().cloned().collect();
        names.sort();
        names
    }

    fn change(&self, repository: &str, change: impl FnOnce(&mut Repository)) {
        let mut state = self.0.lock().unwrap();
        change(state.repositories.entry(repository.to_owned()).or_default());
    }

    fn look<T>(&self, repository: &str, look: impl FnOnce(&Repository) -> Option<T>) -> Option<T> {
        self.0
            .lock()
            .unwrap()
            .repositories
            .get(repository)
            .and_then(look)
    }
}
