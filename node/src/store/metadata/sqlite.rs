//! Metadata in SQLite: the embedded default.
//!
//! Point lookups stay on the calling thread (4 µs; a hop to the blocking pool costs ten times that), everything else hops. Each
//! `commit` is one closure on the one writer, which carries out what has queued in one transaction and answers after the flush.
//! Nothing here ever counts a table: `total` is kept by triggers.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use runtime::{Sqlite as Database, sql};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use uuid::Uuid;
use wire::{
    digest::Digest, name::WebhookName, pattern::Pattern, reference::Tag,
    repository::RepositoryName, time::WallTime,
};

use super::{
    BlobRecord, Delivery, EventRecord, Extent, Job, Link, ManifestRecord, Metadata, Op, TagRecord,
    Totals, UploadRecord,
};
use crate::store::Error;

mod apply;
mod inspect;
mod outbox;
mod query;
mod row;
mod salvage;

pub(crate) use inspect::{Complete, Inspection};

const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql")];

/// Metadata in one SQLite file. Clones share it.
#[derive(Debug, Clone)]
pub struct Sqlite {
    database: Database,
    outbox: u64,
}

impl Sqlite {
    /// Opens the file, creating or migrating it. Blocks. The outbox holds `outbox` events.
    ///
    /// A database of a newer release is left as it is; a damaged one is [`Error::Corrupt`].
    pub fn open(path: &Path, outbox: u64) -> Result<Self, Error> {
        let database = sql::Config::new(path, MIGRATIONS).open()?;
        Ok(Self { database, outbox })
    }

    fn point<T>(
        &self,
        sql: &'static str,
        key: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let found = self.database.read_now(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row(key, read).optional()
        });
        Ok(found?)
    }

    async fn query<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        Ok(self.database.read(query).await?)
    }
}

impl From<sql::Error> for Error {
    fn from(error: sql::Error) -> Self {
        match error {
            sql::Error::Full(_) => Self::Full,
            sql::Error::ReadOnly(_) => Self::ReadOnly,
            sql::Error::Corrupt(cause) => Self::Corrupt(format!("the metadata: {cause}")),
            sql::Error::Closed => Self::Closed,
            sql::Error::Busy(_)
            | sql::Error::Io(_)
            | sql::Error::Constraint(_)
            | sql::Error::Other(_)
            | sql::Error::RolledBack
            | sql::Error::Newer { .. }
            | sql::Error::Panicked => Self::failed(error),
        }
    }
}

/// Rows of a query, all of them.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    key: impl Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(key, read)?;
    rows.collect()
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl Metadata for Sqlite {
    async fn tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<TagRecord>, Error> {
        let key = (repository.as_str(), tag.as_str());
        self.point(query::TAG, key, row::tag)
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, Error> {
        let key = (repository.as_str(), digest.as_str());
        self.point(query::LINK, key, row::link)
    }

    async fn manifest(&self, digest: &Digest) -> Result<Option<Arc<ManifestRecord>>, Error> {
        self.point(query::MANIFEST, [digest.as_str()], row::manifest)
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<BlobRecord>, Error> {
        self.point(query::BLOB, [digest.as_str()], row::blob)
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Tag>>, Error> {
        let (repository, after) = (repository.clone(), after.unwrap_or("").to_owned());
        self.query(move |connection| query::tags(connection, &repository, &after, limit))
            .await
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>, Error> {
        let after = after.unwrap_or("").to_owned();
        self.query(move |connection| {
            let key = params![after, count(limit)];
            rows(connection, query::REPOSITORIES, key, |row| {
                row::text(row, 0)
            })
        })
        .await
    }

    async fn extent(&self, repository: &RepositoryName) -> Result<Extent, Error> {
        let repository = repository.clone();
        let found = self.query(move |connection| {
            let key = [repository.as_str()];
            rows(connection, query::EXTENT, key, query::extent)
        });
        Ok(found.await?.into_iter().next().unwrap_or_default())
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Link>, Error> {
        let (repository, after) = (repository.clone(), after.unwrap_or("").to_owned());
        self.query(move |connection| {
            let key = params![repository.as_str(), after, count(limit)];
            rows(connection, query::MANIFESTS, key, row::link)
        })
        .await
    }

    async fn pushed_repository(&self, covered: &Pattern) -> Result<Option<RepositoryName>, Error> {
        let (from, to) = query::range(covered);
        self.point(query::PUSHED, (from, to), |row| row::text(row, 0))
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Arc<ManifestRecord>>, Error> {
        let (repository, subject) = (repository.clone(), subject.clone());
        self.query(move |connection| {
            let key = (repository.as_str(), subject.as_str());
            rows(connection, query::REFERRERS, key, row::manifest)
        })
        .await
    }

    async fn parents(
        &self,
        repository: &RepositoryName,
        child: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        let (repository, child) = (repository.clone(), child.clone());
        self.query(move |connection| {
            let key = (repository.as_str(), child.as_str());
            rows(connection, query::PARENTS, key, |row| row::text(row, 0))
        })
        .await
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, Error> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.query(move |connection| {
            let key = (repository.as_str(), digest.as_str());
            rows(connection, query::TAGS_OF, key, |row| row::text(row, 0))
        })
        .await
    }

    async fn linked_by(&self, digest: &Digest, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        let digest = digest.clone();
        self.query(move |connection| {
            let key = params![digest.as_str(), count(limit)];
            rows(connection, query::LINKED_BY, key, |row| row::text(row, 0))
        })
        .await
    }

    async fn jobs(&self, limit: usize) -> Result<Vec<Job>, Error> {
        self.query(move |connection| rows(connection, query::JOBS, [count(limit)], row::job))
            .await
    }

    async fn job(&self, repository: &RepositoryName, root: &Digest) -> Result<Option<Job>, Error> {
        let key = (repository.as_str(), root.as_str());
        self.point(query::JOB, key, row::job)
    }

    async fn pending_events(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error> {
        let webhook = webhook.clone();
        self.query(move |connection| {
            let key = params![webhook.as_str(), count(limit)];
            rows(connection, query::PENDING, key, row::delivered)
        })
        .await
    }

    async fn deliveries(
        &self,
        webhook: &WebhookName,
        limit: usize,
    ) -> Result<Vec<(EventRecord, Delivery)>, Error> {
        let webhook = webhook.clone();
        self.query(move |connection| {
            let key = params![webhook.as_str(), count(limit)];
            rows(connection, query::DELIVERIES, key, row::delivered)
        })
        .await
    }

    async fn pending_counts(&self) -> Result<Vec<(WebhookName, u64)>, Error> {
        self.query(move |connection| {
            rows(connection, query::PENDING_COUNTS, [], |row| {
                Ok((row::text(row, 0)?, row::unsigned(row, 1)?))
            })
        })
        .await
    }

    async fn upload(&self, id: Uuid) -> Result<Option<UploadRecord>, Error> {
        self.point(query::UPLOAD, [id.to_string()], row::upload)
    }

    async fn stale_uploads(
        &self,
        before: WallTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>, Error> {
        self.query(move |connection| {
            let key = params![before.0, count(limit)];
            rows(connection, query::STALE_UPLOADS, key, row::upload)
        })
        .await
    }

    async fn least_verified(&self, limit: usize) -> Result<Vec<BlobRecord>, Error> {
        self.query(move |connection| {
            rows(connection, query::LEAST_VERIFIED, [count(limit)], row::blob)
        })
        .await
    }

    async fn least_used(&self, limit: usize) -> Result<Vec<Link>, Error> {
        self.query(move |connection| rows(connection, query::LEAST_USED, [count(limit)], row::link))
            .await
    }

    async fn unreferenced(&self, before: WallTime, limit: usize) -> Result<Vec<BlobRecord>, Error> {
        self.query(move |connection| {
            let key = params![before.0, count(limit)];
            rows(connection, query::UNREFERENCED, key, row::blob)
        })
        .await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let totals = self.point(query::TOTALS, [], query::totals)?;
        totals.ok_or_else(|| Error::Corrupt("the metadata: the totals are gone".to_owned()))
    }

    async fn value(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.point(query::VALUE, [key], |row| row.get(0))
    }

    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let prefix = prefix.to_owned();
        self.query(move |connection| {
            rows(connection, query::VALUES, [prefix], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
        .await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), Error> {
        let outbox = self.outbox;
        let committed = self.database.write(move |connection| {
            for op in ops {
                apply::apply(connection, op, outbox)?;
            }
            Ok::<(), sql::Error>(())
        });
        Ok(committed.await?)
    }
}

#[cfg(test)]
mod tests;
