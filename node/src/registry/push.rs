//! A manifest is pushed: read within limits, its blobs looked for in its own repository, committed with its tags and events.
//!
//! An image's configuration and layers must be here (foreign layers live elsewhere); the manifests of an index may be missing,
//! because sparse indexes are made on purpose; a subject need not exist. Source: OCI distribution-spec 1.1.1 "Pushing
//! Manifests", and its main branch for several tags at once.

use bytes::Bytes;
use serde_json::json;
use wire::{
    digest::{Algorithm, Digest},
    event::Cause,
    manifest::ManifestError,
    oci_error::Code,
    reference::{Reference, Tag},
    repository::RepositoryName,
    time::WallTime,
};

use super::{Error, PutAnswer, Registry};
use crate::{
    copy::describe::{describe, version},
    fill::keep::keep,
    request::Request,
    store::metadata::{
        BlobRecord, ChildKind, Link, LinkKind, ManifestRecord, Op, Origin, TagRecord,
    },
};

/// How many missing blobs an error names.
const NAMED: usize = 20;

impl Registry {
    /// Takes a manifest under `reference` and under `tags` (of a push by digest).
    ///
    /// # Errors
    /// `FilledByRule`, `TooLarge`, `Invalid`, `ChildrenMissing`, `Store`.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        tags: &[Tag],
        content_type: Option<&str>,
        bytes: Bytes,
        request: &Request,
    ) -> Result<PutAnswer, Error> {
        self.writable(repository)?;
        let digest = digest_of(reference, &bytes)?;
        let record = describe(&digest, &bytes, content_type).map_err(invalid)?;
        self.not_in_recall(&digest).await?;
        self.names_no_recalled(&bytes, &record.media_type).await?;
        // Held from before the look until the links are there, so that nothing is collected in between.
        let _holds: Vec<_> = self.hold_with_children(&record);
        self.find_children(repository, &record).await?;
        let tags = all_tags(reference, tags);
        let store = &self.inner.store;
        let _room = store.make_room(record.size).await?;
        keep(store, &digest, bytes)
            .await
            .inspect_err(|error| store.report("push", error))?;
        let ops = self.push_ops(repository, &record, &tags, request);
        store
            .metadata()
            .commit(ops)
            .await
            .inspect_err(|error| store.report("push", error))?;
        self.inner.events.nudge();
        Ok(PutAnswer {
            digest,
            subject: record.subject.clone(),
            tags,
        })
    }

    fn hold_with_children(&self, record: &ManifestRecord) -> Vec<crate::store::Hold> {
        let children = record.children.iter().map(|child| &child.digest);
        let all = std::iter::once(&record.digest).chain(children);
        all.map(|digest| self.inner.store.hold(digest)).collect()
    }

    async fn find_children(
        &self,
        repository: &RepositoryName,
        record: &ManifestRecord,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        let needed = record.children.iter().filter(|child| match child.kind {
            ChildKind::Config | ChildKind::Layer => !child.foreign,
            ChildKind::Manifest => false,
        });
        for child in needed {
            let linked = self.linked(repository, &child.digest).await?.is_some();
            let known = self.inner.store.metadata().blob(&child.digest).await?;
            match known.filter(|_| linked) {
                Some(blob) if blob.size == child.size => {}
                Some(blob) => return Err(other_size(&child.digest, child.size, blob.size)),
                None if missing.len() < NAMED => missing.push(child.digest.clone()),
                None => break,
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::ChildrenMissing {
            repository: repository.clone(),
            missing,
        })
    }

    fn push_ops(
        &self,
        repository: &RepositoryName,
        record: &ManifestRecord,
        tags: &[Tag],
        request: &Request,
    ) -> Vec<Op> {
        let now = self.now();
        let version = version(record);
        let mut ops = vec![
            Op::PutBlob(BlobRecord {
                digest: record.digest.clone(),
                size: record.size,
                stored_at: now,
                verified_at: now,
            }),
            Op::PutManifest(std::sync::Arc::new(record.clone())),
            Op::PutLink(pushed_link(
                repository,
                &record.digest,
                LinkKind::Manifest,
                now,
            )),
        ];
        ops.extend(tags.iter().map(|tag| {
            Op::PutTag(TagRecord {
                repository: repository.clone(),
                tag: tag.clone(),
                current: version.clone(),
                complete: Some(version.clone()),
                checked_at: now,
                observed_at: now,
                origin: Origin::Pushed,
            })
        }));
        let told: Vec<Option<&Tag>> = match tags {
            [] => vec![None],
            tags => tags.iter().map(Some).collect(),
        };
        for tag in told {
            let events = &self.inner.events;
            let info = &request.info;
            ops.extend(events.push(repository, tag, &version, Cause::Client, None, None, info));
        }
        ops
    }
}

/// The link of something that a client pushed.
pub(super) fn pushed_link(
    repository: &RepositoryName,
    digest: &Digest,
    kind: LinkKind,
    now: WallTime,
) -> Link {
    Link {
        repository: repository.clone(),
        digest: digest.clone(),
        kind,
        complete: true,
        origin: Origin::Pushed,
        created_at: now,
        used_at: now,
    }
}

/// The digest under which it is stored: the one it was pushed by, if that is what it hashes to.
fn digest_of(reference: &Reference, bytes: &[u8]) -> Result<Digest, Error> {
    match reference {
        Reference::Tag(_) => Ok(Digest::of(Algorithm::Sha256, bytes)),
        Reference::Digest(expected) => {
            let computed = Digest::of(expected.algorithm(), bytes);
            if computed == *expected {
                return Ok(computed);
            }
            Err(wrong_digest(expected, &computed))
        }
    }
}

/// 400: the content does not hash to the digest it was pushed under.
pub(super) fn wrong_digest(expected: &Digest, computed: &Digest) -> Error {
    Error::Invalid {
        code: Code::DigestInvalid,
        message: format!("the content hashes to {computed}, it was pushed as {expected}"),
        detail: json!({"digest": expected, "computed": computed}),
    }
}

fn other_size(digest: &Digest, said: u64, real: u64) -> Error {
    Error::Invalid {
        code: Code::ManifestInvalid,
        message: format!("the manifest says that {digest} has {said} bytes, it has {real}"),
        detail: json!({"digest": digest, "size": said, "actual": real}),
    }
}

fn invalid(error: ManifestError) -> Error {
    if matches!(error, ManifestError::TooLarge(_)) {
        return Error::manifest_too_large();
    }
    Error::Invalid {
        code: Code::ManifestInvalid,
        message: error.to_string(),
        detail: json!({}),
    }
}

fn all_tags(reference: &Reference, tags: &[Tag]) -> Vec<Tag> {
    let mut all: Vec<Tag> = Vec::with_capacity(tags.len() + 1);
    if let Reference::Tag(tag) = reference {
        all.push(tag.clone());
    }
    for tag in tags {
        if !all.contains(tag) {
            all.push(tag.clone());
        }
    }
    all
}
