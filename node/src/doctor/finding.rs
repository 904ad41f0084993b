//! What a check found about one subject, before it is said which check and which node it was.

use wire::{
    api::doctor::{Check, CheckId, Outcome},
    name::NodeName,
};

/// How many problems of one check are told.
const MOST: usize = 50;

/// One finding.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    subject: Option<String>,
    outcome: Outcome,
    text: String,
    fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self {
            subject: None,
            outcome: Outcome::Ok,
            text: text.into(),
            fix: None,
        }
    }

    /// The same about one subject.
    pub(super) fn ok_of(subject: Option<String>, text: impl Into<String>) -> Self {
        Self {
            subject,
            ..Self::ok(text)
        }
    }

    /// The check did not apply, and why.
    pub(super) fn skipped(subject: Option<String>, text: impl Into<String>) -> Self {
        Self {
            subject,
            outcome: Outcome::Skipped,
            ..Self::ok(text)
        }
    }

    pub(super) fn warning(
        subject: Option<String>,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            subject,
            outcome: Outcome::Warning,
            text: text.into(),
            fix: Some(fix.into()),
        }
    }

    pub(super) fn failed(
        subject: Option<String>,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Failed,
            ..Self::warning(subject, text, fix)
        }
    }

    fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(super) fn at(self, id: CheckId, node: &NodeName) -> Check {
        Check {
            id,
            node: Some(node.clone()),
            subject: self.subject,
            outcome: self.outcome,
            text: wire::oci_error::clean(&self.text),
            fix: self.fix,
        }
    }
}

/// What is not well, worst first and at most [`MOST`] of it; or that all is.
pub(super) fn found(findings: Vec<Finding>, all_well: impl Into<String>) -> Vec<Finding> {
    let mut findings = worst_first(findings);
    let troubled = findings.iter().any(|f| f.outcome() > Outcome::Skipped);
    if !troubled {
        findings.insert(0, Finding::ok(all_well));
    }
    findings
}

/// At most [`MOST`] of them.
pub(super) fn worst_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.outcome));
    let more = findings.len().saturating_sub(MOST);
    findings.truncate(MOST);
    if more > 0 {
        let text = format!("and {more} more like these");
        findings.push(Finding::skipped(None, text));
    }
    findings
}
