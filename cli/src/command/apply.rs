//! `regmesh apply`: publishes a topology as the next generation, and waits until the nodes have it.
//!
//! The files are checked at the desk first, so that problems show with their lines; the control plane checks them again.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use http::Method;
use wire::{
    api::{
        mesh::{Health, MeshStatus, NodeInTree},
        problem::DocumentProblem,
        resource::{Applied, Apply as Request, File},
    },
    generation::Generation,
};

use crate::{
    args::{self, Global},
    client::{Client, NOTHING},
    command,
    exit::Exit,
    fault::Code,
    output,
};

/// `regmesh apply FILE…`
#[derive(Debug, Clone, Args)]
pub struct Apply {
    /// Topology files; together they are the whole topology
    #[arg(value_name = "FILE", required_unless_present = "file")]
    pub files: Vec<PathBuf>,
    /// The same, for the habit
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Let all nodes or more than half of the rules go; asks, unless --yes
    #[arg(long)]
    pub prune: bool,
    /// With --prune: do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// End when every connected node has it in force
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = args::duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// How often the nodes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Does it.
///
/// # Errors
/// When the topology is not valid, the control plane refuses it or cannot be asked, or a node does not take it.
pub async fn run(apply: Apply, global: &Global) -> anyhow::Result<Exit> {
    let paths: Vec<PathBuf> = apply.files.iter().chain(&apply.file).cloned().collect();
    let files = command::read_files(&paths)?;
    let here = command::up::check(&files, global)?;
    if apply.prune && !apply.dry_run {
        command::agree(
            apply.yes,
            "let all nodes or more than half of the rules go, if the files say so",
        )?;
    }
    let client = Client::new(global)?;
    let files = files
        .into_iter()
        .map(|(name, text)| File { name, text })
        .collect();
    let request = Request {
        files,
        dry_run: apply.dry_run,
        prune: apply.prune,
    };
    let applied: Applied = client
        .send(Method::POST, "/api/v1/topology:apply", NOTHING, &request)
        .await?;
    output::object(global, &applied, || table(&applied, apply.dry_run))?;
    for warning in new(&applied.warnings, &here.warnings) {
        output::words(
            global,
            &format!("warning[{}]: {}", warning.code, warning.message),
        );
    }
    if apply.wait && !apply.dry_run {
        wait(&client, applied.generation, apply.timeout, global).await?;
    }
    Ok(Exit::Ok)
}

/// What only the control plane warns of: the rest was said at the desk, with its place.
fn new<'a>(
    there: &'a [DocumentProblem],
    here: &'a [topology::problem::Problem],
) -> impl Iterator<Item = &'a DocumentProblem> {
    let said = |warning: &DocumentProblem| {
        here.iter()
            .any(|said| said.code == warning.code && said.message == warning.message)
    };
    there.iter().filter(move |warning| !said(warning))
}

fn table(applied: &Applied, dry_run: bool) -> String {
    let mut lines: Vec<String> = applied
        .changes
        .iter()
        .map(|change| format!("{} {}", change.sign, change.text))
        .collect();
    lines.push(match (applied.published, dry_run) {
        (true, _) => format!("generation {} is published", applied.generation),
        (false, true) if applied.needs_prune => {
            "nothing was published; to do it needs --prune --yes: all nodes or more than half of the rules would go".to_owned()
        }
        (false, true) => "nothing was published".to_owned(),
        (false, false) => format!("no changes; generation {} stays", applied.generation),
    });
    lines.join("\n")
}

async fn wait(
    client: &Client,
    generation: Generation,
    timeout: Duration,
    global: &Global,
) -> anyhow::Result<()> {
    let waiting = async {
        loop {
            let status: MeshStatus = client.get("/api/v1/status", NOTHING).await?;
            if let Some(refused) = status
                .nodes
                .iter()
                .find_map(|node| refusal(node, generation))
            {
                anyhow::bail!(Code::Refused.says(refused));
            }
            let missing: Vec<&str> = status
                .nodes
                .iter()
                .filter(|node| counts(node) && node.generation.is_none_or(|held| held < generation))
                .map(|node| node.name.as_str())
                .collect();
            if missing.is_empty() {
                let away = status.nodes.iter().filter(|node| !counts(node)).count();
                return Ok(away);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let away = tokio::time::timeout(timeout, waiting).await.map_err(|_| {
        Code::TimedOut.error(format!("not every connected node has generation {generation} after {timeout:?}; see `regmesh status`"))
    })??;
    let told = if away == 0 {
        format!("generation {generation} is in force everywhere")
    } else {
        format!(
            "generation {generation} is in force on every connected node; {away} not connected will take it when they come back"
        )
    };
    output::words(global, &told);
    Ok(())
}

fn counts(node: &NodeInTree) -> bool {
    !matches!(node.health, Health::Absent | Health::Disconnected)
}

fn refusal(node: &NodeInTree, generation: Generation) -> Option<String> {
    let refused = node
        .refused
        .as_ref()
        .filter(|refused| refused.generation >= generation)?;
    let problems: Vec<String> = refused
        .problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    Some(format!(
        "node {} refuses generation {} and keeps what it has: {}",
        node.name,
        refused.generation,
        problems.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_was_said_at_the_desk_is_not_said_again() {
        let text = "version: 1\nmesh: m\nnodes: {dev: {endpoint: 'http://127.0.0.1:5000'}}\n\
            rules: {hub: {on: dev, source: 'docker.io/library/*', target: 'library/*'}}\n";
        let here = topology::load(&[("mesh.yaml".to_owned(), text.to_owned())]).unwrap();
        let there: Vec<DocumentProblem> = here.warnings.iter().map(Into::into).collect();
        assert_eq!(there.len(), 1, "docker.io is asked anonymously: {there:?}");
        assert_eq!(new(&there, &here.warnings).count(), 0);
        assert_eq!(new(&there, &[]).count(), 1);
    }
}
