//! The end of a copy: children before parents, the tag record last, the events, the end of the job, in one transaction.
//!
//! What has an event and what has not is decided by what changes: a manifest that becomes complete has one, a tag that moved
//! has one, nothing else has. So a repeated job, or a crash before the transaction, never makes a second one. `ops` is pure.

use std::{collections::HashSet, sync::Arc};

use topology::model::rule::Platforms;
use wire::{
    digest::Digest, event::Cause, name::RuleName, platform::Platform, reference::Tag,
    repository::RepositoryName, time::WallTime,
};

use super::{Copies, closure, describe::version, record};
use crate::{
    event::Recorder,
    store::{
        self, Store,
        metadata::{ChildKind, Job, ManifestRecord, Op, TagRecord},
    },
};

/// How far up indexes in indexes are told that something below them is complete.
const MAX_ANCESTORS: usize = 4;

/// What is known at the commit.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The job, as it stands now.
    pub job: &'a Job,
    /// Its rule.
    pub rule: &'a RuleName,
    /// The rule's platforms.
    pub platforms: &'a Platforms,
    /// Manifests that are whole, children before parents, the root last.
    pub whole: Vec<Whole>,
    /// Tags that are at one of the manifests of `above`.
    pub tags: Vec<TagRecord>,
    /// The root and what lies above what becomes complete: committed indexes whose tags may move now.
    pub above: Vec<Above>,
    /// The time.
    pub now: WallTime,
}

/// A manifest that is whole.
#[derive(Debug)]
pub struct Whole {
    /// The manifest.
    pub record: Arc<ManifestRecord>,
    /// The platform that its index names.
    pub platform: Option<Platform>,
    /// Whether it was committed before.
    pub complete: bool,
}

/// A manifest by which tags can be served.
#[derive(Debug)]
pub struct Above {
    /// The manifest.
    pub record: Arc<ManifestRecord>,
    /// Whether a child manifest is complete.
    pub has_child: bool,
}

/// The changes of one commit, without the end of the job.
#[must_use]
pub fn ops(facts: &Facts<'_>, events: &Recorder) -> Vec<Op> {
    let Facts { job, rule, now, .. } = facts;
    let mut ops = Vec::new();
    let push = |tag: Option<&Tag>, record: &ManifestRecord, platform: Option<&Platform>| {
        events.push(
            &job.repository,
            tag,
            &version(record),
            Cause::Copy,
            Some(rule),
            platform,
            &job.request,
        )
    };
    for whole in facts.whole.iter().filter(|whole| !whole.complete) {
        ops.push(Op::PutLink(record::link(
            &job.repository,
            &whole.record.digest,
            rule,
            true,
            *now,
        )));
        ops.extend(push(None, &whole.record, whole.platform.as_ref()));
    }
    let root = facts
        .whole
        .iter()
        .find(|whole| whole.record.digest == job.root);
    for tag in &job.tags {
        let at_root = facts
            .tags
            .iter()
            .any(|record| record.tag == *tag && record.current.digest == job.root);
        if let Some(whole) = root.filter(|_| at_root) {
            ops.extend(push(Some(tag), &whole.record, whole.platform.as_ref()));
        }
    }
    for tag in &facts.tags {
        let above = facts
            .above
            .iter()
            .find(|above| above.record.digest == tag.current.digest);
        if above.is_some_and(|above| moves(tag, above, facts.platforms)) {
            ops.push(Op::Completed(
                job.repository.clone(),
                tag.tag.clone(),
                tag.current.clone(),
            ));
        }
    }
    ops
}

/// Whether a tag that is at this committed manifest can be served without an upstream from now on. An index of which nothing
/// is here yet takes the place of nothing, but not that of an older one that can be run.
fn moves(tag: &TagRecord, above: &Above, platforms: &Platforms) -> bool {
    let behind = tag
        .complete
        .as_ref()
        .is_none_or(|complete| *complete != tag.current);
    let by_request = closure::is_index(&above.record) && *platforms == Platforms::Requested;
    let childless = above
        .record
        .children
        .iter()
        .all(|child| child.kind != ChildKind::Manifest);
    behind && (!by_request || above.has_child || childless || tag.complete.is_none())
}

/// Commits what is whole of a job, and ends it; with `rest`, another job takes its place.
pub(super) async fn commit(
    copies: &Copies,
    job: &Job,
    rule: &RuleName,
    platforms: &Platforms,
    whole: Vec<(Arc<ManifestRecord>, Option<Platform>)>,
    rest: Option<Job>,
) -> Result<(), store::Error> {
    let inner = &copies.0;
    let metadata = inner.store.metadata();
    let _gate = copies.gate(&job.repository).await;
    let Some(job) = metadata.job(&job.repository, &job.root).await? else {
        return Ok(());
    };
    let whole = standing(&inner.store, &job.repository, whole).await?;
    if whole.is_empty() && rest.is_none() {
        metadata
            .commit(vec![Op::FinishJob(job.id, job.tags)])
            .await?;
        copies.job_went();
        return Ok(());
    }
    let above = above(&inner.store, &job, &whole).await?;
    let tags = tags(&inner.store, &job.repository, &above).await?;
    let facts = Facts {
        job: &job,
        rule,
        platforms,
        whole,
        tags,
        above,
        now: copies.now(),
    };
    let mut ops = ops(&facts, &inner.events);
    ops.push(Op::FinishJob(job.id, job.tags.clone()));
    let ends = rest.is_none();
    ops.extend(rest.map(Op::PutJob));
    metadata.commit(ops).await?;
    if ends {
        copies.job_went();
    }
    inner.events.nudge();
    Ok(())
}

/// Which of the manifests are linked still, and which of them were complete before.
async fn standing(
    store: &Store,
    repository: &RepositoryName,
    manifests: Vec<(Arc<ManifestRecord>, Option<Platform>)>,
) -> Result<Vec<Whole>, store::Error> {
    let mut whole = Vec::with_capacity(manifests.len());
    for (record, platform) in manifests {
        // Without a link it was deleted or evicted while the copy ran: it stays away.
        if let Some(link) = store.metadata().link(repository, &record.digest).await? {
            whole.push(Whole {
                record,
                platform,
                complete: link.complete,
            });
        }
    }
    Ok(whole)
}

/// The root, and the committed indexes above what is whole now.
async fn above(store: &Store, job: &Job, whole: &[Whole]) -> Result<Vec<Above>, store::Error> {
    let now_whole: HashSet<&Digest> = whole.iter().map(|whole| &whole.record.digest).collect();
    let mut found: Vec<Above> = Vec::new();
    for own in whole {
        let has_child = has_complete_child(store, &job.repository, &own.record, &now_whole).await?;
        found.push(Above {
            record: Arc::clone(&own.record),
            has_child,
        });
    }
    let mut level: Vec<Digest> = whole
        .iter()
        .map(|whole| whole.record.digest.clone())
        .collect();
    for _ in 0..MAX_ANCESTORS {
        let mut next = Vec::new();
        for digest in &level {
            for parent in store.metadata().parents(&job.repository, digest).await? {
                let known = found.iter().any(|above| above.record.digest == parent);
                let link = store.metadata().link(&job.repository, &parent).await?;
                if known || !link.is_some_and(|link| link.complete) {
                    continue;
                }
                if let Some(record) = store.metadata().manifest(&parent).await? {
                    found.push(Above {
                        record,
                        has_child: true,
                    });
                    next.push(parent);
                }
            }
        }
        level = next;
    }
    Ok(found)
}

async fn has_complete_child(
    store: &Store,
    repository: &RepositoryName,
    record: &ManifestRecord,
    now_whole: &HashSet<&Digest>,
) -> Result<bool, store::Error> {
    for child in record
        .children
        .iter()
        .filter(|child| child.kind == ChildKind::Manifest)
    {
        let link = store.metadata().link(repository, &child.digest).await?;
        if now_whole.contains(&child.digest) || link.is_some_and(|link| link.complete) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn tags(
    store: &Store,
    repository: &RepositoryName,
    above: &[Above],
) -> Result<Vec<TagRecord>, store::Error> {
    let mut found = Vec::new();
    for manifest in above {
        let digest = &manifest.record.digest;
        for tag in store.metadata().tags_of(repository, digest).await? {
            let record = store.metadata().tag(repository, &tag).await?;
            found.extend(record.filter(|record| record.current.digest == *digest));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
