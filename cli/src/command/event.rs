//! `regmesh event`: what happened in the mesh.

use std::{pin::pin, time::Duration};

use clap::{Args, Subcommand};
use futures_util::{Stream, StreamExt};
use runtime::clock::Clock;
use serde::Deserialize;
use wire::{
    api::{event::Entry, problem::Problem},
    time::WallTime,
};

use crate::{
    args::{Format, Global},
    client::{Client, Query},
    exit::Exit,
    fault::{self, Code, Fault},
    output, table,
};

/// What to do with events.
#[derive(Debug, Clone, Subcommand)]
pub enum Event {
    /// List the newest events
    List(List),
    /// Print events as they happen
    Watch(Filter),
}

/// `regmesh event list`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Which
    #[command(flatten)]
    pub filter: Filter,
    /// How many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

/// Which events.
#[derive(Debug, Clone, Args)]
pub struct Filter {
    /// Only of this node
    #[arg(long)]
    pub node: Option<String>,
    /// Only of this kind, such as push or node_disconnected
    #[arg(long)]
    pub kind: Option<String>,
}

/// A part of the list.
#[derive(Debug, Deserialize)]
struct Part {
    items: Vec<Entry>,
}

impl Filter {
    fn query(self) -> Vec<(&'static str, String)> {
        let node = self.node.map(|node| ("node", node));
        node.into_iter()
            .chain(self.kind.map(|kind| ("kind", kind)))
            .collect()
    }
}

/// How long it is until a stream that broke is asked for again: at once if it had said something, then longer each time.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is asked for in vain, which takes about ten minutes, before that is an error.
const ATTEMPTS: u32 = 24;

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(event: Event, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    match event {
        Event::List(list) => {
            let mut query = list.filter.query();
            query.push(("limit", list.limit.to_string()));
            let mut part: Part = client.get("/api/v1/events", &query).await?;
            part.items.sort_by_key(|entry| entry.sequence);
            output::object(global, &part.items, || {
                let rows = part.items.iter().map(|entry| {
                    [
                        when(entry).to_string(),
                        table::or_none(entry.node.as_ref()),
                        entry.kind.clone(),
                        entry.text.clone(),
                    ]
                });
                table::table(["time", "node", "event", "what"], rows)
            })?;
            Ok(Exit::Ok)
        }
        Event::Watch(filter) => {
            let (query, clock) = (filter.query(), Clock::system());
            let tell = |entry: &Entry| line(entry, global);
            let broke = |why: &str| output::words(global, why);
            output::watching(follow(&client, &query, &clock, tell, broke)).await
        }
    }
}

/// Tells every event from now on; goes on after the last one told when the stream breaks.
async fn follow(
    client: &Client,
    query: Query<'_>,
    clock: &Clock,
    mut tell: impl FnMut(&Entry) -> anyhow::Result<()>,
    broke: impl Fn(&str),
) -> anyhow::Result<Exit> {
    let newest: Part = client
        .get("/api/v1/events", &[("limit", "1".to_owned())])
        .await?;
    let mut last = newest.items.first().map_or(0, |entry| entry.sequence);
    let mut vain = 0;
    loop {
        let before = last;
        let (opened, ended) = match client.events("/api/v1/events", query, last).await {
            Ok(stream) => (true, listen(stream, &mut last, &mut tell).await),
            Err(error) => (false, Err(error)),
        };
        let why = match ended {
            Ok(()) => Code::StreamEnded.error("the control plane ended the stream of events"),
            Err(error) if is_passing(&error) => error,
            Err(error) => return Err(error),
        };
        vain = match (opened, last > before) {
            (_, true) => 0,
            (true, false) => 1,
            (false, false) => vain + 1,
        };
        let Some(pause) = pause(vain) else {
            return Err(why);
        };
        // The first time says it; that it goes on is seen.
        if vain <= 1 {
            let why = fault::told(&why);
            broke(&format!("{why}; asking again from the event after {last}"));
        }
        clock.sleep(pause).await;
    }
}

/// Tells events until the stream ends or breaks.
async fn listen(
    stream: impl Stream<Item = anyhow::Result<Entry>>,
    last: &mut u64,
    tell: &mut impl FnMut(&Entry) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stream = pin!(stream);
    while let Some(entry) = stream.next().await {
        let entry = entry?;
        tell(&entry)?;
        *last = entry.sequence;
    }
    Ok(())
}

/// Whether it may work again later: nobody answers, or says that it is no time for it.
fn is_passing(error: &anyhow::Error) -> bool {
    let problem = error.downcast_ref::<Problem>();
    let fault = error.downcast_ref::<Fault>();
    match problem {
        Some(problem) => problem.status >= 500 || problem.status == 429,
        None => fault.is_some_and(|fault| {
            matches!(fault.code, Code::ControlUnreachable | Code::StreamEnded)
        }),
    }
}

/// How long to wait after so many attempts in vain; none when it is enough.
fn pause(vain: u32) -> Option<Duration> {
    match vain {
        0 => Some(Duration::ZERO),
        ATTEMPTS.. => None,
        _ => Some(LONGEST.min(SHORTEST * 2_u32.saturating_pow(vain - 1))),
    }
}

/// When it happened: what a node reports is heard of some seconds later.
fn when(entry: &Entry) -> WallTime {
    entry
        .event
        .as_ref()
        .map_or(entry.at, |event| event.timestamp)
}

fn line(entry: &Entry, global: &Global) -> anyhow::Result<()> {
    match global.output {
        Format::Table => output::data(&format!(
            "{}  {:<12}  {:<18}  {}",
            when(entry),
            table::or_none(entry.node.as_ref()),
            entry.kind,
            entry.text
        )),
        Format::Json => output::data(&serde_json::to_string(entry)?),
        Format::Yaml => output::data(&format!(
            "---\n{}",
            serde_saphyr::to_string(entry)?.trim_end()
        )),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
