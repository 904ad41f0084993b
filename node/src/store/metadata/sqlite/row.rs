//! Rows and records, both ways. Text that does not parse back is damage, not a missing row.

use std::{str::FromStr, sync::Arc};

use rusqlite::{Error, Result, Row, types::Type};
use serde::de::DeserializeOwned;
use uuid::Uuid;
use wire::time::WallTime;

use crate::store::metadata::{
    BlobRecord, Delivery, DeliveryState, EventRecord, Job, Link, LinkKind, ManifestRecord, Origin,
    TagRecord, UploadRecord, Version,
};

pub(super) fn tag(row: &Row<'_>) -> Result<TagRecord> {
    let complete = match optional(row, 5)? {
        None => None,
        Some(digest) => Some(Version {
            digest,
            media_type: row.get(6)?,
            size: unsigned(row, 7)?,
        }),
    };
    Ok(TagRecord {
        repository: text(row, 0)?,
        tag: text(row, 1)?,
        current: Version {
            digest: text(row, 2)?,
            media_type: row.get(3)?,
            size: unsigned(row, 4)?,
        },
        complete,
        checked_at: time(row, 8)?,
        observed_at: time(row, 9)?,
        origin: origin(row, 10)?,
    })
}

pub(super) fn link(row: &Row<'_>) -> Result<Link> {
    Ok(Link {
        repository: text(row, 0)?,
        digest: text(row, 1)?,
        kind: if row.get(2)? {
            LinkKind::Manifest
        } else {
            LinkKind::Blob
        },
        complete: row.get(3)?,
        origin: origin(row, 4)?,
        created_at: time(row, 5)?,
        used_at: time(row, 6)?,
    })
}

pub(super) fn manifest(row: &Row<'_>) -> Result<Arc<ManifestRecord>> {
    Ok(Arc::new(ManifestRecord {
        digest: text(row, 0)?,
        media_type: row.get(1)?,
        size: unsigned(row, 2)?,
        children: json(row, 3)?,
        subject: optional(row, 4)?,
        artifact_type: row.get(5)?,
        annotations: json(row, 6)?,
    }))
}

pub(super) fn blob(row: &Row<'_>) -> Result<BlobRecord> {
    Ok(BlobRecord {
        digest: text(row, 0)?,
        size: unsigned(row, 1)?,
        stored_at: time(row, 2)?,
        verified_at: time(row, 3)?,
    })
}

pub(super) fn job(row: &Row<'_>) -> Result<Job> {
    json(row, 0)
}

pub(super) fn delivered(row: &Row<'_>) -> Result<(EventRecord, Delivery)> {
    let id: Uuid = text(row, 0)?;
    let event = EventRecord {
        id,
        key: row.get(1)?,
        action: row.get(2)?,
        body: row.get(3)?,
        recorded_at: time(row, 4)?,
    };
    let delivery = Delivery {
        webhook: text(row, 5)?,
        event: id,
        state: match row.get(6)? {
            0 => DeliveryState::Pending,
            1 => DeliveryState::Delivered,
            2 => DeliveryState::Failed,
            other => return Err(Error::IntegralValueOutOfRange(6, other)),
        },
        attempts: row.get(7)?,
        due_at: time(row, 8)?,
        sent_at: row.get::<_, Option<i64>>(9)?.map(WallTime),
        response: row.get(10)?,
    };
    Ok((event, delivery))
}

pub(super) fn upload(row: &Row<'_>) -> Result<UploadRecord> {
    Ok(UploadRecord {
        id: text(row, 0)?,
        repository: text(row, 1)?,
        algorithm: text(row, 2)?,
        length: unsigned(row, 3)?,
        created_at: time(row, 4)?,
        touched_at: time(row, 5)?,
    })
}

pub(super) fn state(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Failed => 2,
    }
}

/// How an origin is written.
pub(super) fn rule(origin: &Origin) -> Option<&str> {
    match origin {
        Origin::Pushed => None,
        Origin::Filled(rule) => Some(rule.as_str()),
    }
}

/// How a size or count is written.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn text<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    parse(row.get_ref(column)?.as_str()?, column)
}

fn optional<T>(row: &Row<'_>, column: usize) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(|text| parse(text, column)).transpose()
}

fn parse<T>(text: &str, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let damaged = |error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
    text.parse().map_err(damaged)
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let damaged = |error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(damaged)
}

fn time(row: &Row<'_>, column: usize) -> Result<WallTime> {
    row.get(column).map(WallTime)
}

fn origin(row: &Row<'_>, column: usize) -> Result<Origin> {
    Ok(optional(row, column)?.map_or(Origin::Pushed, Origin::Filled))
}
