//! What the writer does in one transaction, for everything that is more than one statement.

use rusqlite::{Connection, Params};
use wire::{api::event, generation::Generation, name::NodeName, time::WallTime};

use super::{row, rows};
use crate::state::{
    Admitted, Asked, Error, Instance, JoinToken, NewEntry, News, Publish, admit,
    sql::{self, Counter},
    stored,
};

/// Runs one statement; returns how many rows it changed.
pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    key: impl Params,
) -> Result<usize, Error> {
    Ok(connection.prepare_cached(sql)?.execute(key)?)
}

fn advance(connection: &Connection, counter: Counter, by: i64) -> Result<i64, Error> {
    let value: Option<(i64,)> = row(connection, sql::COUNT, (by, counter.name()))?;
    let gone = || Error::Damaged(format!("the counter '{}' is gone", counter.name()));
    Ok(value.ok_or_else(gone)?.0)
}

/// Counts something that others look at.
pub(super) fn count(connection: &Connection, counter: Counter) -> Result<News, Error> {
    Ok(sql::heard(counter, advance(connection, counter, 1)?))
}

pub(super) fn publish(connection: &Connection, publish: Publish) -> Result<News, Error> {
    let newest: Option<(i64,)> = row(connection, sql::NUMBER, [])?;
    let newest = Generation(sql::unsigned(newest.map_or(0, |(number,)| number))?);
    publish.check(newest)?;
    let number = sql::signed(publish.generation.0);
    let (published, entries) = publish.split();
    execute(connection, sql::ADVANCE, (number, sql::signed(newest.0)))?;
    execute(
        connection,
        sql::PUBLISH,
        (number, stored::pack(&published)?),
    )?;
    record(connection, entries)?;
    Ok(sql::heard(Counter::Generation, number))
}

pub(super) fn record(connection: &Connection, entries: Vec<NewEntry>) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let count = sql::signed(entries.len() as u64);
    let last = advance(connection, Counter::Audit, count)?;
    for entry in sql::entries(entries, last) {
        execute(connection, sql::RECORD, entry?)?;
    }
    Ok(())
}

pub(super) fn put_token(
    connection: &Connection,
    token: &JoinToken,
    swept: WallTime,
    audit: NewEntry,
) -> Result<(), Error> {
    execute(connection, sql::SWEEP_TOKENS, [swept.0])?;
    let uses = i64::from(token.uses);
    let row = (&token.hash, token.node.as_str(), token.expires_at.0, uses);
    execute(connection, sql::PUT_TOKEN, row)?;
    record(connection, vec![audit])
}

pub(super) fn known(connection: &Connection, id: &str) -> Result<Option<admit::Known>, Error> {
    let found = row(connection, sql::INSTANCE, [id])?;
    found.map(sql::known).transpose()
}

pub(super) fn enrol(
    connection: &Connection,
    hash: Option<String>,
    (instance, key): (Instance, &str),
    now: WallTime,
    audit: NewEntry,
) -> Result<Admitted, Error> {
    let token = match &hash {
        Some(hash) => row(connection, sql::TOKEN, [hash])?,
        None => None,
    };
    let token = token.map(sql::token).transpose()?;
    let proof = match &hash {
        Some(_) => admit::Proof::Token(token.as_ref()),
        None => admit::Proof::Other,
    };
    let known = known(connection, &instance.id)?;
    let enrolled = match admit::enrol(proof, known.as_ref(), instance, key, now) {
        Ok(enrolled) => enrolled,
        Err(refused) => return Ok(refused),
    };
    if let Some(hash) = hash.filter(|_| !enrolled.again) {
        execute(connection, sql::USE_TOKEN, [hash])?;
    }
    let row = sql::instance_row(&enrolled.known);
    execute(connection, sql::PUT_INSTANCE, row)?;
    record(connection, vec![audit])?;
    Ok(Admitted::Yes(enrolled.known.instance))
}

pub(super) fn renew(
    connection: &Connection,
    renewal: admit::Renewal,
    audit: NewEntry,
) -> Result<(Admitted, News), Error> {
    match renewal {
        admit::Renewal::Refused(refused) => Ok((refused, News::default())),
        admit::Renewal::Next(next) => {
            execute(connection, sql::PUT_INSTANCE, sql::instance_row(&next))?;
            record(connection, vec![audit])?;
            Ok((Admitted::Yes(next.instance), News::default()))
        }
        admit::Renewal::Copied(stored, told) => {
            execute(connection, sql::PUT_INSTANCE, sql::instance_row(&stored))?;
            let refused = stored.instance.shut_out;
            record(connection, vec![NewEntry { refused, ..audit }])?;
            Ok((told, count(connection, Counter::Revocations)?))
        }
    }
}

pub(super) fn add_events(
    connection: &Connection,
    events: Vec<event::Entry>,
    keep: u64,
) -> Result<News, Error> {
    let mut added = 0;
    let last = advance(connection, Counter::Event, sql::signed(events.len() as u64))?;
    let first = last - sql::signed(events.len() as u64) + 1;
    for (number, entry) in (first..).zip(events) {
        let entry = event::Entry {
            sequence: sql::unsigned(number)?,
            ..entry
        };
        let node = entry.node.as_ref().map(NodeName::as_str);
        let id = entry.event.as_ref().map(|event| event.id.to_string());
        let row = (number, node, id, stored::text(&entry)?);
        added += execute(connection, sql::ADD_EVENT, row)?;
    }
    execute(connection, sql::SWEEP_EVENTS, [sql::signed(keep)])?;
    if added == 0 {
        return Ok(News::default());
    }
    count(connection, Counter::Events)
}

pub(super) fn swap_value(
    connection: &Connection,
    name: String,
    expected: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
) -> Result<bool, Error> {
    let changed = match (expected, value) {
        (None, Some(value)) => execute(connection, sql::ADD_VALUE, (name, value))?,
        (Some(expected), Some(value)) => {
            execute(connection, sql::SWAP_VALUE, (value, name, expected))?
        }
        (Some(expected), None) => execute(connection, sql::REMOVE_VALUE, (name, expected))?,
        (None, None) => {
            let there: Option<(Vec<u8>,)> = row(connection, sql::VALUE, [name])?;
            usize::from(there.is_none())
        }
    };
    Ok(changed > 0)
}

pub(super) fn take_asked(
    connection: &Connection,
    nodes: &[NodeName],
    now: WallTime,
) -> Result<Vec<Asked>, Error> {
    let mut taken = Vec::new();
    for row in rows(connection, sql::ASKED, [now.0])? {
        let asked = sql::asked(row)?;
        if nodes.contains(&asked.node) && execute(connection, sql::TAKE_ASKED, [&asked.id])? > 0 {
            taken.push(asked);
        }
    }
    Ok(taken)
}
