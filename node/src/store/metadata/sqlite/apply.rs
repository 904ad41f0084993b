//! The ops, carried out inside one transaction. What a record becomes is decided by `merge`, not by SQL.

use std::collections::BTreeSet;

use runtime::sql::Error;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use wire::{digest::Digest, repository::RepositoryName, time::WallTime};

use super::{outbox, query, row, rows};
use crate::store::metadata::{
    BlobRecord, Job, JobId, Link, LinkKind, ManifestRecord, Op, TagRecord, UploadRecord, merge,
};

/// Carries out one op.
pub(super) fn apply(connection: &Connection, op: Op, outbox: u64) -> Result<(), Error> {
    match op {
        Op::Begin(now) => begin(connection, now),
        Op::PutBlob(blob) => put_blob(connection, &blob),
        Op::DeleteBlob(digest) => delete_blob(connection, &digest),
        Op::DeleteUnreferenced(digest) => delete_unreferenced(connection, &digest),
        Op::Verified(digest, at) => run(
            connection,
            "UPDATE blob SET verified_at = ?2 WHERE digest = ?1",
            params![digest.as_str(), at.0],
        ),
        Op::PutLink(link) => put_link(connection, link),
        Op::DeleteLink(repository, digest) => delete_link(connection, &repository, &digest),
        Op::Lacking(repository, digest) => lacking(connection, &repository, &digest),
        Op::PutManifest(manifest) => put_manifest(connection, &manifest),
        Op::PutTag(tag) => {
            let old = stored_tag(connection, tag.repository.as_str(), tag.tag.as_str())?;
            set_tag(connection, merge::tag(old, tag))
        }
        Op::Checked(repository, tag, digest, at) => {
            let old = stored_tag(connection, repository.as_str(), tag.as_str())?;
            set_tag(
                connection,
                old.and_then(|tag| merge::checked(tag, &digest, at)),
            )
        }
        Op::Completed(repository, tag, version) => {
            let old = stored_tag(connection, repository.as_str(), tag.as_str())?;
            set_tag(
                connection,
                old.and_then(|tag| merge::completed(tag, version)),
            )
        }
        Op::DeleteTag(repository, tag) => run(
            connection,
            "DELETE FROM tag WHERE repository = ?1 AND tag = ?2",
            (repository.as_str(), tag.as_str()),
        ),
        Op::Used(used, at) => used
            .iter()
            .try_for_each(|(repository, digest)| set_used(connection, repository, digest, at)),
        Op::PutJob(job) => put_job(connection, job),
        Op::DeleteJob(id) => delete_job(connection, id),
        Op::FinishJob(id, tags) => {
            let job = one(connection, query::JOB_BY_ID, [id.0.to_string()], row::job)?;
            delete_job(connection, id)?;
            let rest = job.and_then(|job| merge::finished(job, &tags));
            rest.map_or(Ok(()), |rest| put_job(connection, rest))
        }
        Op::PutEvent(event, webhooks) => outbox::put(connection, &event, &webhooks, outbox),
        Op::PutDelivery(delivery) => outbox::put_delivery(connection, &delivery),
        Op::ForgetDeliveries(before) => outbox::forget(connection, before),
        Op::PutUpload(upload) => put_upload(connection, &upload),
        Op::DeleteUpload(id) => run(
            connection,
            "DELETE FROM upload WHERE id = ?1",
            [id.to_string()],
        ),
        Op::PutValue(key, Some(value)) => run(
            connection,
            "INSERT INTO value (key, value) VALUES (?1, ?2) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![key, value],
        ),
        Op::PutValue(key, None) => run(connection, "DELETE FROM value WHERE key = ?1", [key]),
    }
}

fn begin(connection: &Connection, now: WallTime) -> Result<(), Error> {
    for tag in rows(connection, query::TAGS_AHEAD, [now.0], row::tag)? {
        set_tag(connection, merge::begun(tag, now))?;
    }
    let jobs =
        "UPDATE job SET due_at = ?1, body = json_set(body, '$.due_at', ?1) WHERE due_at > ?1";
    run(connection, jobs, [now.0])?;
    let deliveries = "UPDATE delivery SET due_at = ?1 WHERE state = 0 AND due_at > ?1";
    run(connection, deliveries, [now.0])
}

/// One statement without an answer.
pub(super) fn run(connection: &Connection, sql: &str, params: impl Params) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

/// At most one row.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params, read).optional()?)
}

fn put_blob(connection: &Connection, blob: &BlobRecord) -> Result<(), Error> {
    run(
        connection,
        "INSERT INTO blob (digest, size, stored_at, verified_at, links) \
         VALUES (?1, ?2, ?3, ?4, (SELECT count(*) FROM link WHERE digest = ?1)) \
         ON CONFLICT (digest) DO UPDATE SET size = excluded.size, \
         stored_at = excluded.stored_at, verified_at = excluded.verified_at",
        params![
            blob.digest.as_str(),
            row::signed(blob.size),
            blob.stored_at.0,
            blob.verified_at.0
        ],
    )
}

fn delete_blob(connection: &Connection, digest: &Digest) -> Result<(), Error> {
    let sql = "DELETE FROM blob WHERE digest = ?1";
    run(connection, sql, [digest.as_str()])?;
    forget_manifest(connection, digest)
}

fn delete_unreferenced(connection: &Connection, digest: &Digest) -> Result<(), Error> {
    let sql = "DELETE FROM blob WHERE digest = ?1 \
        AND NOT EXISTS (SELECT 1 FROM link WHERE digest = ?1)";
    run(connection, sql, [digest.as_str()])?;
    forget_manifest(connection, digest)
}

/// What a manifest says is known as long as somebody stores it or refers to it.
fn forget_manifest(connection: &Connection, digest: &Digest) -> Result<(), Error> {
    let sql = "DELETE FROM manifest WHERE digest = ?1 \
        AND NOT EXISTS (SELECT 1 FROM blob WHERE digest = ?1) \
        AND NOT EXISTS (SELECT 1 FROM link WHERE digest = ?1)";
    run(connection, sql, [digest.as_str()])
}

fn put_link(connection: &Connection, link: Link) -> Result<(), Error> {
    let key = (link.repository.as_str(), link.digest.as_str());
    let old = one(connection, query::LINK, key, row::link)?;
    let link = merge::link(old, link);
    run(
        connection,
        "INSERT INTO link (repository, digest, manifest, complete, rule, created_at, used_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (repository, digest) DO UPDATE SET manifest = excluded.manifest, \
         complete = excluded.complete, rule = excluded.rule, used_at = excluded.used_at",
        params![
            link.repository.as_str(),
            link.digest.as_str(),
            link.kind == LinkKind::Manifest,
            link.complete,
            row::rule(&link.origin),
            link.created_at.0,
            link.used_at.0
        ],
    )
}

fn delete_link(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), Error> {
    for sql in [
        "DELETE FROM tag WHERE repository = ?1 AND digest = ?2",
        "UPDATE tag SET complete_digest = NULL, complete_media_type = NULL, complete_size = NULL \
         WHERE repository = ?1 AND complete_digest = ?2",
        "DELETE FROM job WHERE repository = ?1 AND root = ?2",
        "DELETE FROM link WHERE repository = ?1 AND digest = ?2",
    ] {
        run(connection, sql, (repository.as_str(), digest.as_str()))?;
    }
    forget_manifest(connection, digest)
}

fn lacking(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), Error> {
    for sql in [
        "UPDATE link SET complete = 0 WHERE repository = ?1 AND digest = ?2",
        "UPDATE tag SET complete_digest = NULL, complete_media_type = NULL, complete_size = NULL \
         WHERE repository = ?1 AND complete_digest = ?2",
    ] {
        run(connection, sql, (repository.as_str(), digest.as_str()))?;
    }
    Ok(())
}

fn put_manifest(connection: &Connection, manifest: &ManifestRecord) -> Result<(), Error> {
    let sql = "INSERT INTO manifest \
        (digest, media_type, size, children, subject, artifact_type, annotations) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (digest) DO NOTHING";
    let digest = manifest.digest.as_str();
    let new = connection.prepare_cached(sql)?.execute(params![
        digest,
        manifest.media_type,
        row::signed(manifest.size),
        json(&manifest.children)?,
        manifest.subject.as_ref().map(Digest::as_str),
        manifest.artifact_type,
        json(&manifest.annotations)?
    ])?;
    if new == 0 {
        return Ok(());
    }
    let children: BTreeSet<&str> = manifest
        .children
        .iter()
        .map(|c| c.digest.as_str())
        .collect();
    let sql = "INSERT INTO child (digest, parent) VALUES (?1, ?2)";
    children
        .into_iter()
        .try_for_each(|child| run(connection, sql, (child, digest)))
}

fn stored_tag(
    connection: &Connection,
    repository: &str,
    tag: &str,
) -> Result<Option<TagRecord>, Error> {
    one(connection, query::TAG, (repository, tag), row::tag)
}

fn set_tag(connection: &Connection, tag: Option<TagRecord>) -> Result<(), Error> {
    let Some(tag) = tag else { return Ok(()) };
    let complete = tag.complete.as_ref();
    run(
        connection,
        "INSERT INTO tag (repository, tag, digest, media_type, size, complete_digest, \
         complete_media_type, complete_size, checked_at, observed_at, rule) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, \
         media_type = excluded.media_type, size = excluded.size, \
         complete_digest = excluded.complete_digest, \
         complete_media_type = excluded.complete_media_type, \
         complete_size = excluded.complete_size, checked_at = excluded.checked_at, \
         observed_at = excluded.observed_at, rule = excluded.rule",
        params![
            tag.repository.as_str(),
            tag.tag.as_str(),
            tag.current.digest.as_str(),
            tag.current.media_type,
            row::signed(tag.current.size),
            complete.map(|version| version.digest.as_str()),
            complete.map(|version| version.media_type.as_str()),
            complete.map(|version| row::signed(version.size)),
            tag.checked_at.0,
            tag.observed_at.0,
            row::rule(&tag.origin)
        ],
    )
}

/// Who uses a manifest uses what it belongs to as well.
fn set_used(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    at: WallTime,
) -> Result<(), Error> {
    run(
        connection,
        "WITH RECURSIVE above (digest) AS (SELECT ?2 UNION SELECT child.parent FROM above \
         JOIN manifest ON manifest.digest = above.digest \
         JOIN child ON child.digest = above.digest) \
         UPDATE link SET used_at = ?3 \
         WHERE repository = ?1 AND digest IN (SELECT digest FROM above) AND used_at < ?3",
        params![repository.as_str(), digest.as_str(), at.0],
    )
}

fn put_job(connection: &Connection, job: Job) -> Result<(), Error> {
    let key = (job.repository.as_str(), job.root.as_str());
    let old = one(connection, query::JOB, key, row::job)?;
    let job = merge::job(old, job);
    run(
        connection,
        "INSERT INTO job (id, repository, root, due_at, body) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (repository, root) DO UPDATE SET due_at = excluded.due_at, \
         body = excluded.body",
        params![
            job.id.0.to_string(),
            job.repository.as_str(),
            job.root.as_str(),
            job.due_at.0,
            json(&job)?
        ],
    )
}

fn delete_job(connection: &Connection, id: JobId) -> Result<(), Error> {
    let sql = "DELETE FROM job WHERE id = ?1";
    run(connection, sql, [id.0.to_string()])
}

fn put_upload(connection: &Connection, upload: &UploadRecord) -> Result<(), Error> {
    run(
        connection,
        "INSERT INTO upload (id, repository, algorithm, length, created_at, touched_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (id) DO UPDATE SET length = excluded.length, touched_at = excluded.touched_at",
        params![
            upload.id.to_string(),
            upload.repository.as_str(),
            upload.algorithm.as_str(),
            row::signed(upload.length),
            upload.created_at.0,
            upload.touched_at.0
        ],
    )
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    let refused = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)).into();
    serde_json::to_string(value).map_err(refused)
}
