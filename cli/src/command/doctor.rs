//! `regmesh doctor`: named checks of nodes, of the tree, and of this machine's clients. Exit 3 when one failed.

use clap::Args;
use http::Method;
use serde_json::json;
use wire::api::doctor::{Check, CheckId, Outcome, Report};

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    output,
};

mod client_files;

/// `regmesh doctor`
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// Only this node
    pub node: Option<String>,
    /// Only these checks, such as STORE-WRITE
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<CheckId>,
}

/// Makes the checks and prints them.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(doctor: Doctor, global: &Global) -> anyhow::Result<Exit> {
    let wants = |id| doctor.only.is_empty() || doctor.only.contains(&id);
    let mut checks = Vec::new();
    let remote: Vec<CheckId> = doctor
        .only
        .iter()
        .copied()
        .filter(|id| *id != CheckId::Client)
        .collect();
    let client = Client::new(global)?;
    if doctor.only.is_empty() || !remote.is_empty() {
        let request = json!({"node": doctor.node, "only": remote});
        let report: Report = client
            .send(Method::POST, "/api/v1/doctor", NOTHING, &request)
            .await?;
        checks = report.checks;
    }
    if wants(CheckId::Client) {
        checks.extend(client_files::check(&client, doctor.node.as_deref()).await?);
    }
    checks.sort_by_key(|check| (check.id, check.node.clone()));
    let outcome = checks
        .iter()
        .map(|check| check.outcome)
        .max()
        .unwrap_or(Outcome::Ok);
    let report = Report { outcome, checks };
    output::object(global, &report, || text(&report))?;
    Ok(if outcome == Outcome::Failed {
        Exit::CheckFailed
    } else {
        Exit::Ok
    })
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut group = None;
    for check in &report.checks {
        if group != Some(check.id) {
            if group.is_some() {
                lines.push(String::new());
            }
            lines.push(check.id.to_string());
            group = Some(check.id);
        }
        lines.push(line(check));
    }
    let count = |outcome| {
        report
            .checks
            .iter()
            .filter(|check| check.outcome == outcome)
            .count()
    };
    lines.push(String::new());
    lines.push(format!(
        "{} ok, {} to look at, {} failed, {} skipped",
        count(Outcome::Ok),
        count(Outcome::Warning),
        count(Outcome::Failed),
        count(Outcome::Skipped)
    ));
    lines.join("\n")
}

/// One check as people read it: what was found, and what to do.
#[must_use]
pub fn line(check: &Check) -> String {
    let mark = match check.outcome {
        Outcome::Ok => "√",
        Outcome::Skipped => "-",
        Outcome::Warning => "!",
        Outcome::Failed => "×",
    };
    let place = match (&check.node, &check.subject) {
        (Some(node), Some(subject)) => format!("{node}, {subject}: "),
        (Some(node), None) => format!("{node}: "),
        (None, Some(subject)) => format!("{subject}: "),
        (None, None) => String::new(),
    };
    let fix = check
        .fix
        .as_ref()
        .map(|fix| format!("\n      {fix}"))
        .unwrap_or_default();
    format!("  {mark} {place}{}{fix}", check.text)
}
