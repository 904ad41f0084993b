//! `regmesh audit list`: every change, who made it, what was before and after.

use clap::{Args, Subcommand};
use serde::Deserialize;
use wire::api::audit::Entry;

use crate::{args::Global, client::Client, exit::Exit, output, table};

/// What to do with the audit log.
#[derive(Debug, Clone, Subcommand)]
pub enum Audit {
    /// List the newest entries
    List(List),
}

/// `regmesh audit list`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Only of this resource, such as rules/golden
    #[arg(long)]
    pub target: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

/// A part of the log.
#[derive(Debug, Deserialize)]
struct Part {
    items: Vec<Entry>,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(audit: Audit, global: &Global) -> anyhow::Result<Exit> {
    let Audit::List(list) = audit;
    let client = Client::new(global)?;
    let mut query = vec![("limit", list.limit.to_string())];
    query.extend(list.target.map(|target| ("target", target)));
    let mut part: Part = client.get("/api/v1/audit", &query).await?;
    part.items.sort_by_key(|entry| entry.sequence);
    output::object(global, &part.items, || {
        let rows = part.items.iter().map(|entry| {
            [
                entry.at.to_string(),
                entry.who.clone(),
                entry.action.clone(),
                entry.target.clone(),
                table::or_none(entry.generation),
                entry
                    .refused
                    .as_ref()
                    .map_or_else(String::new, |why| format!("refused: {why}")),
            ]
        });
        table::table(["time", "who", "did", "to", "generation", ""], rows)
    })?;
    Ok(Exit::Ok)
}
