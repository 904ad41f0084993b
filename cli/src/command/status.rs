//! `regmesh status`: the tree of nodes, each with its health, generation, rules, hit ratio, fills and storage.

use std::{io::Write, time::Duration};

use clap::Args;
use wire::api::{
    mesh::{Health, MeshStatus, NodeInTree},
    report::Counters,
};

use crate::{
    args::{Format, Global},
    client::{Client, NOTHING},
    exit::Exit,
    output, table,
};

/// `regmesh status`
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Show it again and again, until Ctrl-C or a closed pipe
    #[arg(short, long)]
    pub watch: bool,
    /// With --watch: how often
    #[arg(long, default_value = "2s", value_parser = crate::args::duration, value_name = "DURATION")]
    pub interval: Duration,
}

/// Prints it.
///
/// # Errors
/// When the control plane cannot be asked.
pub async fn run(status: Status, global: &Global) -> anyhow::Result<Exit> {
    if status.watch {
        return output::watching(look(status, global)).await;
    }
    look(status, global).await
}

async fn look(status: Status, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    loop {
        let mesh: MeshStatus = client.get("/api/v1/status", NOTHING).await?;
        if status.watch && global.output == Format::Table && output::is_lively(global) {
            // Home, and clear what is below: no flicker.
            let _ = write!(std::io::stderr(), "\x1b[H\x1b[J");
        }
        output::object(global, &mesh, || text(&mesh))?;
        if !status.watch {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(status.interval.max(Duration::from_millis(100))).await;
    }
}

fn text(mesh: &MeshStatus) -> String {
    let mut lines = vec![match &mesh.mesh {
        Some(name) => format!(
            "mesh {name}, generation {}, control plane {}",
            mesh.generation, mesh.version
        ),
        None => format!(
            "control plane {}: no topology yet; use `regmesh apply FILE`",
            mesh.version
        ),
    }];
    lines.extend(mesh.alarms.iter().map(|alarm| format!("alarm: {alarm}")));
    if !mesh.nodes.is_empty() {
        let head = [
            "node",
            "tier",
            "health",
            "generation",
            "rules",
            "hits",
            "fills",
            "copies",
            "stored",
        ];
        lines.push(table::table(head, mesh.nodes.iter().map(row)));
    }
    lines.extend(mesh.nodes.iter().flat_map(remarks));
    lines.join("\n")
}

fn row(node: &NodeInTree) -> [String; 9] {
    let indent = "  ".repeat(usize::from(node.tier.saturating_sub(1)));
    let stored = match node.capacity_bytes {
        Some(capacity) => format!(
            "{} of {}",
            table::bytes(node.stored_bytes),
            table::bytes(capacity)
        ),
        None => table::bytes(node.stored_bytes),
    };
    let unknown = node.health == Health::Absent;
    let or_none = |text: String| {
        if unknown {
            table::NONE.to_owned()
        } else {
            text
        }
    };
    [
        format!("{indent}{}", node.name),
        node.tier.to_string(),
        node.health.as_str().to_owned(),
        table::or_none(node.generation),
        match node.unwell.len() {
            0 => node.rules.to_string(),
            unwell => format!("{} ({unwell} unwell)", node.rules),
        },
        or_none(hit_ratio(&node.counters)),
        or_none(node.counters.fills_in_flight.to_string()),
        or_none(node.copies.to_string()),
        or_none(stored),
    ]
}

/// Of the requests that were answered, how many needed no content from an upstream.
fn hit_ratio(counters: &Counters) -> String {
    let answered = counters.hits.saturating_add(counters.fills);
    if answered == 0 {
        return table::NONE.to_owned();
    }
    format!("{:.0} %", counters.hits as f64 * 100.0 / answered as f64)
}

fn remarks(node: &NodeInTree) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(reason) = &node.reason {
        lines.push(format!("{}: {reason}", node.name));
    }
    if let Some(refused) = &node.refused {
        lines.push(format!(
            "{}: refuses generation {}:",
            node.name, refused.generation
        ));
        lines.extend(
            refused
                .problems
                .iter()
                .map(|problem| format!("  {}: {}", problem.code, problem.message)),
        );
    }
    lines.extend(node.unwell.iter().map(|rule| {
        let why = rule
            .reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        format!(
            "{}: rule {} is {}{why}",
            node.name,
            rule.name,
            rule.status.as_str()
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_ratio_is_of_what_was_answered() {
        let counters = |hits, fills| Counters {
            hits,
            fills,
            ..Counters::default()
        };
        assert_eq!(hit_ratio(&counters(0, 0)), "-");
        assert_eq!(hit_ratio(&counters(3, 1)), "75 %");
    }
}
