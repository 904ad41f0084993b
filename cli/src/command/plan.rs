//! `regmesh plan`: every problem of a topology at once, or what it would change.
//!
//! Problems are this command's data and go to stdout. Exit 1 with problems, 2 with changes and `--detailed-exitcode`.

use anyhow::Context;
use serde::Serialize;
use topology::{change::Change, problem::Problem};
use wire::api::resource::Topology;

use crate::{
    args::{self, Format},
    client::{Client, NOTHING},
    command,
    exit::Exit,
    output,
};

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    valid: bool,
    problems: &'a [Problem],
    warnings: &'a [Problem],
    changes: Vec<Line<'a>>,
}

/// A change as `apply` writes it too, and what it is made of.
#[derive(Debug, Serialize)]
struct Line<'a> {
    sign: char,
    text: String,
    #[serde(flatten)]
    change: &'a Change,
}

/// Checks the files and prints problems or changes.
///
/// # Errors
/// When a file cannot be read, or the control plane cannot be asked.
pub async fn run(plan: &args::Plan, global: &args::Global) -> anyhow::Result<Exit> {
    let files = command::read_files(&plan.files)?;
    let loaded = match topology::load(&files) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems, global),
    };
    let old = match in_force(plan, global).await? {
        None => None,
        Some(files) => match topology::load(&files) {
            Ok(old) => Some(old.topology),
            Err(problems) => return refuse(&problems, global),
        },
    };
    let changes = topology::change::between(old.as_ref(), &loaded.topology);
    let report = Report {
        valid: true,
        problems: &[],
        warnings: &loaded.warnings,
        changes: changes.iter().map(line).collect(),
    };
    output::object(global, &report, || table(&changes))?;
    if global.output == Format::Table {
        for warning in &loaded.warnings {
            output::words(global, &warning.render(output::is_lively(global)));
        }
        output::words(
            global,
            &format!(
                "{}, {}: valid",
                output::count(loaded.topology.nodes.len(), "node"),
                output::count(rules(&loaded.topology), "rule instance")
            ),
        );
    }
    Ok(if plan.detailed_exitcode && !changes.is_empty() {
        Exit::Changes
    } else {
        Exit::Ok
    })
}

/// The topology to compare with, as files; none offline without `--from`, and none before the first apply.
async fn in_force(
    plan: &args::Plan,
    global: &args::Global,
) -> anyhow::Result<Option<Vec<(String, String)>>> {
    if plan.offline {
        return match plan.from.as_slice() {
            [] => Ok(None),
            from => command::read_files(from).map(Some),
        };
    }
    let topology: Topology = Client::new(global)?
        .get("/api/v1/topology", NOTHING)
        .await
        .context("there is nothing to compare with; `regmesh plan --offline` only checks")?;
    let name = format!("generation {}", topology.generation);
    Ok((topology.generation.0 > 0).then(|| vec![(name, topology.document)]))
}

fn refuse(problems: &[Problem], global: &args::Global) -> anyhow::Result<Exit> {
    let (errors, warnings): (Vec<Problem>, Vec<Problem>) =
        problems.iter().cloned().partition(Problem::is_error);
    let report = Report {
        valid: false,
        problems: &errors,
        warnings: &warnings,
        changes: Vec::new(),
    };
    output::object(global, &report, || {
        problems
            .iter()
            .map(|p| p.render(output::is_lively(global)))
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    output::words(
        global,
        &format!(
            "{}, {}: not valid",
            output::count(errors.len(), "problem"),
            output::count(warnings.len(), "warning")
        ),
    );
    Ok(Exit::Error)
}

fn line(change: &Change) -> Line<'_> {
    let text = change.to_string();
    let mut rest = text.chars();
    Line {
        sign: rest.next().unwrap_or('~'),
        text: rest.as_str().trim_start().to_owned(),
        change,
    }
}

fn table(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no changes".to_owned();
    }
    changes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn rules(topology: &topology::model::Topology) -> usize {
    topology.nodes.values().map(|node| node.rules.len()).sum()
}
