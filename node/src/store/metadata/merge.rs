//! What becomes of a record when another one of the same key comes: the guards of `Op`, pure, for every implementation.
//!
//! Links only gain (completeness, the mark of a push), tags only move to later observations, jobs only gain tags.

use wire::{digest::Digest, reference::Tag, time::WallTime};

use super::record::{Job, Link, LinkKind, NOT_KNOWN, Origin, TagRecord, Version};

/// The link to store when `new` comes and `old` is there.
pub(super) fn link(old: Option<Link>, new: Link) -> Link {
    let Some(old) = old else { return new };
    let manifest = old.kind == LinkKind::Manifest || new.kind == LinkKind::Manifest;
    let pushed = old.origin == Origin::Pushed;
    Link {
        kind: if manifest {
            LinkKind::Manifest
        } else {
            LinkKind::Blob
        },
        complete: old.complete || new.complete,
        origin: if pushed { Origin::Pushed } else { new.origin },
        created_at: old.created_at,
        used_at: old.used_at.max(new.used_at),
        repository: new.repository,
        digest: new.digest,
    }
}

/// The tag to store when `new` comes and `old` is there; `None` when `old` was observed later and stays.
pub(super) fn tag(old: Option<TagRecord>, mut new: TagRecord) -> Option<TagRecord> {
    let Some(old) = old else { return Some(new) };
    if old.observed_at > new.observed_at {
        return None;
    }
    if old.current.digest == new.current.digest && old.checked_at != NOT_KNOWN {
        new.checked_at = new.checked_at.max(old.checked_at);
    }
    new.complete = new.complete.or(old.complete);
    Some(new)
}

/// The tag after a check at `at` that found `digest`; `None` when nothing changes.
pub(super) fn checked(mut tag: TagRecord, digest: &Digest, at: WallTime) -> Option<TagRecord> {
    let is_older = tag.checked_at < at || tag.checked_at == NOT_KNOWN;
    if tag.current.digest != *digest || !is_older {
        return None;
    }
    tag.checked_at = at;
    Some(tag)
}

/// The tag when a process begins at `now`; `None` when its times are possible.
pub(super) fn begun(mut tag: TagRecord, now: WallTime) -> Option<TagRecord> {
    if tag.observed_at <= now && tag.checked_at <= now {
        return None;
    }
    tag.observed_at = tag.observed_at.min(now);
    if tag.checked_at > now {
        tag.checked_at = NOT_KNOWN;
    }
    Some(tag)
}

/// The tag after the copy of `version` was committed; `None` when it moved on meanwhile.
pub(super) fn completed(mut tag: TagRecord, version: Version) -> Option<TagRecord> {
    if tag.current.digest != version.digest {
        return None;
    }
    tag.complete = Some(version);
    Some(tag)
}

/// The job to store when `new` comes and `old` is there.
pub(super) fn job(old: Option<Job>, mut new: Job) -> Job {
    let Some(old) = old else { return new };
    let joined = old.id != new.id;
    let added: Vec<Tag> = new
        .tags
        .iter()
        .filter(|tag| !old.tags.contains(tag))
        .cloned()
        .collect();
    if joined {
        // Another pull of the same manifest: the job goes on as it is, for one more tag, and sooner if that was asked.
        let due_at = old.due_at.min(new.due_at);
        new = Job { due_at, ..old };
        new.tags.extend(added);
    } else {
        new.tags = old.tags.into_iter().chain(added).collect();
    }
    new
}

/// What is left of a job when it is done for `tags`; `None` when nothing is.
pub(super) fn finished(mut job: Job, tags: &[Tag]) -> Option<Job> {
    job.tags.retain(|tag| !tags.contains(tag));
    if job.tags.is_empty() {
        return None;
    }
    job.due_at = job.created_at;
    job.attempts = 0;
    Some(job)
}
