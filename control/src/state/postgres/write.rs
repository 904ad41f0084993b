//! What one transaction does, for everything that is more than one statement.
//!
//! Rows on which something is decided are read with a lock: between the look and the write nobody else may decide.

use sqlx::{AssertSqlSafe, PgConnection};
use wire::{
    api::{event, mesh::HistoryPoint},
    generation::Generation,
    name::NodeName,
    time::WallTime,
};

use super::gone;
use crate::state::{
    Admitted, Asked, Error, Instance, JoinToken, NewEntry, News, Publish, Reported, admit,
    sql::{self, Counter},
    stored,
};

/// The channel of news.
pub(super) const CHANNEL: &str = "regmesh";

const RECORD_ALL: &str = "INSERT INTO audit (sequence, target, entry)
    SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[])";

/// The statement, locking what it finds.
fn locking(statement: &'static str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{statement} FOR UPDATE"))
}

/// Wakes the other control planes once this is committed.
pub(super) async fn notify(work: &mut PgConnection) -> Result<(), Error> {
    let notify = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL);
    notify.execute(work).await?;
    Ok(())
}

async fn advance(work: &mut PgConnection, counter: Counter, by: i64) -> Result<i64, Error> {
    let update = sqlx::query_scalar(sql::COUNT).bind(by).bind(counter.name());
    let value: Option<i64> = update.fetch_optional(work).await?;
    value.ok_or_else(|| gone(format_args!("the counter '{}'", counter.name())))
}

/// Counts something that others look at.
pub(super) async fn count(work: &mut PgConnection, counter: Counter) -> Result<News, Error> {
    Ok(sql::heard(counter, advance(work, counter, 1).await?))
}

pub(super) async fn publish(work: &mut PgConnection, publish: Publish) -> Result<News, Error> {
    let newest = sqlx::query_scalar(locking(sql::NUMBER));
    let newest: Option<i64> = newest.fetch_optional(&mut *work).await?;
    let newest = newest.ok_or_else(|| gone("the counter 'generation'"))?;
    publish.check(Generation(sql::unsigned(newest)?))?;
    let number = sql::signed(publish.generation.0);
    let (published, entries) = publish.split();
    let advance = sqlx::query(sql::ADVANCE).bind(number).bind(newest);
    advance.execute(&mut *work).await?;
    let insert = sqlx::query(sql::PUBLISH)
        .bind(number)
        .bind(stored::pack(&published)?);
    insert.execute(&mut *work).await?;
    record(work, entries).await?;
    Ok(sql::heard(Counter::Generation, number))
}

pub(super) async fn record(work: &mut PgConnection, entries: Vec<NewEntry>) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let last = advance(work, Counter::Audit, sql::signed(entries.len() as u64)).await?;
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for row in sql::entries(entries, last) {
        let (sequence, target, entry) = row?;
        columns.0.push(sequence);
        columns.1.push(target);
        columns.2.push(entry);
    }
    let insert = sqlx::query(RECORD_ALL)
        .bind(columns.0)
        .bind(columns.1)
        .bind(columns.2);
    insert.execute(work).await?;
    Ok(())
}

pub(super) async fn put_token(
    work: &mut PgConnection,
    token: JoinToken,
    swept: WallTime,
    audit: NewEntry,
) -> Result<(), Error> {
    let sweep = sqlx::query(sql::SWEEP_TOKENS).bind(swept.0);
    sweep.execute(&mut *work).await?;
    let put = sqlx::query(sql::PUT_TOKEN)
        .bind(token.hash)
        .bind(token.node.to_string())
        .bind(token.expires_at.0)
        .bind(i64::from(token.uses));
    put.execute(&mut *work).await?;
    record(work, vec![audit]).await
}

pub(super) async fn known(
    work: &mut PgConnection,
    id: &str,
) -> Result<Option<admit::Known>, Error> {
    let found = sqlx::query_as(locking(sql::INSTANCE)).bind(id);
    let found = found.fetch_optional(work).await?;
    found.map(sql::known).transpose()
}

async fn put_instance(work: &mut PgConnection, known: &admit::Known) -> Result<(), Error> {
    let (id, node, enrolled_at, counter, not_before, not_after, shut_out, key) =
        sql::instance_row(known);
    let put = sqlx::query(sql::PUT_INSTANCE)
        .bind(id)
        .bind(node)
        .bind(enrolled_at)
        .bind(counter)
        .bind(not_before)
        .bind(not_after)
        .bind(shut_out)
        .bind(key);
    put.execute(work).await?;
    Ok(())
}

pub(super) async fn enrol(
    work: &mut PgConnection,
    hash: Option<String>,
    (instance, key): (Instance, &str),
    now: WallTime,
    audit: NewEntry,
) -> Result<Admitted, Error> {
    let token = match &hash {
        Some(hash) => {
            let token = sqlx::query_as(locking(sql::TOKEN)).bind(hash);
            let token = token.fetch_optional(&mut *work).await?;
            token.map(sql::token).transpose()?
        }
        None => None,
    };
    let proof = match &hash {
        Some(_) => admit::Proof::Token(token.as_ref()),
        None => admit::Proof::Other,
    };
    let before = known(work, &instance.id).await?;
    let enrolled = match admit::enrol(proof, before.as_ref(), instance, key, now) {
        Ok(enrolled) => enrolled,
        Err(refused) => return Ok(refused),
    };
    if let Some(hash) = hash.filter(|_| !enrolled.again) {
        sqlx::query(sql::USE_TOKEN)
            .bind(hash)
            .execute(&mut *work)
            .await?;
    }
    put_instance(work, &enrolled.known).await?;
    record(work, vec![audit]).await?;
    Ok(Admitted::Yes(enrolled.known.instance))
}

pub(super) async fn renew(
    work: &mut PgConnection,
    renewal: admit::Renewal,
    audit: NewEntry,
) -> Result<(Admitted, News), Error> {
    match renewal {
        admit::Renewal::Refused(refused) => Ok((refused, News::default())),
        admit::Renewal::Next(next) => {
            put_instance(work, &next).await?;
            record(work, vec![audit]).await?;
            Ok((Admitted::Yes(next.instance), News::default()))
        }
        admit::Renewal::Copied(stored, told) => {
            put_instance(work, &stored).await?;
            let refused = stored.instance.shut_out;
            record(work, vec![NewEntry { refused, ..audit }]).await?;
            Ok((told, count(work, Counter::Revocations).await?))
        }
    }
}

pub(super) async fn put_reported(
    work: &mut PgConnection,
    mut reported: Vec<Reported>,
) -> Result<(), Error> {
    // In one order, so that two control planes that write the same instances do not lock each other out.
    reported.sort_by(|one, other| one.instance.cmp(&other.instance));
    for reported in reported {
        let (instance, node, held_by, last_seen, seen) = sql::reported_row(reported);
        let put = sqlx::query(sql::PUT_REPORTED)
            .bind(instance)
            .bind(node)
            .bind(held_by)
            .bind(last_seen)
            .bind(seen);
        put.execute(&mut *work).await?;
    }
    Ok(())
}

pub(super) async fn add_history(
    work: &mut PgConnection,
    mut points: Vec<(NodeName, HistoryPoint)>,
) -> Result<(), Error> {
    points.sort_by(|(one, at), (other, then)| (one, at.at).cmp(&(other, then.at)));
    for (node, point) in points {
        let add = sqlx::query(sql::ADD_HISTORY)
            .bind(node.to_string())
            .bind(point.at.0)
            .bind(stored::text(&point)?);
        add.execute(&mut *work).await?;
    }
    Ok(())
}

pub(super) async fn add_events(
    work: &mut PgConnection,
    events: Vec<event::Entry>,
    keep: u64,
) -> Result<News, Error> {
    let amount = sql::signed(events.len() as u64);
    let first = advance(work, Counter::Event, amount).await? - amount + 1;
    let mut added = 0;
    for (number, entry) in (first..).zip(events) {
        let entry = event::Entry {
            sequence: sql::unsigned(number)?,
            ..entry
        };
        let add = sqlx::query(sql::ADD_EVENT)
            .bind(number)
            .bind(entry.node.as_ref().map(ToString::to_string))
            .bind(entry.event.as_ref().map(|event| event.id.to_string()))
            .bind(stored::text(&entry)?);
        added += add.execute(&mut *work).await?.rows_affected();
    }
    let sweep = sqlx::query(sql::SWEEP_EVENTS).bind(sql::signed(keep));
    sweep.execute(&mut *work).await?;
    if added == 0 {
        return Ok(News::default());
    }
    count(work, Counter::Events).await
}

pub(super) async fn take_asked(
    work: &mut PgConnection,
    nodes: &[NodeName],
    now: WallTime,
) -> Result<Vec<Asked>, Error> {
    let waiting = sqlx::query_as(sql::ASKED).bind(now.0);
    let mut taken = Vec::new();
    for row in waiting.fetch_all(&mut *work).await? {
        let asked = sql::asked(row)?;
        if !nodes.contains(&asked.node) {
            continue;
        }
        let take = sqlx::query(sql::TAKE_ASKED).bind(&asked.id);
        if take.execute(&mut *work).await?.rows_affected() > 0 {
            taken.push(asked);
        }
    }
    Ok(taken)
}
