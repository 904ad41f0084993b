//! The state in one SQLite file: the embedded default, for one control plane.
//!
//! Each method is one closure on the database's one writer, in a transaction of its own savepoint, acknowledged after the flush; each
//! lookup hops to the blocking pool. News are told after the commit, in this process alone.

use std::{fs, io, path::PathBuf};

use async_trait::async_trait;
use runtime::{Clock, Sqlite as Database, Tasks, sql as database};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use tokio::sync::watch;
use wire::{
    api::{audit, event, mesh::HistoryPoint},
    generation::Generation,
    name::NodeName,
    time::WallTime,
};

use super::{
    Admitted, Asked, Error, Instance, JoinToken, KEEP_TOKENS, NewEntry, News, Part, Publish,
    Published, Reported, State, admit,
    sql::{self, Counter},
    stored,
};

mod write;

/// State in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    database: Database,
    news: watch::Sender<News>,
    clock: Clock,
}

impl Sqlite {
    /// Opens the file, creating (0600) or migrating it. One process at a time may have it open.
    ///
    /// # Errors
    /// `Damaged` when it is no database of ours; `Unavailable` when it cannot be opened or written, or is of a newer release, and then
    /// it is left as it is.
    pub async fn open(
        path: impl Into<PathBuf>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let path = path.into();
        let opened = tasks.spawn_blocking("open the state", move || open(path));
        let (database, news) = opened
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))??;
        Ok(Self {
            database,
            news: watch::Sender::new(news),
            clock,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        Ok(self.database.read(query).await?)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.write(work).await
    }

    /// A write that is news.
    async fn tell(
        &self,
        work: impl FnOnce(&Connection) -> Result<News, Error> + Send + 'static,
    ) -> Result<(), Error> {
        sql::tell(&self.news, self.database.write(work).await?);
        Ok(())
    }

    async fn listed(
        &self,
        part: Part,
        up: &'static str,
        down: &'static str,
    ) -> Result<Vec<(i64, String)>, Error> {
        let (after, before, upwards, limit) = sql::bounds(&part);
        let of = part.of.as_deref().map(sql::target);
        let statement = if upwards { up } else { down };
        self.read(move |connection| rows(connection, statement, params![after, before, of, limit]))
            .await
    }
}

fn open(path: PathBuf) -> Result<(Database, News), Error> {
    let unavailable = |error: io::Error| {
        Error::Unavailable(format!("{} cannot be opened: {error}", path.display()))
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(unavailable)?;
    }
    private(&path).map_err(unavailable)?;
    let database = database::Config::new(path, sql::MIGRATIONS).open()?;
    let counters = database.read_now(|connection| rows(connection, sql::COUNTERS, []))?;
    Ok((database, sql::news(&counters)))
}

/// Makes the file before SQLite does, which would let others read it.
fn private(path: &PathBuf) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
        let text = format!("{error}{cause}");
        match error {
            database::Error::Corrupt(_) => Self::Damaged(text),
            database::Error::Full(_)
            | database::Error::ReadOnly(_)
            | database::Error::Busy(_)
            | database::Error::Io(_)
            | database::Error::Constraint(_)
            | database::Error::Other(_)
            | database::Error::Newer { .. }
            | database::Error::RolledBack
            | database::Error::Panicked
            | database::Error::Closed => Self::Unavailable(text),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        database::Error::from(error).into()
    }
}

fn rows<T>(connection: &Connection, sql: &str, key: impl Params) -> rusqlite::Result<Vec<T>>
where
    T: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
{
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(key, |row| T::try_from(row))?;
    rows.collect()
}

fn row<T>(connection: &Connection, sql: &str, key: impl Params) -> rusqlite::Result<Option<T>>
where
    T: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
{
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(key, |row| T::try_from(row)).optional()
}

fn published(row: Option<(i64, Vec<u8>)>) -> Result<Option<Published>, Error> {
    row.map(|(number, bytes)| stored::unpack(number, &bytes))
        .transpose()
}

#[async_trait]
impl State for Sqlite {
    async fn newest(&self) -> Result<Option<Published>, Error> {
        published(
            self.read(|connection| row(connection, sql::NEWEST, []))
                .await?,
        )
    }

    async fn generation(&self, generation: Generation) -> Result<Option<Published>, Error> {
        let number = sql::signed(generation.0);
        let found = self.read(move |connection| row(connection, sql::GENERATION, [number]));
        published(found.await?)
    }

    async fn publish(&self, publish: Publish) -> Result<(), Error> {
        self.tell(move |connection| write::publish(connection, publish))
            .await
    }

    async fn record(&self, entries: Vec<NewEntry>) -> Result<(), Error> {
        self.write(move |connection| write::record(connection, entries))
            .await
    }

    async fn audit(&self, part: Part) -> Result<Vec<audit::Entry>, Error> {
        let found = self.listed(part, sql::AUDIT_UP, sql::AUDIT_DOWN).await?;
        found.iter().map(|(_, entry)| stored::read(entry)).collect()
    }

    async fn sweep_audit(&self, to: u64) -> Result<u64, Error> {
        let to = sql::signed(to);
        self.write(move |connection| {
            let swept = write::execute(connection, sql::SWEEP_AUDIT, [to])?;
            Ok(swept as u64)
        })
        .await
    }

    async fn put_join_token(&self, token: JoinToken, audit: NewEntry) -> Result<(), Error> {
        let swept = WallTime(self.clock.wall_ms()).minus(KEEP_TOKENS);
        self.write(move |connection| write::put_token(connection, &token, swept, audit))
            .await
    }

    async fn enrol(
        &self,
        hash: Option<String>,
        instance: Instance,
        key: &str,
        now: WallTime,
        audit: NewEntry,
    ) -> Result<Admitted, Error> {
        let key = key.to_owned();
        self.write(move |connection| write::enrol(connection, hash, (instance, &key), now, audit))
            .await
    }

    async fn renew(
        &self,
        node: &NodeName,
        instance: &str,
        presented: u64,
        key: &str,
        certificate: (WallTime, WallTime),
        audit: NewEntry,
    ) -> Result<Admitted, Error> {
        let (node, instance, key) = (node.clone(), instance.to_owned(), key.to_owned());
        let renewed = self.write(move |connection| {
            let known = write::known(connection, &instance)?;
            let renewal = admit::renew(known.as_ref(), &node, presented, &key, certificate);
            write::renew(connection, renewal, audit)
        });
        let (admitted, news) = renewed.await?;
        sql::tell(&self.news, news);
        Ok(admitted)
    }

    async fn shut_out(&self, instance: &str, reason: &str, audit: NewEntry) -> Result<(), Error> {
        let (instance, reason) = (instance.to_owned(), reason.to_owned());
        self.tell(move |connection| {
            write::execute(connection, sql::SHUT_OUT, [reason, instance])?;
            write::record(connection, vec![audit])?;
            write::count(connection, Counter::Revocations)
        })
        .await
    }

    async fn instances(&self) -> Result<Vec<Instance>, Error> {
        let found = self
            .read(|connection| rows(connection, sql::INSTANCES, []))
            .await?;
        let known = found.into_iter().map(sql::known);
        known.map(|known| Ok(known?.instance)).collect()
    }

    async fn sweep_instances(&self, ended: WallTime) -> Result<u64, Error> {
        self.write(move |connection| {
            write::execute(connection, sql::SWEEP_SAID, [ended.0])?;
            let swept = write::execute(connection, sql::SWEEP_INSTANCES, [ended.0])?;
            Ok(swept as u64)
        })
        .await
    }

    async fn forget(&self, node: &NodeName) -> Result<(), Error> {
        let node = node.to_string();
        self.tell(move |connection| {
            for statement in sql::FORGET {
                write::execute(connection, statement, [&node])?;
            }
            write::count(connection, Counter::Revocations)
        })
        .await
    }

    async fn put_reported(&self, reported: Vec<Reported>) -> Result<(), Error> {
        if reported.is_empty() {
            return Ok(());
        }
        self.tell(move |connection| {
            for reported in reported {
                let row = sql::reported_row(reported);
                write::execute(connection, sql::PUT_REPORTED, row)?;
            }
            write::count(connection, Counter::Reports)
        })
        .await
    }

    async fn reported(&self) -> Result<Vec<Reported>, Error> {
        let found = self
            .read(|connection| rows(connection, sql::REPORTED, []))
            .await?;
        found.into_iter().map(sql::reported).collect()
    }

    async fn add_history(
        &self,
        points: Vec<(NodeName, HistoryPoint)>,
        keep_from: WallTime,
    ) -> Result<(), Error> {
        self.write(move |connection| {
            for (node, point) in points {
                let row = (node.as_str(), point.at.0, stored::text(&point)?);
                write::execute(connection, sql::ADD_HISTORY, row)?;
            }
            write::execute(connection, sql::SWEEP_HISTORY, [keep_from.0])?;
            Ok(())
        })
        .await
    }

    async fn history(&self, node: &NodeName, since: WallTime) -> Result<Vec<HistoryPoint>, Error> {
        let key = (node.to_string(), since.0);
        let found = self.read(move |connection| rows(connection, sql::HISTORY, key));
        let found: Vec<(String,)> = found.await?;
        found.iter().map(|(point,)| stored::read(point)).collect()
    }

    async fn add_events(&self, events: Vec<event::Entry>, keep: u64) -> Result<(), Error> {
        self.tell(move |connection| write::add_events(connection, events, keep))
            .await
    }

    async fn events(&self, part: Part) -> Result<Vec<event::Entry>, Error> {
        let found = self.listed(part, sql::EVENTS_UP, sql::EVENTS_DOWN).await?;
        found.iter().map(|(_, entry)| stored::read(entry)).collect()
    }

    async fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let name = name.to_owned();
        let found = self.read(move |connection| row(connection, sql::VALUE, [name]));
        let found: Option<(Vec<u8>,)> = found.await?;
        Ok(found.map(|(value,)| value))
    }

    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let prefix = prefix.to_owned();
        let found = self.read(move |connection| rows(connection, sql::VALUES, [prefix]));
        let mut found: Vec<(String, Vec<u8>)> = found.await?;
        found.sort();
        Ok(found)
    }

    async fn swap_value(
        &self,
        name: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Result<bool, Error> {
        let name = name.to_owned();
        self.write(move |connection| write::swap_value(connection, name, expected, value))
            .await
    }

    async fn ask(&self, asked: Asked) -> Result<(), Error> {
        let now = self.clock.wall_ms();
        self.tell(move |connection| {
            write::execute(connection, sql::SWEEP_ASKED, [now])?;
            let row = (asked.id, asked.node.as_str(), asked.question, asked.until.0);
            write::execute(connection, sql::ASK, row)?;
            write::count(connection, Counter::Asks)
        })
        .await
    }

    async fn take_asked(&self, nodes: Vec<NodeName>, now: WallTime) -> Result<Vec<Asked>, Error> {
        self.write(move |connection| write::take_asked(connection, &nodes, now))
            .await
    }

    async fn put_answer(&self, id: &str, answer: Vec<u8>) -> Result<(), Error> {
        let id = id.to_owned();
        self.tell(move |connection| {
            write::execute(connection, sql::PUT_ANSWER, (answer, id))?;
            write::count(connection, Counter::Asks)
        })
        .await
    }

    async fn take_answer(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let id = id.to_owned();
        let taken = self.write(move |connection| Ok(row(connection, sql::TAKE_ANSWER, [id])?));
        let taken: Option<(Vec<u8>,)> = taken.await?;
        Ok(taken.map(|(answer,)| answer))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests;
