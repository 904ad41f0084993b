//! The statements that SQLite and PostgreSQL share, and what their rows mean.
//!
//! Both understand `$1` and take values in the order in which the numbers first appear, so they appear in order. What a row means is
//! said once here: a row that cannot be understood is `Error::Damaged`, never a guess. Sequences come from `counters`, whose row is
//! locked until the commit, so that whoever reads "after N" misses nothing that is committed later.

use tokio::sync::watch;
use wire::{generation::Generation, name::NodeName, time::WallTime};

use super::{
    Asked, Error, Instance, JoinToken, NewEntry, News, Part, Reported, admit::Known, stored,
};

pub(super) const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001.sql")];

pub(super) const COUNTERS: &str = "SELECT name, value FROM counters";
pub(super) const COUNT: &str =
    "UPDATE counters SET value = value + $1 WHERE name = $2 RETURNING value";
pub(super) const NUMBER: &str = "SELECT value FROM counters WHERE name = 'generation'";
pub(super) const ADVANCE: &str =
    "UPDATE counters SET value = $1 WHERE name = 'generation' AND value = $2";

pub(super) const PUBLISH: &str = "INSERT INTO generations (generation, published) VALUES ($1, $2)";
pub(super) const NEWEST: &str =
    "SELECT generation, published FROM generations ORDER BY generation DESC LIMIT 1";
pub(super) const GENERATION: &str =
    "SELECT generation, published FROM generations WHERE generation = $1";

pub(super) const RECORD: &str = "INSERT INTO audit (sequence, target, entry) VALUES ($1, $2, $3)";
pub(super) const AUDIT_UP: &str = "SELECT sequence, entry FROM audit
    WHERE sequence > $1 AND sequence < $2 AND (CAST($3 AS TEXT) IS NULL OR target = $3)
    ORDER BY sequence LIMIT $4";
pub(super) const AUDIT_DOWN: &str = "SELECT sequence, entry FROM audit
    WHERE sequence > $1 AND sequence < $2 AND (CAST($3 AS TEXT) IS NULL OR target = $3)
    ORDER BY sequence DESC LIMIT $4";
pub(super) const SWEEP_AUDIT: &str = "DELETE FROM audit WHERE sequence <= $1";

pub(super) const SWEEP_TOKENS: &str = "DELETE FROM join_tokens WHERE expires_at < $1";
pub(super) const PUT_TOKEN: &str =
    "INSERT INTO join_tokens (hash, node, expires_at, uses) VALUES ($1, $2, $3, $4)";
pub(super) const TOKEN: &str =
    "SELECT hash, node, expires_at, uses FROM join_tokens WHERE hash = $1";
pub(super) const USE_TOKEN: &str = "UPDATE join_tokens SET uses = uses - 1 WHERE hash = $1";

pub(super) const INSTANCE: &str =
    "SELECT id, node, enrolled_at, counter, not_before, not_after, shut_out, renewal_key
    FROM instances WHERE id = $1";
pub(super) const INSTANCES: &str =
    "SELECT id, node, enrolled_at, counter, not_before, not_after, shut_out, renewal_key
    FROM instances ORDER BY id";
pub(super) const PUT_INSTANCE: &str = "INSERT INTO instances
    (id, node, enrolled_at, counter, not_before, not_after, shut_out, renewal_key)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (id) DO UPDATE SET node = excluded.node, enrolled_at = excluded.enrolled_at,
        counter = excluded.counter, not_before = excluded.not_before, not_after = excluded.not_after,
        shut_out = excluded.shut_out, renewal_key = excluded.renewal_key";
pub(super) const SHUT_OUT: &str = "UPDATE instances SET shut_out = $1 WHERE id = $2";
/// First what they said, as long as it is known who they are.
pub(super) const SWEEP_SAID: &str = "DELETE FROM reported WHERE instance IN
    (SELECT id FROM instances WHERE not_after < $1 AND shut_out IS NULL)";
pub(super) const SWEEP_INSTANCES: &str =
    "DELETE FROM instances WHERE not_after < $1 AND shut_out IS NULL";
pub(super) const FORGET: [&str; 4] = [
    "DELETE FROM join_tokens WHERE node = $1",
    "DELETE FROM instances WHERE node = $1",
    "DELETE FROM reported WHERE node = $1",
    "DELETE FROM history WHERE node = $1",
];

pub(super) const PUT_REPORTED: &str =
    "INSERT INTO reported (instance, node, held_by, last_seen, seen)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (instance) DO UPDATE SET node = excluded.node, held_by = excluded.held_by,
        last_seen = excluded.last_seen, seen = excluded.seen";
pub(super) const REPORTED: &str =
    "SELECT instance, node, held_by, last_seen, seen FROM reported ORDER BY instance";

pub(super) const ADD_HISTORY: &str = "INSERT INTO history (node, at, point) VALUES ($1, $2, $3)
    ON CONFLICT (node, at) DO UPDATE SET point = excluded.point";
pub(super) const SWEEP_HISTORY: &str = "DELETE FROM history WHERE at < $1";
pub(super) const HISTORY: &str =
    "SELECT point FROM history WHERE node = $1 AND at >= $2 ORDER BY at";

pub(super) const ADD_EVENT: &str =
    "INSERT INTO events (sequence, node, event_id, entry) VALUES ($1, $2, $3, $4)
    ON CONFLICT (event_id) DO NOTHING";
pub(super) const SWEEP_EVENTS: &str = "DELETE FROM events WHERE sequence <=
    (SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1 OFFSET $1)";
pub(super) const EVENTS_UP: &str = "SELECT sequence, entry FROM events
    WHERE sequence > $1 AND sequence < $2 AND (CAST($3 AS TEXT) IS NULL OR node = $3)
    ORDER BY sequence LIMIT $4";
pub(super) const EVENTS_DOWN: &str = "SELECT sequence, entry FROM events
    WHERE sequence > $1 AND sequence < $2 AND (CAST($3 AS TEXT) IS NULL OR node = $3)
    ORDER BY sequence DESC LIMIT $4";

pub(super) const VALUE: &str = "SELECT value FROM named_values WHERE name = $1";
pub(super) const VALUES: &str =
    "SELECT name, value FROM named_values WHERE substr(name, 1, length($1)) = $1";
pub(super) const ADD_VALUE: &str =
    "INSERT INTO named_values (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
pub(super) const SWAP_VALUE: &str =
    "UPDATE named_values SET value = $1 WHERE name = $2 AND value = $3";
pub(super) const REMOVE_VALUE: &str = "DELETE FROM named_values WHERE name = $1 AND value = $2";

pub(super) const SWEEP_ASKED: &str = "DELETE FROM asked WHERE until_at <= $1";
pub(super) const ASK: &str =
    "INSERT INTO asked (id, node, question, until_at, taken) VALUES ($1, $2, $3, $4, FALSE)
    ON CONFLICT (id) DO NOTHING";
pub(super) const ASKED: &str =
    "SELECT id, node, question, until_at FROM asked WHERE taken = FALSE AND until_at > $1";
pub(super) const TAKE_ASKED: &str = "UPDATE asked SET taken = TRUE WHERE id = $1 AND taken = FALSE";
pub(super) const PUT_ANSWER: &str = "UPDATE asked SET answer = $1 WHERE id = $2";
pub(super) const TAKE_ANSWER: &str =
    "DELETE FROM asked WHERE id = $1 AND answer IS NOT NULL RETURNING answer";

/// A row of `counters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    Generation,
    Audit,
    Event,
    Revocations,
    Events,
    Reports,
    Asks,
}

impl Counter {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Audit => "audit",
            Self::Event => "event",
            Self::Revocations => "revocations",
            Self::Events => "events",
            Self::Reports => "reports",
            Self::Asks => "asks",
        }
    }
}

/// What `COUNTERS` says.
pub(super) fn news(rows: &[(String, i64)]) -> News {
    let value = |counter: Counter| {
        let row = rows.iter().find(|(name, _)| name == counter.name());
        row.map_or(0, |(_, value)| value.unsigned_abs())
    };
    News {
        generation: Generation(value(Counter::Generation)),
        revocations: value(Counter::Revocations),
        events: value(Counter::Events),
        reports: value(Counter::Reports),
        asks: value(Counter::Asks),
    }
}

/// Takes over what is newer of `news`; nobody is woken when nothing is.
pub(super) fn tell(told: &watch::Sender<News>, news: News) {
    told.send_if_modified(|known| {
        let newest = News {
            generation: known.generation.max(news.generation),
            revocations: known.revocations.max(news.revocations),
            events: known.events.max(news.events),
            reports: known.reports.max(news.reports),
            asks: known.asks.max(news.asks),
        };
        let moved = *known != newest;
        *known = newest;
        moved
    });
}

/// What a write made known, to be told once it is committed.
pub(super) fn heard(counter: Counter, value: i64) -> News {
    news(&[(counter.name().to_owned(), value)])
}

/// A number of ours as the databases keep it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Damaged(format!("{number} counts nothing")))
}

fn node(name: &str) -> Result<NodeName, Error> {
    name.parse()
        .map_err(|_| Error::Damaged(format!("'{name}' names no node")))
}

/// PostgreSQL keeps no NUL in text, and a target may be what a stranger asked for.
pub(super) fn target(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Bounds for a part: sequences above, sequences below, whether upwards, how many.
pub(super) fn bounds(part: &Part) -> (i64, i64, bool, i64) {
    let after = part.after.map_or(-1, signed);
    let before = part.before.map_or(i64::MAX, signed);
    let limit = i64::try_from(part.limit).unwrap_or(i64::MAX);
    (after, before, part.after.is_some(), limit)
}

/// Rows for `RECORD`, the last of which has the sequence `last`.
pub(super) fn entries(
    entries: Vec<NewEntry>,
    last: i64,
) -> impl Iterator<Item = Result<(i64, String, String), Error>> {
    let first = last - signed(entries.len() as u64) + 1;
    (first..).zip(entries).map(|(sequence, entry)| {
        let target = target(&entry.target);
        let entry = entry.numbered(unsigned(sequence)?);
        Ok((sequence, target, stored::text(&entry)?))
    })
}

pub(super) type TokenRow = (String, String, i64, i64);

pub(super) fn token((hash, of, expires_at, uses): TokenRow) -> Result<JoinToken, Error> {
    Ok(JoinToken {
        hash,
        node: node(&of)?,
        expires_at: WallTime(expires_at),
        uses: u32::try_from(uses).unwrap_or(0),
    })
}

pub(super) type InstanceRow = (
    String,
    String,
    i64,
    i64,
    i64,
    i64,
    Option<String>,
    Option<String>,
);

pub(super) fn known(row: InstanceRow) -> Result<Known, Error> {
    let (id, of, enrolled_at, counter, not_before, not_after, shut_out, key) = row;
    let instance = Instance {
        id,
        node: node(&of)?,
        enrolled_at: WallTime(enrolled_at),
        counter: unsigned(counter)?,
        certificate: (WallTime(not_before), WallTime(not_after)),
        shut_out,
    };
    Ok(Known { instance, key })
}

pub(super) fn instance_row(known: &Known) -> InstanceRow {
    let instance = &known.instance;
    (
        instance.id.clone(),
        instance.node.to_string(),
        instance.enrolled_at.0,
        signed(instance.counter),
        instance.certificate.0.0,
        instance.certificate.1.0,
        instance.shut_out.clone(),
        known.key.clone(),
    )
}

pub(super) type ReportedRow = (String, Option<String>, String, i64, Vec<u8>);

pub(super) fn reported(row: ReportedRow) -> Result<Reported, Error> {
    let (instance, of, held_by, last_seen, seen) = row;
    Ok(Reported {
        instance,
        node: of.as_deref().map(node).transpose()?,
        held_by,
        last_seen: WallTime(last_seen),
        seen,
    })
}

pub(super) fn reported_row(reported: Reported) -> ReportedRow {
    (
        reported.instance,
        reported.node.map(|node| node.to_string()),
        reported.held_by,
        reported.last_seen.0,
        reported.seen,
    )
}

pub(super) type AskedRow = (String, String, Vec<u8>, i64);

pub(super) fn asked((id, of, question, until): AskedRow) -> Result<Asked, Error> {
    Ok(Asked {
        id,
        node: node(&of)?,
        question,
        until: WallTime(until),
    })
}
