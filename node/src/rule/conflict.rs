//! Does a rule's target hold pushed content? Then the rule does not take effect, and what was pushed stays.
//!
//! Looked at when a slice comes into force and after a client's delete, never on a pull. Pushes into covered repositories are
//! refused, so a conflict arises only from what was there before the rule. Source: `spec/pull-through.md` "Repositories".

use wire::pattern::Pattern;

use super::Rules;
use crate::store::{Error, metadata::Metadata};

/// Tells each rule's state whether its target holds pushed content.
///
/// # Errors
/// When the metadata cannot be read; rules that were not looked at keep what is known of them.
pub async fn detect(rules: &Rules, metadata: &dyn Metadata) -> Result<(), Error> {
    // Most nodes with rules hold nothing that was pushed: one question then answers for ten thousand rules.
    let none = metadata.pushed_repository(&Pattern::All).await?.is_none();
    for active in rules.iter() {
        if none {
            active.state.conflict(None);
            continue;
        }
        let pushed = metadata.pushed_repository(&active.rule.target).await?;
        // Below a wildcard there may be a repository that a fixed rule covers: that rule's conflict, not this one's.
        let own = pushed.filter(|repository| {
            let covered = rules.resolve(repository);
            covered.is_some_and(|covered| covered.active.rule.name == active.rule.name)
        });
        if let Some(repository) = &own {
            tracing::warn!(rule = %active.rule.name, %repository, "the rule does not take effect: its target holds pushed content");
        }
        active.state.conflict(own);
    }
    Ok(())
}
