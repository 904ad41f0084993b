//! Events and their deliveries. An event without deliveries is gone; a full outbox drops the oldest and says so.

use runtime::sql::Error;
use rusqlite::{Connection, params};
use wire::{name::WebhookName, time::WallTime};

use super::{
    apply::{one, run},
    row, rows,
};
use crate::store::metadata::{Delivery, EventRecord, KEPT_DELIVERIES};

/// While the outbox is full, one line is logged for this many dropped events.
const LOGGED: u64 = 1_000;

pub(super) fn put(
    connection: &Connection,
    event: &EventRecord,
    webhooks: &[WebhookName],
    outbox: u64,
) -> Result<(), Error> {
    if webhooks.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO event (id, key, action, body, recorded_at) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT (id) DO NOTHING";
    let new = connection.prepare_cached(sql)?.execute(params![
        event.id.to_string(),
        event.key,
        event.action,
        event.body,
        event.recorded_at.0
    ])?;
    if new == 0 {
        return Ok(());
    }
    let number = connection.last_insert_rowid();
    let sql = "INSERT INTO delivery (webhook, number, state, attempts, due_at) \
        VALUES (?1, ?2, 0, 0, ?3) ON CONFLICT (webhook, number) DO NOTHING";
    for webhook in webhooks {
        let due_at = event.recorded_at.0;
        run(connection, sql, params![webhook.as_str(), number, due_at])?;
    }
    drop_oldest(connection, outbox)
}

fn drop_oldest(connection: &Connection, outbox: u64) -> Result<(), Error> {
    let sql = "SELECT events, events_dropped FROM total WHERE id = 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row::unsigned(row, 0)?, row::unsigned(row, 1)?));
    let (events, dropped) = one(connection, sql, [], read)?.unwrap_or_default();
    let surplus = events.saturating_sub(outbox);
    if surplus == 0 {
        return Ok(());
    }
    if dropped / LOGGED != (dropped + surplus) / LOGGED || dropped == 0 {
        let dropped = dropped + surplus;
        tracing::warn!(
            outbox,
            dropped,
            "the outbox is full and drops its oldest events"
        );
    }
    let surplus = row::signed(surplus);
    let sql =
        "DELETE FROM event WHERE number IN (SELECT number FROM event ORDER BY number LIMIT ?1)";
    run(connection, sql, [surplus])?;
    let sql = "UPDATE total SET events_dropped = events_dropped + ?1";
    run(connection, sql, [surplus])
}

pub(super) fn put_delivery(connection: &Connection, delivery: &Delivery) -> Result<(), Error> {
    run(
        connection,
        "INSERT INTO delivery (webhook, number, state, attempts, due_at, sent_at, response) \
         SELECT ?1, number, ?3, ?4, ?5, ?6, ?7 FROM event WHERE id = ?2 \
         ON CONFLICT (webhook, number) DO UPDATE SET state = excluded.state, \
         attempts = excluded.attempts, due_at = excluded.due_at, sent_at = excluded.sent_at, \
         response = excluded.response",
        params![
            delivery.webhook.as_str(),
            delivery.event.to_string(),
            row::state(delivery.state),
            delivery.attempts,
            delivery.due_at.0,
            delivery.sent_at.map(|at| at.0),
            delivery.response
        ],
    )
}

pub(super) fn forget(connection: &Connection, before: WallTime) -> Result<(), Error> {
    let sql = "SELECT DISTINCT webhook FROM delivery";
    let webhooks: Vec<String> = rows(connection, sql, [], |row| row.get(0))?;
    let kept = super::count(KEPT_DELIVERIES);
    for webhook in webhooks {
        run(
            connection,
            "DELETE FROM delivery WHERE webhook = ?1 AND state <> 0 AND number <= ( \
             SELECT number FROM delivery WHERE webhook = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2) \
             AND number IN (SELECT number FROM event WHERE recorded_at < ?3)",
            params![webhook, kept, before.0],
        )?;
    }
    let sql = "DELETE FROM event WHERE NOT EXISTS ( \
        SELECT 1 FROM delivery WHERE delivery.number = event.number)";
    run(connection, sql, [])
}
