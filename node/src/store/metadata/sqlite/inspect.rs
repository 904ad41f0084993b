//! What `verify` reads: the whole database, by a connection that cannot write.
//!
//! One read transaction, so that a node running at the same time does not change the picture half-way. Only here are whole
//! tables walked.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use wire::digest::Digest;

use super::{MIGRATIONS, row, rows};
use crate::store::{
    Error,
    metadata::{Child, Job, Totals},
};

/// A database opened for reading alone.
#[derive(Debug)]
pub(crate) struct Inspection(Connection);

impl Inspection {
    /// Opens the file and begins to read.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
        let version = connection
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
            .map_err(refused)?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if version == 0 || version > known {
            let text =
                format!("the metadata have version {version}, which this release cannot read");
            return Err(Error::failed(text));
        }
        connection.execute_batch("BEGIN").map_err(refused)?;
        Ok(Self(connection))
    }

    pub(crate) fn totals(&self) -> Result<Totals, Error> {
        let mut statement = self.0.prepare(super::query::TOTALS).map_err(refused)?;
        statement
            .query_row([], super::query::totals)
            .map_err(refused)
    }

    /// SQLite's own check of structure and indices; what it complains about.
    pub(crate) fn structure(&self) -> Result<Vec<String>, Error> {
        let lines: Vec<String> = self.all("PRAGMA quick_check(20)", |row| row.get(0))?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Every stored content and its size.
    pub(crate) fn blobs(&self) -> Result<Vec<(Digest, u64)>, Error> {
        self.all("SELECT digest, size FROM blob", |row| {
            Ok((row::text(row, 0)?, row::unsigned(row, 1)?))
        })
    }

    /// Links without content.
    pub(crate) fn loose_links(&self) -> Result<Vec<String>, Error> {
        self.all(
            "SELECT repository || '@' || digest FROM link \
             WHERE NOT EXISTS (SELECT 1 FROM blob WHERE blob.digest = link.digest)",
            |row| row.get(0),
        )
    }

    /// Links of manifests about which nothing is known.
    pub(crate) fn unknown_manifests(&self) -> Result<Vec<String>, Error> {
        self.all(
            "SELECT repository || '@' || digest FROM link WHERE manifest = 1 \
             AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = link.digest)",
            |row| row.get(0),
        )
    }

    /// Tags whose version, or complete version, the repository does not link.
    pub(crate) fn loose_tags(&self) -> Result<Vec<String>, Error> {
        self.all(
            "SELECT repository || ':' || tag || ' -> ' || digest FROM tag WHERE NOT EXISTS ( \
             SELECT 1 FROM link WHERE link.repository = tag.repository AND link.digest = tag.digest) \
             UNION ALL SELECT repository || ':' || tag || ' -> ' || complete_digest FROM tag \
             WHERE complete_digest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM link \
             WHERE link.repository = tag.repository AND link.digest = tag.complete_digest)",
            |row| row.get(0),
        )
    }

    /// Manifests whose copy was committed.
    pub(crate) fn complete(&self) -> Result<Vec<Complete>, Error> {
        self.all(
            "SELECT link.repository, link.digest, manifest.children, job.body FROM link \
             JOIN manifest ON manifest.digest = link.digest LEFT JOIN job \
             ON job.repository = link.repository AND job.root = link.digest \
             WHERE link.complete = 1",
            |row| {
                let job: Option<Job> = row
                    .get_ref(3)?
                    .as_str_or_null()?
                    .map(|_| row::json(row, 3))
                    .transpose()?;
                Ok(Complete {
                    repository: row.get(0)?,
                    digest: row::text(row, 1)?,
                    children: row::json(row, 2)?,
                    missing: job.map_or_else(Vec::new, |job| job.missing),
                })
            },
        )
    }

    /// Every link as (repository, digest).
    pub(crate) fn links(&self) -> Result<Vec<(String, Digest)>, Error> {
        self.all("SELECT repository, digest FROM link", |row| {
            Ok((row.get(0)?, row::text(row, 1)?))
        })
    }

    fn all<T>(
        &self,
        sql: &str,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        rows(&self.0, sql, [], read).map_err(refused)
    }
}

/// A manifest whose copy was committed, and what it needs.
#[derive(Debug)]
pub(crate) struct Complete {
    pub repository: String,
    pub digest: Digest,
    pub children: Vec<Child>,
    /// What its copy job knows the upstream does not have.
    pub missing: Vec<Digest>,
}

fn refused(error: rusqlite::Error) -> Error {
    runtime::sql::Error::from(error).into()
}
