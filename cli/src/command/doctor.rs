//! `regmesh doctor`: named checks of nodes, of the tree, and of this machine's clients. Exit 3 when one failed.

use clap::Args;
use http::Method;
use serde_json::json;
use wire::api::doctor::{Check, CheckId, Outcome, Report};

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    fault::{Code, Fault},
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
/// When the control plane refuses, or cannot be asked for what it was to be asked for: then after what could be looked at was printed.
pub async fn run(doctor: Doctor, global: &Global) -> anyhow::Result<Exit> {
    let wants = |id| doctor.only.is_empty() || doctor.only.contains(&id);
    let mut checks = Vec::new();
    let remote: Vec<CheckId> = match doctor.only.as_slice() {
        [] => Vec::new(),
        only => remote_ids(only).collect(),
    };
    let client = Client::new(global)?;
    let mut away = None;
    if doctor.only.is_empty() || !remote.is_empty() {
        let request = json!({"node": doctor.node, "only": remote});
        let report = client.send(Method::POST, "/api/v1/doctor", NOTHING, &request);
        match report.await {
            Ok(Report { checks: made, .. }) => checks = made,
            Err(error) if is_away(&error) => {
                checks = remote_ids(&doctor.only).map(skipped).collect();
                away = Some(error);
            }
            Err(error) => return Err(error),
        }
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
    if let Some(error) = away {
        return Err(error);
    }
    Ok(if outcome == Outcome::Failed {
        Exit::CheckFailed
    } else {
        Exit::Ok
    })
}

/// Whether there is no control plane to ask, so that only what is on this machine can be looked at.
fn is_away(error: &anyhow::Error) -> bool {
    let fault = error.downcast_ref::<Fault>();
    fault.is_some_and(|fault| {
        matches!(
            fault.code,
            Code::ControlUnreachable | Code::NotAControlPlane
        )
    })
}

/// The checks that the control plane is asked for.
fn remote_ids(only: &[CheckId]) -> impl Iterator<Item = CheckId> {
    let wants = |id: &CheckId| only.is_empty() || only.contains(id);
    let ids = CheckId::ALL.into_iter().filter(move |id| wants(id));
    ids.filter(|id| *id != CheckId::Client)
}

fn skipped(id: CheckId) -> Check {
    Check {
        id,
        node: None,
        subject: None,
        outcome: Outcome::Skipped,
        text: "not made: the control plane does not answer".to_owned(),
        fix: None,
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn what_nobody_can_be_asked_for_is_named() {
        use CheckId::{Client, Hooks, Tree};
        let ids = |only: &[CheckId]| remote_ids(only).collect::<Vec<_>>();
        assert_eq!(ids(&[Client]), []);
        assert_eq!(ids(&[Hooks, Client, Tree]), [Tree, Hooks]);
        assert_eq!(ids(&[]).len(), CheckId::ALL.len() - 1);
        assert_eq!(skipped(Tree).outcome, Outcome::Skipped);
    }

    #[tokio::test]
    async fn this_machines_files_are_looked_at_without_a_control_plane() {
        runtime::tls::install_crypto();
        // Nobody listens there: the port was just given back.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let ended = async |only: &str| {
            let called = [
                "regmesh",
                "--control",
                &address,
                "-q",
                "doctor",
                "--only",
                only,
            ];
            let args = crate::args::Args::try_parse_from(called).unwrap();
            let crate::args::Command::Doctor(doctor) = args.command else {
                panic!("{args:?}")
            };
            run(doctor, &args.global).await
        };
        assert!(matches!(
            ended("CLIENT").await,
            Ok(Exit::Ok | Exit::CheckFailed)
        ));
        let error = ended("CLIENT,TREE").await.unwrap_err();
        assert_eq!(crate::fault::code(&error), "control-unreachable");
    }
}
