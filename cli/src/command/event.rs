//! `regmesh event`: what happened in the mesh.

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde::Deserialize;
use wire::api::event::Entry;

use crate::{
    args::{Format, Global},
    client::Client,
    exit::Exit,
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
                        entry.at.to_string(),
                        table::or_none(entry.node.as_ref()),
                        entry.kind.clone(),
                        entry.text.clone(),
                    ]
                });
                table::table(["time", "node", "event", "what"], rows)
            })?;
        }
        Event::Watch(filter) => {
            let stream = client
                .events::<Entry>("/api/v1/events", &filter.query())
                .await?;
            futures_util::pin_mut!(stream);
            while let Some(entry) = stream.next().await {
                line(&entry?, global)?;
            }
            anyhow::bail!("the control plane ended the stream of events");
        }
    }
    Ok(Exit::Ok)
}

fn line(entry: &Entry, global: &Global) -> anyhow::Result<()> {
    match global.output {
        Format::Table => output::data(&format!(
            "{}  {:<12}  {:<18}  {}",
            entry.at,
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
