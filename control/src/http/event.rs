//! Events: part by part, or as a stream that begins after the last one seen.

use std::sync::Arc;

use axum::response::Response;
use wire::{
    api::{event::Entry, inventory::Listed, problem::Problem},
    name::NodeName,
};

use super::{
    Api, audit,
    call::{Call, parameter},
    json,
    stream::{Ended, Stream},
};
use crate::state::{self, Part};

/// How many events are read at once.
const READ: usize = 500;
/// How many times so many are read in search of a rare kind.
const READS: usize = 20;

/// `GET /api/v1/events`
pub(super) async fn list(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let kind: Option<String> = call.query("kind")?;
    let _: Option<NodeName> = call.query("node")?;
    let asked = audit::asked(&call, "node")?;
    if call.accepts(&["text/event-stream"]) {
        let after = last_seen(&call)?.or(asked.part.after);
        let node = asked.part.of;
        return Stream::open(&api, &call, move |stream| follow(stream, after, node, kind));
    }
    match kind {
        None => {
            let items = api.state.events(asked.part.clone()).await?;
            Ok(json(200, &asked.listed(items, |entry| entry.sequence)))
        }
        Some(kind) => {
            let (items, next) = sieved(&api, asked.part.clone(), &kind).await?;
            let items = asked.listed(items, |entry| entry.sequence).items;
            Ok(json(200, &Listed { items, next }))
        }
    }
}

/// Those of one kind: the store knows no kinds, so a bounded number of events is looked through.
async fn sieved(
    api: &Api,
    mut part: Part,
    kind: &str,
) -> Result<(Vec<Entry>, Option<String>), state::Error> {
    let (limit, forwards) = (part.limit, part.after.is_some());
    part.limit = READ;
    let mut found = Vec::new();
    for _ in 0..READS {
        let read = api.state.events(part.clone()).await?;
        let (whole, last) = (read.len() < READ, read.last().map(|entry| entry.sequence));
        for entry in read.into_iter().filter(|entry| entry.kind == kind) {
            found.push(entry);
            if found.len() == limit {
                let next = found.last().map(|entry| entry.sequence.to_string());
                return Ok((found, next));
            }
        }
        if whole {
            return Ok((found, None));
        }
        if forwards {
            part.after = last;
        } else {
            part.before = last;
        }
    }
    let next = if forwards { part.after } else { part.before };
    Ok((found, next.map(|sequence| sequence.to_string())))
}

fn last_seen(call: &Call) -> Result<Option<u64>, Problem> {
    let Some(value) = call.headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| parameter("Last-Event-ID", "it is the id of an event"))
}

async fn follow(
    stream: Stream,
    after: Option<u64>,
    node: Option<String>,
    kind: Option<String>,
) -> Result<(), Ended> {
    let state = Arc::clone(&stream.api().state);
    let mut news = state.news();
    stream.alive().await?;
    let mut last = match after {
        Some(after) => after,
        None => newest(&*state).await,
    };
    loop {
        news.borrow_and_update();
        let part = Part {
            after: Some(last),
            before: None,
            of: node.clone(),
            limit: READ,
        };
        // A store that cannot be read now is looked at again with the next news or sign of life.
        let found = state.events(part).await.unwrap_or_default();
        let more = found.len() == READ;
        for entry in found {
            last = entry.sequence;
            if kind.as_ref().is_none_or(|kind| *kind == entry.kind) {
                stream.event(entry.sequence, &entry).await?;
            }
        }
        if !more && stream.wait(news.changed()).await?.is_err() {
            return Ok(());
        }
    }
}

async fn newest(state: &dyn state::State) -> u64 {
    let part = Part {
        limit: 1,
        ..Part::default()
    };
    let newest = state.events(part).await.unwrap_or_default();
    newest.first().map_or(0, |entry| entry.sequence)
}
