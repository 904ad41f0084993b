//! What an upstream's answers say about the rule they were given under.
//!
//! Content that is wrong, and a transfer that breaks, say nothing about the rule: the digest and the resume deal with them.

use runtime::Clock;
use wire::time::WallTime;

use crate::{
    rule::ActiveRule,
    upstream::{self, error::Kind},
};

/// Notes in the rule's state that its upstream answered, refused, or could not be asked.
pub(crate) fn observe<T>(active: &ActiveRule, outcome: &Result<T, upstream::Error>, clock: &Clock) {
    let now = WallTime(clock.steady_ms());
    let state = &active.state;
    match outcome {
        Ok(_) => state.answered(now),
        Err(error) => match error.kind {
            Kind::Gone | Kind::Recalled => state.answered(now),
            Kind::Denied => active.refused(error, now),
            Kind::Away { .. } => active.not_asked(error, now),
            Kind::Wrong | Kind::Loop | Kind::Broken => {}
        },
    }
}
