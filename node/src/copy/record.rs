//! A manifest arrives: its bytes become durable, then its record, link, tag and job in one transaction.

use std::sync::Arc;

use uuid::Uuid;
use wire::{digest::Digest, platform::Platform, repository::RepositoryName, time::WallTime};

use super::{Arrival, Copies, Observed, describe, job};
use crate::{
    fill::keep,
    store::{
        self, Store,
        metadata::{BlobRecord, Job, JobId, Link, LinkKind, ManifestRecord, Op, Origin, TagRecord},
    },
};
use wire::name::RuleName;

pub(super) async fn record(copies: &Copies, arrival: Arrival) -> Result<(), store::Error> {
    let inner = &copies.0;
    let (repository, manifest) = (&arrival.repository, &arrival.manifest);
    let _hold = inner.store.hold(&manifest.digest);
    keep::keep(&inner.store, &manifest.digest, arrival.bytes.clone()).await?;
    let _gate = copies.gate(repository).await;
    let now = copies.now();
    let metadata = inner.store.metadata();
    let link = metadata.link(repository, &manifest.digest).await?;
    let previous = match &arrival.tag {
        Some(seen) => metadata.tag(repository, &seen.tag).await?,
        None => None,
    };
    let rule = &arrival.active.rule.name;
    let mut ops = manifest_ops(&inner.store, repository, rule, manifest, now).await?;
    let tag = arrival
        .tag
        .as_ref()
        .filter(|seen| is_news(seen, manifest, previous.as_ref()));
    ops.extend(
        arrival
            .tag
            .as_ref()
            .map(|seen| Op::PutTag(tag_record(&arrival, seen))),
    );
    let complete = link.is_some_and(|link| link.complete);
    if complete && tag.is_none() {
        return metadata.commit(ops).await;
    }
    let known = metadata.job(repository, &manifest.digest).await?.is_some();
    let platform = match &arrival.platform {
        Some(platform) => Some(platform.clone()),
        None => named_platform(&inner.store, repository, &manifest.digest).await?,
    };
    ops.push(Op::PutJob(Job {
        id: JobId(random_id()),
        repository: repository.clone(),
        rule: rule.clone(),
        root: manifest.digest.clone(),
        tags: tag.map(|seen| seen.tag.clone()).into_iter().collect(),
        platform,
        attempts: 0,
        due_at: now,
        created_at: now,
        last_error: None,
        missing: Vec::new(),
        request: (*arrival.request.info).clone(),
    }));
    metadata.commit(ops).await?;
    if !known {
        copies.job_came();
    }
    copies.nudge();
    Ok(())
}

/// The tag of this manifest was checked.
pub(super) async fn wanted(
    copies: &Copies,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), store::Error> {
    let metadata = copies.0.store.metadata();
    let _gate = copies.gate(repository).await;
    let known = metadata.job(repository, digest).await?;
    if let Some(again) = known.and_then(|known| job::asked_again(known, copies.now())) {
        metadata.commit(vec![Op::PutJob(again)]).await?;
        copies.nudge();
    }
    Ok(())
}

/// What is recorded of a manifest whose bytes are durable: not complete yet.
pub(super) async fn manifest_ops(
    store: &Store,
    repository: &RepositoryName,
    rule: &RuleName,
    manifest: &Arc<ManifestRecord>,
    now: WallTime,
) -> Result<Vec<Op>, store::Error> {
    let digest = &manifest.digest;
    let mut ops = Vec::new();
    if store.metadata().blob(digest).await?.is_none() {
        ops.push(Op::PutBlob(BlobRecord {
            digest: digest.clone(),
            size: manifest.size,
            stored_at: now,
            verified_at: now,
        }));
    }
    ops.push(Op::PutManifest(Arc::clone(manifest)));
    ops.push(Op::PutLink(link(repository, digest, rule, false, now)));
    Ok(ops)
}

/// A link to a manifest.
pub(super) fn link(
    repository: &RepositoryName,
    digest: &Digest,
    rule: &RuleName,
    complete: bool,
    now: WallTime,
) -> Link {
    Link {
        repository: repository.clone(),
        digest: digest.clone(),
        kind: LinkKind::Manifest,
        complete,
        origin: Origin::Filled(rule.clone()),
        created_at: now,
        used_at: now,
    }
}

/// Whether the tag was not at this manifest before, so that its event is due.
fn is_news(seen: &Observed, manifest: &ManifestRecord, previous: Option<&TagRecord>) -> bool {
    previous.is_none_or(|record| {
        record.current.digest != manifest.digest && record.observed_at <= seen.observed_at
    })
}

fn tag_record(arrival: &Arrival, seen: &Observed) -> TagRecord {
    TagRecord {
        repository: arrival.repository.clone(),
        tag: seen.tag.clone(),
        current: describe::version(&arrival.manifest),
        complete: None,
        checked_at: seen.checked_at,
        observed_at: seen.observed_at,
        origin: Origin::Filled(arrival.active.rule.name.clone()),
    }
}

/// The platform that an index of the repository gives a manifest.
async fn named_platform(
    store: &Store,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Platform>, store::Error> {
    for parent in store
        .metadata()
        .parents(repository, digest)
        .await?
        .iter()
        .take(16)
    {
        let index = store.metadata().manifest(parent).await?;
        let children = index
            .iter()
            .flat_map(|index| &index.children)
            .filter(|child| child.digest == *digest);
        let named = children
            .filter_map(|child| child.platform.clone())
            .find(|platform| !platform.is_unknown());
        if named.is_some() {
            return Ok(named);
        }
    }
    Ok(None)
}

/// Jobs have no order among themselves but their due time.
pub(super) fn random_id() -> Uuid {
    Uuid::from_u128(rand::random())
}
