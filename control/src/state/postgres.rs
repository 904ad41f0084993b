//! The state in PostgreSQL: for several control planes side by side.
//!
//! Each method is one transaction. What is news is told to every control plane by NOTIFY on commit, and read from `counters`; whoever
//! loses the connection connects again and looks, and looks every few seconds anyway. Rows are locked in one order (what it is about,
//! then the counters: generation or audit first, news last), so that transactions wait for each other and never in a circle.

use std::{fmt::Display, time::Duration};

use async_trait::async_trait;
use runtime::{
    Clock, Tasks,
    sql::postgres::{self as database, PgPool},
};
use sqlx::{Postgres as Db, Transaction};
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

mod follow;
#[cfg(any(test, feature = "testing"))]
pub mod server;
mod write;

/// How long a method may take: a database that says nothing at all is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// State in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    pool: PgPool,
    news: watch::Sender<News>,
    clock: Clock,
}

impl Postgres {
    /// Connects to `postgres://…`, brings the database up to date, and follows its news until `tasks` end.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached or is of a newer release, and then it is left as it is.
    pub async fn connect(url: &str, clock: Clock, tasks: &Tasks) -> Result<Self, Error> {
        let pool = database::open(url, sql::MIGRATIONS).await?;
        let news = watch::Sender::new(follow::look(&pool).await?);
        let follow = follow::follow(pool.clone(), news.clone(), clock.clone(), tasks.token());
        tasks.spawn("follow the database", follow);
        Ok(Self { pool, news, clock })
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let done = self.clock.timeout(PATIENCE, work).await;
        done.unwrap_or_else(|_| {
            let text = format!("no answer within {} s", PATIENCE.as_secs());
            Err(Error::Unavailable(text))
        })
    }

    async fn begin(&self) -> Result<Transaction<'static, Db>, Error> {
        Ok(self.pool.begin().await?)
    }

    /// Commits, and tells the news here and to the others.
    async fn commit(&self, mut work: Transaction<'static, Db>, news: News) -> Result<(), Error> {
        if news != News::default() {
            write::notify(&mut work).await?;
        }
        work.commit().await?;
        sql::tell(&self.news, news);
        Ok(())
    }

    async fn listed(
        &self,
        part: Part,
        up: &'static str,
        down: &'static str,
    ) -> Result<Vec<(i64, String)>, Error> {
        let (after, before, upwards, limit) = sql::bounds(&part);
        let query = sqlx::query_as(if upwards { up } else { down })
            .bind(after)
            .bind(before)
            .bind(part.of.as_deref().map(sql::target))
            .bind(limit);
        self.within(async { Ok(query.fetch_all(&self.pool).await?) })
            .await
    }

    async fn published(
        &self,
        query: &'static str,
        number: Option<i64>,
    ) -> Result<Option<Published>, Error> {
        let mut query = sqlx::query_as(query);
        if let Some(number) = number {
            query = query.bind(number);
        }
        let found: Option<(i64, Vec<u8>)> = self
            .within(async { Ok(query.fetch_optional(&self.pool).await?) })
            .await?;
        found
            .map(|(number, bytes)| stored::unpack(number, &bytes))
            .transpose()
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Corrupt(_) => Self::Damaged(error.to_string()),
            database::Error::Url
            | database::Error::Away(_)
            | database::Error::Full(_)
            | database::Error::ReadOnly(_)
            | database::Error::Other(_)
            | database::Error::Newer { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        database::Error::from(error).into()
    }
}

fn gone(what: impl Display) -> Error {
    Error::Damaged(format!("{what} is gone"))
}

#[async_trait]
impl State for Postgres {
    async fn newest(&self) -> Result<Option<Published>, Error> {
        self.published(sql::NEWEST, None).await
    }

    async fn generation(&self, generation: Generation) -> Result<Option<Published>, Error> {
        self.published(sql::GENERATION, Some(sql::signed(generation.0)))
            .await
    }

    async fn publish(&self, publish: Publish) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let news = write::publish(&mut work, publish).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn record(&self, entries: Vec<NewEntry>) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            write::record(&mut work, entries).await?;
            self.commit(work, News::default()).await
        })
        .await
    }

    async fn audit(&self, part: Part) -> Result<Vec<audit::Entry>, Error> {
        let found = self.listed(part, sql::AUDIT_UP, sql::AUDIT_DOWN).await?;
        found.iter().map(|(_, entry)| stored::read(entry)).collect()
    }

    async fn sweep_audit(&self, to: u64) -> Result<u64, Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let sweep = sqlx::query(sql::SWEEP_AUDIT).bind(sql::signed(to));
            let swept = sweep.execute(&mut *work).await?.rows_affected();
            self.commit(work, News::default()).await?;
            Ok(swept)
        })
        .await
    }

    async fn put_join_token(&self, token: JoinToken, audit: NewEntry) -> Result<(), Error> {
        let swept = WallTime(self.clock.wall_ms()).minus(KEEP_TOKENS);
        self.within(async {
            let mut work = self.begin().await?;
            write::put_token(&mut work, token, swept, audit).await?;
            self.commit(work, News::default()).await
        })
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
        self.within(async {
            let mut work = self.begin().await?;
            let admitted = write::enrol(&mut work, hash, (instance, key), now, audit).await?;
            self.commit(work, News::default()).await?;
            Ok(admitted)
        })
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
        self.within(async {
            let mut work = self.begin().await?;
            let known = write::known(&mut work, instance).await?;
            let renewal = admit::renew(known.as_ref(), node, presented, key, certificate);
            let (admitted, news) = write::renew(&mut work, renewal, audit).await?;
            self.commit(work, news).await?;
            Ok(admitted)
        })
        .await
    }

    async fn shut_out(&self, instance: &str, reason: &str, audit: NewEntry) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let update = sqlx::query(sql::SHUT_OUT).bind(reason).bind(instance);
            update.execute(&mut *work).await?;
            write::record(&mut work, vec![audit]).await?;
            let news = write::count(&mut work, Counter::Revocations).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn instances(&self) -> Result<Vec<Instance>, Error> {
        let query = sqlx::query_as(sql::INSTANCES);
        let found = self.within(async { Ok(query.fetch_all(&self.pool).await?) });
        let known = found.await?.into_iter().map(sql::known);
        known.map(|known| Ok(known?.instance)).collect()
    }

    async fn sweep_instances(&self, ended: WallTime) -> Result<u64, Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let said = sqlx::query(sql::SWEEP_SAID).bind(ended.0);
            said.execute(&mut *work).await?;
            let sweep = sqlx::query(sql::SWEEP_INSTANCES).bind(ended.0);
            let swept = sweep.execute(&mut *work).await?.rows_affected();
            self.commit(work, News::default()).await?;
            Ok(swept)
        })
        .await
    }

    async fn forget(&self, node: &NodeName) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            for statement in sql::FORGET {
                let delete = sqlx::query(statement).bind(node.as_str());
                delete.execute(&mut *work).await?;
            }
            let news = write::count(&mut work, Counter::Revocations).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn put_reported(&self, reported: Vec<Reported>) -> Result<(), Error> {
        if reported.is_empty() {
            return Ok(());
        }
        self.within(async {
            let mut work = self.begin().await?;
            write::put_reported(&mut work, reported).await?;
            let news = write::count(&mut work, Counter::Reports).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn reported(&self) -> Result<Vec<Reported>, Error> {
        let query = sqlx::query_as(sql::REPORTED);
        let found = self.within(async { Ok(query.fetch_all(&self.pool).await?) });
        found.await?.into_iter().map(sql::reported).collect()
    }

    async fn add_history(
        &self,
        points: Vec<(NodeName, HistoryPoint)>,
        keep_from: WallTime,
    ) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            write::add_history(&mut work, points).await?;
            let sweep = sqlx::query(sql::SWEEP_HISTORY).bind(keep_from.0);
            sweep.execute(&mut *work).await?;
            self.commit(work, News::default()).await
        })
        .await
    }

    async fn history(&self, node: &NodeName, since: WallTime) -> Result<Vec<HistoryPoint>, Error> {
        let query = sqlx::query_as(sql::HISTORY)
            .bind(node.as_str())
            .bind(since.0);
        let found = self.within(async { Ok(query.fetch_all(&self.pool).await?) });
        let found: Vec<(String,)> = found.await?;
        found.iter().map(|(point,)| stored::read(point)).collect()
    }

    async fn add_events(&self, events: Vec<event::Entry>, keep: u64) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let news = write::add_events(&mut work, events, keep).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn events(&self, part: Part) -> Result<Vec<event::Entry>, Error> {
        let found = self.listed(part, sql::EVENTS_UP, sql::EVENTS_DOWN).await?;
        found.iter().map(|(_, entry)| stored::read(entry)).collect()
    }

    async fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let query = sqlx::query_scalar(sql::VALUE).bind(name);
        self.within(async { Ok(query.fetch_optional(&self.pool).await?) })
            .await
    }

    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let query = sqlx::query_as(sql::VALUES).bind(prefix);
        let found = self.within(async { Ok(query.fetch_all(&self.pool).await?) });
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
        let statement = match (expected, value) {
            (None, Some(value)) => sqlx::query(sql::ADD_VALUE).bind(name).bind(value),
            (Some(old), Some(value)) => sqlx::query(sql::SWAP_VALUE)
                .bind(value)
                .bind(name)
                .bind(old),
            (Some(old), None) => sqlx::query(sql::REMOVE_VALUE).bind(name).bind(old),
            (None, None) => return Ok(self.value(name).await?.is_none()),
        };
        let done = self.within(async { Ok(statement.execute(&self.pool).await?) });
        Ok(done.await?.rows_affected() > 0)
    }

    async fn ask(&self, asked: Asked) -> Result<(), Error> {
        let now = self.clock.wall_ms();
        self.within(async {
            let mut work = self.begin().await?;
            let sweep = sqlx::query(sql::SWEEP_ASKED).bind(now);
            sweep.execute(&mut *work).await?;
            let ask = sqlx::query(sql::ASK)
                .bind(asked.id)
                .bind(asked.node.to_string())
                .bind(asked.question)
                .bind(asked.until.0);
            ask.execute(&mut *work).await?;
            let news = write::count(&mut work, Counter::Asks).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn take_asked(&self, nodes: Vec<NodeName>, now: WallTime) -> Result<Vec<Asked>, Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let taken = write::take_asked(&mut work, &nodes, now).await?;
            self.commit(work, News::default()).await?;
            Ok(taken)
        })
        .await
    }

    async fn put_answer(&self, id: &str, answer: Vec<u8>) -> Result<(), Error> {
        self.within(async {
            let mut work = self.begin().await?;
            let put = sqlx::query(sql::PUT_ANSWER).bind(answer).bind(id);
            put.execute(&mut *work).await?;
            let news = write::count(&mut work, Counter::Asks).await?;
            self.commit(work, news).await
        })
        .await
    }

    async fn take_answer(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let query = sqlx::query_scalar(sql::TAKE_ANSWER).bind(id);
        self.within(async { Ok(query.fetch_optional(&self.pool).await?) })
            .await
    }

    fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests;
