//! A rule and how it fares, as `/status`, `explain` and reports show it: the one word, the refusal behind it, the reason.

use topology::model::rule::{Authentication, Rule};
use wire::{
    api::status::{LastError, RuleState as Word, RuleStatus},
    time::WallTime,
};

use super::{
    ActiveRule, Status,
    status::{self, Facts},
};

/// As whom a rule asks: `identity NAME`, `credential set NAME` or `anonymous`.
#[must_use]
pub fn as_whom(rule: &Rule) -> String {
    match &rule.authentication {
        Authentication::Anonymous => "anonymous".to_owned(),
        Authentication::Identity(name) => format!("identity {name}"),
        Authentication::Credentials(name) => format!("credential set {name}"),
    }
}

/// A rule in force with everything there is to say about how it fares at `now`.
#[must_use]
pub fn describe(active: &ActiveRule, now: WallTime) -> RuleStatus {
    let facts = active.state.facts();
    let status = status::status(active.rule.enabled, &facts, now);
    let failure = facts
        .last_error
        .as_ref()
        .filter(|_| matches!(status, Status::Unauthorized | Status::UpstreamUnavailable));
    RuleStatus {
        name: active.rule.name.clone(),
        source: active.rule.source.to_string(),
        target: active.rule.target.clone(),
        identity: Some(as_whom(&active.rule)),
        status: word(status),
        refusal: failure.map(|failure| failure.refusal),
        reason: reason(status, &facts),
        last_success: facts.last_success,
        last_error: facts.last_error.as_ref().map(|failure| LastError {
            at: failure.at,
            text: failure.detail.clone(),
        }),
        unstored_pulls: facts.unstored_pulls,
        fills: facts.fills,
        copies: facts.copies,
    }
}

fn word(status: Status) -> Word {
    match status {
        Status::Active => Word::Active,
        Status::Unauthorized => Word::Unauthorized,
        Status::UpstreamUnavailable => Word::UpstreamUnavailable,
        Status::NotStoring => Word::NotStoring,
        Status::Conflict => Word::Conflict,
        Status::Disabled => Word::Disabled,
    }
}

/// Why a rule is not simply active, in words.
fn reason(status: Status, facts: &Facts) -> Option<String> {
    match status {
        Status::Active | Status::Disabled => None,
        Status::Conflict => facts.conflict.as_ref().map(|name| {
            format!("'{name}' holds pushed content; it stays, and the rule does not fill it")
        }),
        Status::NotStoring => Some(facts.store_error.clone().unwrap_or_else(|| {
            format!(
                "{} pulls passed and nothing was stored",
                facts.unstored_pulls
            )
        })),
        Status::Unauthorized | Status::UpstreamUnavailable => facts
            .last_error
            .as_ref()
            .map(|failure| failure.detail.clone()),
    }
}
