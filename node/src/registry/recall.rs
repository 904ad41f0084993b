//! What was recalled is refused, and so is what contains it: by tag and digest, stored or not, in memory or on disk.
//!
//! While nothing is recalled a request pays for one look at an empty map. Else a manifest's closure is walked by its records; what is
//! not stored is judged by what its own bytes name when they come, and each part again when it is asked for. Nothing is remembered
//! between requests, so that a lifted recall is lifted at once.

use std::collections::{HashMap, HashSet};

use wire::{digest::Digest, manifest::Manifest};

use super::{Error, ManifestAnswer, Registry};
use crate::{copy::closure::MAX_MANIFESTS, store};

impl Registry {
    /// Whether anything is recalled at all.
    pub(super) fn has_recalls(&self) -> bool {
        !self.inner.recalls.is_empty()
    }

    /// That a content may be shown or taken, as far as its digest alone tells.
    pub(super) fn not_recalled(&self, digest: &Digest) -> Result<(), Error> {
        match self.inner.recalls.now().get(digest) {
            Some(reason) => Err(recalled(digest, reason)),
            None => Ok(()),
        }
    }

    /// That a manifest and all that is known to be in it may be shown.
    pub(super) async fn not_in_recall(&self, digest: &Digest) -> Result<(), Error> {
        if !self.has_recalls() {
            return Ok(());
        }
        self.not_recalled(digest)?;
        let recalls = self.inner.recalls.now();
        let found = self.or_stream(self.find_in(digest, &recalls)).await;
        match found {
            Some((digest, reason)) => Err(recalled(&digest, &reason)),
            None => Ok(()),
        }
    }

    /// That an answer may be sent: its digest, what its bytes name, and what is stored of its closure.
    pub(super) async fn may_send(&self, answer: &ManifestAnswer) -> Result<(), Error> {
        if !self.has_recalls() {
            return Ok(());
        }
        self.not_in_recall(&answer.digest).await?;
        let bytes = answer.bytes.as_deref().unwrap_or_default();
        self.names_no_recalled(bytes, &answer.media_type).await
    }

    /// That bytes of a manifest name nothing that is recalled, or contains it.
    pub(super) async fn names_no_recalled(
        &self,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<(), Error> {
        // What does not parse is refused elsewhere.
        let Ok(manifest) = Manifest::parse(bytes, Some(media_type)) else {
            return Ok(());
        };
        for blob in manifest.blobs() {
            self.not_recalled(&blob.digest)?;
        }
        for child in manifest.children() {
            self.not_in_recall(&child.digest).await?;
        }
        Ok(())
    }

    /// The first recalled content in the closure of a manifest, as far as it is stored.
    async fn find_in(
        &self,
        root: &Digest,
        recalls: &HashMap<Digest, String>,
    ) -> Result<Option<(Digest, String)>, store::Error> {
        let mut open = vec![root.clone()];
        let mut seen = HashSet::new();
        while let Some(digest) = open.pop() {
            if seen.len() >= MAX_MANIFESTS || !seen.insert(digest.clone()) {
                continue;
            }
            let Some(record) = self.inner.store.metadata().manifest(&digest).await? else {
                continue;
            };
            for child in &record.children {
                if let Some(reason) = recalls.get(&child.digest) {
                    return Ok(Some((child.digest.clone(), reason.clone())));
                }
                open.push(child.digest.clone());
            }
        }
        Ok(None)
    }
}

fn recalled(digest: &Digest, reason: &str) -> Error {
    Error::Recalled {
        digest: digest.clone(),
        reason: reason.to_owned(),
    }
}
