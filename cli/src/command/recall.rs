//! `regmesh recall`: a digest that every node refuses, with what contains it.

use clap::{Args, Subcommand};
use http::Method;
use wire::{
    api::recall::{Recall as InForce, Request},
    digest::Digest,
};

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::{Exit, Wrong},
    output, table,
};

/// `regmesh recall`
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Recall {
    /// What is to be refused: the digest of a manifest or blob
    #[arg(required = true)]
    pub digest: Option<Digest>,
    /// Shown to whoever is refused
    #[arg(long, required = true)]
    pub reason: Option<String>,
    /// What else to do
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What else to do with recalls.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// List recalls in force, and the nodes that have not confirmed them
    List,
    /// End a recall
    Lift(Lift),
}

/// `regmesh recall lift`
#[derive(Debug, Clone, Args)]
pub struct Lift {
    /// What was recalled
    pub digest: Digest,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(recall: Recall, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    match (recall.action, recall.digest, recall.reason) {
        (Some(Action::List), ..) => {
            let recalls: Vec<InForce> = client.get("/api/v1/recalls", NOTHING).await?;
            output::object(global, &recalls, || {
                let rows = recalls.iter().map(|recall| {
                    [
                        recall.digest.to_string(),
                        recall.at.to_string(),
                        recall.by.clone(),
                        names(&recall.unconfirmed),
                        recall.reason.clone(),
                    ]
                });
                table::table(
                    ["digest", "since", "by", "not confirmed by", "reason"],
                    rows,
                )
            })?;
        }
        (Some(Action::Lift(lift)), ..) => {
            client
                .tell(
                    Method::DELETE,
                    &format!("/api/v1/recalls/{}", lift.digest),
                    NOTHING,
                )
                .await?;
            output::words(global, &format!("{} is no longer recalled", lift.digest));
        }
        (None, Some(digest), Some(reason)) => {
            let request = Request { digest, reason };
            let made: InForce = client
                .send(Method::POST, "/api/v1/recalls", NOTHING, &request)
                .await?;
            output::object(global, &made, || {
                format!(
                    "{} is recalled; generation {}",
                    made.digest, made.generation
                )
            })?;
            if !made.unconfirmed.is_empty() {
                output::words(
                    global,
                    &format!(
                        "not confirmed yet by: {}; see `regmesh recall list`",
                        names(&made.unconfirmed)
                    ),
                );
            }
        }
        (None, ..) => return Err(Wrong("name a digest and a --reason".to_owned()).into()),
    }
    Ok(Exit::Ok)
}

fn names(nodes: &[wire::name::NodeName]) -> String {
    if nodes.is_empty() {
        return "nobody".to_owned();
    }
    nodes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
