//! The words of `Warning: 299`, for people; pure.

use wire::refusal::Refusal;

use super::{place::Pull, verdict::Why};
use crate::upstream;

/// Why something that is stored was served although the upstream did not agree to it; in as many words as the reader may have.
pub(super) fn stale(
    pull: Pull<'_>,
    why: Why,
    newer: bool,
    age: u64,
    (refusal, words): (Refusal, &str),
) -> String {
    let upstream = pull.covered.active.upstream.name();
    let what = match why {
        Why::Away => "could not ask",
        Why::Gone => "keeps a tag that is no longer at",
        Why::Denied => "is refused by",
        Why::Wrong => "was sent something else than announced by",
    };
    let more = if newer {
        "; a newer version exists that is not complete here"
    } else {
        ""
    };
    let rule = &pull.rule().name;
    format!(
        "served from this node's store: rule {rule} {what} {upstream} ({refusal}: {words}); last checked {age} s ago{more}"
    )
}

/// Why a list holds only what is here.
pub(super) fn local_only(pull: Pull<'_>, what: &str, error: &upstream::Error) -> String {
    let upstream = pull.covered.active.upstream.name();
    let rule = &pull.rule().name;
    format!(
        "{what} of this node only: rule {rule} could not ask {upstream} ({}: {})",
        error.refusal, error.told
    )
}

/// Why a list holds only what is here: nobody is asked on purpose.
pub(super) fn not_asked(rule: &wire::name::RuleName, what: &str, why: &str) -> String {
    format!("{what} of this node only: rule {rule} {why}")
}
