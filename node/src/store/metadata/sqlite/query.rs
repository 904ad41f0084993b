//! What is asked of the database, one statement each. Every one of them walks an index and reads little more than it answers.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{pattern::Pattern, reference::Tag, repository::RepositoryName};

use super::{count, row, rows};
use crate::store::metadata::{Extent, Totals};

pub(super) const TAG: &str = "SELECT repository, tag, digest, media_type, size, complete_digest, \
    complete_media_type, complete_size, checked_at, observed_at, rule \
    FROM tag WHERE repository = ?1 AND tag = ?2";

/// Those whose times are later than the time, unless that was found out before.
pub(super) const TAGS_AHEAD: &str = "SELECT repository, tag, digest, media_type, size, complete_digest, \
    complete_media_type, complete_size, checked_at, observed_at, rule \
    FROM tag WHERE observed_at > ?1 OR (checked_at > ?1 AND checked_at < 9223372036854775807)";

pub(super) const LINK: &str = "SELECT repository, digest, manifest, complete, rule, created_at, used_at \
    FROM link WHERE repository = ?1 AND digest = ?2";

pub(super) const MANIFEST: &str = "SELECT digest, media_type, size, children, subject, artifact_type, \
    annotations FROM manifest WHERE digest = ?1";

pub(super) const BLOB: &str =
    "SELECT digest, size, stored_at, verified_at FROM blob WHERE digest = ?1";

pub(super) const REPOSITORIES: &str =
    "SELECT name FROM repository WHERE name > ?1 ORDER BY name LIMIT ?2";

pub(super) const EXTENT: &str = "SELECT (SELECT count(*) FROM tag WHERE repository = ?1), \
    coalesce(sum(manifest), 0), coalesce(sum(blob.size), 0) \
    FROM link LEFT JOIN blob ON blob.digest = link.digest WHERE repository = ?1";

pub(super) const MANIFESTS: &str = "SELECT repository, digest, manifest, complete, rule, created_at, used_at \
    FROM link WHERE repository = ?1 AND digest > ?2 AND manifest = 1 ORDER BY digest LIMIT ?3";

pub(super) const PUSHED: &str = "SELECT repository FROM link \
    WHERE rule IS NULL AND repository >= ?1 AND repository < ?2 ORDER BY repository LIMIT 1";

pub(super) const REFERRERS: &str = "SELECT manifest.digest, media_type, size, children, subject, \
    artifact_type, annotations FROM manifest \
    JOIN link ON link.repository = ?1 AND link.digest = manifest.digest \
    WHERE manifest.subject = ?2 ORDER BY manifest.digest";

pub(super) const PARENTS: &str = "SELECT child.parent FROM child \
    JOIN link ON link.repository = ?1 AND link.digest = child.parent \
    WHERE child.digest = ?2 ORDER BY child.parent";

pub(super) const TAGS_OF: &str = "SELECT tag FROM tag WHERE repository = ?1 AND digest = ?2 \
    UNION SELECT tag FROM tag WHERE repository = ?1 AND complete_digest = ?2 ORDER BY tag";

pub(super) const LINKED_BY: &str =
    "SELECT repository FROM link WHERE digest = ?1 ORDER BY repository LIMIT ?2";

pub(super) const JOBS: &str = "SELECT body FROM job ORDER BY due_at, id LIMIT ?1";

pub(super) const JOB: &str = "SELECT body FROM job WHERE repository = ?1 AND root = ?2";

pub(super) const JOB_BY_ID: &str = "SELECT body FROM job WHERE id = ?1";

pub(super) const PENDING: &str = "SELECT event.id, key, action, body, recorded_at, webhook, state, \
    attempts, due_at, sent_at, response \
    FROM delivery JOIN event ON event.number = delivery.number \
    WHERE webhook = ?1 AND state = 0 ORDER BY delivery.number LIMIT ?2";

pub(super) const DELIVERIES: &str = "SELECT event.id, key, action, body, recorded_at, webhook, state, \
    attempts, due_at, sent_at, response \
    FROM delivery JOIN event ON event.number = delivery.number \
    WHERE webhook = ?1 ORDER BY delivery.number DESC LIMIT ?2";

pub(super) const PENDING_COUNTS: &str =
    "SELECT webhook, count(*) FROM delivery WHERE state = 0 GROUP BY webhook ORDER BY webhook";

pub(super) const UPLOAD: &str = "SELECT id, repository, algorithm, length, created_at, touched_at \
    FROM upload WHERE id = ?1";

pub(super) const STALE_UPLOADS: &str = "SELECT id, repository, algorithm, length, created_at, touched_at \
    FROM upload WHERE touched_at < ?1 ORDER BY touched_at LIMIT ?2";

pub(super) const LEAST_VERIFIED: &str =
    "SELECT digest, size, stored_at, verified_at FROM blob ORDER BY verified_at LIMIT ?1";

pub(super) const LEAST_USED: &str = "SELECT repository, digest, manifest, complete, rule, created_at, \
    used_at FROM link WHERE manifest = 1 AND rule IS NOT NULL AND NOT EXISTS ( \
        SELECT 1 FROM child \
        JOIN link AS parent ON parent.repository = link.repository AND parent.digest = child.parent \
        WHERE child.digest = link.digest) \
    ORDER BY used_at LIMIT ?1";

pub(super) const UNREFERENCED: &str = "SELECT digest, size, stored_at, verified_at FROM blob \
    WHERE links = 0 AND stored_at < ?1 ORDER BY stored_at LIMIT ?2";

pub(super) const TOTALS: &str = "SELECT blobs, bytes, manifests, tags, repositories, jobs, events, \
    events_dropped FROM total WHERE id = 1";

pub(super) const VALUE: &str = "SELECT value FROM value WHERE key = ?1";

pub(super) const VALUES: &str = "SELECT key, value FROM value \
    WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key";

pub(super) fn totals(row: &Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        blobs: row::unsigned(row, 0)?,
        bytes: row::unsigned(row, 1)?,
        manifests: row::unsigned(row, 2)?,
        tags: row::unsigned(row, 3)?,
        repositories: row::unsigned(row, 4)?,
        jobs: row::unsigned(row, 5)?,
        events: row::unsigned(row, 6)?,
        events_dropped: row::unsigned(row, 7)?,
    })
}

pub(super) fn extent(row: &Row<'_>) -> rusqlite::Result<Extent> {
    Ok(Extent {
        tags: row::unsigned(row, 0)?,
        manifests: row::unsigned(row, 1)?,
        bytes: row::unsigned(row, 2)?,
    })
}

/// `None` when nothing of the repository is known.
pub(super) fn tags(
    connection: &Connection,
    repository: &RepositoryName,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Option<Vec<Tag>>> {
    let mut known = connection.prepare_cached("SELECT 1 FROM repository WHERE name = ?1")?;
    let known = known
        .query_row([repository.as_str()], |_| Ok(()))
        .optional()?;
    if known.is_none() {
        return Ok(None);
    }
    let sql = "SELECT tag FROM tag WHERE repository = ?1 AND tag > ?2 ORDER BY tag LIMIT ?3";
    let key = params![repository.as_str(), after, count(limit)];
    rows(connection, sql, key, |row| row::text(row, 0)).map(Some)
}

/// The repositories that a pattern covers, as a half-open range of names. `0` is what follows `/`, `{` what follows `z`.
pub(super) fn range(pattern: &Pattern) -> (String, String) {
    match pattern {
        Pattern::All => (String::new(), "{".to_owned()),
        Pattern::Below(path) => (format!("{path}/"), format!("{path}0")),
        Pattern::Exact(name) => (name.to_string(), format!("{name} ")),
    }
}
