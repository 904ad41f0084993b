//! `regmesh wait`: ends when enough nodes hold all of an image.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use clap::Args;
use serde::Serialize;
use wire::{
    api::{
        inventory::Holding,
        mesh::MeshStatus,
        resource::{Kind, Resources},
    },
    name::NodeName,
    reference::Reference,
};

use super::resource;
use crate::{
    args::{self, Global},
    client::{Client, NOTHING},
    exit::{Exit, Wrong},
    fault::Code,
    output,
    target::{self, Selector, Target},
};

/// `regmesh wait`
#[derive(Debug, Clone, Args)]
pub struct Wait {
    /// REPOSITORY:TAG as the selected nodes name it, NODE/REPOSITORY:TAG to wait for the digest that node has, or a digest
    #[arg(value_name = "REF")]
    pub reference: Wanted,
    /// Which nodes: names, labels such as env=prod, or `all`
    #[arg(long, value_name = "SELECTOR")]
    pub on: Selector,
    /// How many of them: a number, or a percentage
    #[arg(long, default_value = "100%", value_name = "N|P%")]
    pub at_least: AtLeast,
    /// How long to wait
    #[arg(long, default_value = "10m", value_parser = args::duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A digest, in any repository.
    Digest(wire::digest::Digest),
    /// `repository` and `reference` as every selected node names it, or, if `repository` begins with a node's name, what that node has.
    Named(String),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) => target::image(text).map(|_| Self::Named(text.to_owned())),
        }
    }
}

/// How many nodes are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLeast {
    /// So many.
    Count(usize),
    /// So many of a hundred, rounded up.
    Percent(usize),
}

impl FromStr for AtLeast {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let told = || format!("'{text}' is neither a number of nodes nor a percentage such as 80%");
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().map_err(|_| told())?;
            return if (1..=100).contains(&percent) {
                Ok(Self::Percent(percent))
            } else {
                Err(told())
            };
        }
        match text.parse() {
            Ok(0) | Err(_) => Err(told()),
            Ok(count) => Ok(Self::Count(count)),
        }
    }
}

impl AtLeast {
    fn of(self, nodes: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => nodes.saturating_mul(percent).div_ceil(100),
        }
    }
}

/// Who holds it.
#[derive(Debug, Serialize)]
struct Held {
    complete: Vec<NodeName>,
    waiting: BTreeMap<NodeName, String>,
}

/// How often the nodes are asked.
const LOOK: Duration = Duration::from_millis(500);

/// Waits.
///
/// # Errors
/// When the control plane cannot be asked, no node is selected, or time is over.
pub async fn run(wait: Wait, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let nodes = selected(&client, &wait.on).await?;
    let needed = wait.at_least.of(nodes.len());
    anyhow::ensure!(
        needed <= nodes.len(),
        Code::NotFound.says(format!(
            "--at-least {needed} is more than the {} selected nodes",
            nodes.len()
        ))
    );
    let (repository, reference) = wanted(&client, wait.reference).await?;
    let mut last = None;
    let waiting = async {
        loop {
            let held = ask(&client, &nodes, repository.as_deref(), &reference).await;
            let enough = held.complete.len() >= needed;
            last = Some(held);
            if enough {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let in_time = tokio::time::timeout(wait.timeout, waiting).await.is_ok();
    let held = last.unwrap_or(Held {
        complete: Vec::new(),
        waiting: BTreeMap::new(),
    });
    output::object(global, &held, || {
        let mut lines = vec![format!(
            "{} of {} nodes hold {reference}",
            held.complete.len(),
            nodes.len()
        )];
        lines.extend(
            held.waiting
                .iter()
                .map(|(node, why)| format!("  {node}: {why}")),
        );
        lines.join("\n")
    })?;
    anyhow::ensure!(
        in_time,
        Code::TimedOut.says(format!("{needed} were waited for, {:?} long", wait.timeout))
    );
    Ok(Exit::Ok)
}

async fn selected(client: &Client, selector: &Selector) -> anyhow::Result<Vec<NodeName>> {
    let status: MeshStatus = client.get("/api/v1/status", NOTHING).await?;
    let declared: Resources = resource::list(client, Kind::Nodes, NOTHING).await?;
    selector.select(&status.nodes, |node, key, value| {
        let found = declared
            .items
            .iter()
            .find(|item| item.name == node.as_str());
        found.and_then(|item| item.spec.get("labels")?.get(key)?.as_str()) == Some(value)
    })
}

/// Where to look, and for what: a name that begins with a node is turned into the digest that node has.
async fn wanted(client: &Client, wanted: Wanted) -> anyhow::Result<(Option<String>, Reference)> {
    let text = match wanted {
        Wanted::Digest(digest) => return Ok((None, Reference::Digest(digest))),
        Wanted::Named(text) => text,
    };
    if let Ok(target) = text.parse::<Target>() {
        let known: Option<serde_json::Value> = client
            .find(&resource::path(Kind::Nodes, target.node.as_str()), NOTHING)
            .await?;
        if known.is_some() {
            let query = [
                ("repository", target.repository.to_string()),
                ("reference", target.reference_or_latest().to_string()),
            ];
            let holding: Holding = client
                .get(&format!("/api/v1/nodes/{}/holds", target.node), &query)
                .await?;
            let digest = holding.digest.ok_or_else(|| {
                Code::NotFound.error(format!(
                    "node {} does not know what {} is; pull it there first",
                    target.node, text
                ))
            })?;
            return Ok((None, Reference::Digest(digest)));
        }
    }
    let (repository, reference) = target::image(&text).map_err(Wrong)?;
    let reference = match reference {
        Some(reference) => reference,
        None => Reference::Tag("latest".parse()?),
    };
    Ok((Some(repository.to_string()), reference))
}

async fn ask(
    client: &Client,
    nodes: &[NodeName],
    repository: Option<&str>,
    reference: &Reference,
) -> Held {
    let asked = nodes.iter().map(|node| async move {
        let mut query = vec![("reference", reference.to_string())];
        query.extend(repository.map(|name| ("repository", name.to_owned())));
        let path = format!("/api/v1/nodes/{node}/holds");
        (node.clone(), client.get::<Holding>(&path, &query).await)
    });
    let mut held = Held {
        complete: Vec::new(),
        waiting: BTreeMap::new(),
    };
    for (node, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(holding) if holding.complete => held.complete.push(node),
            Ok(holding) => {
                let parts = super::manifest::stored(&holding.stored, false);
                let why = if holding.digest.is_none() {
                    "not there".to_owned()
                } else {
                    parts
                };
                held.waiting.insert(node, why);
            }
            Err(error) => drop(held.waiting.insert(node, format!("{error:#}"))),
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_up() {
        assert_eq!("80%".parse::<AtLeast>().unwrap().of(3), 3);
        assert_eq!("50%".parse::<AtLeast>().unwrap().of(4), 2);
        assert_eq!("2".parse::<AtLeast>().unwrap().of(9), 2);
        for text in ["0", "0%", "101%", "x", ""] {
            assert!(text.parse::<AtLeast>().is_err(), "{text}");
        }
    }
}
