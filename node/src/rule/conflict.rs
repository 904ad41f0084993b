//! Does a rule's target hold pushed content? Then the rule does not take effect, and what was pushed stays.
//!
//! Looked at when a slice comes into force and after a client's delete, never on a pull. Pushes into covered repositories are
//! refused, so a conflict arises only from what was there before the rule. Source: `spec/pull-through.md` "Repositories".

use std::collections::HashMap;

use topology::{model::SharedRule, resolve::Resolver};
use wire::{name::RuleName, pattern::Pattern, repository::RepositoryName};

use super::Rules;
use crate::store::{Error, metadata::Metadata};

/// The rules whose target holds pushed content, and where it is.
///
/// # Errors
/// When the metadata cannot be read.
pub async fn find(
    rules: &[SharedRule],
    resolver: &Resolver,
    metadata: &dyn Metadata,
) -> Result<HashMap<RuleName, RepositoryName>, Error> {
    let mut found = HashMap::new();
    // Most nodes with rules hold nothing that was pushed: one question then answers for ten thousand rules.
    if metadata.pushed_repository(&Pattern::All).await?.is_none() {
        return Ok(found);
    }
    for rule in rules {
        let pushed = metadata.pushed_repository(&rule.target).await?;
        // Below a wildcard there may be a repository that a fixed rule covers: that rule's conflict, not this one's.
        let own = pushed.filter(|repository| {
            let covered = resolver.resolve(repository);
            covered.is_some_and(|covered| covered.rule.name == rule.name)
        });
        found.extend(own.map(|repository| (rule.name.clone(), repository)));
    }
    Ok(found)
}

/// Tells each rule's state whether its target holds pushed content.
///
/// # Errors
/// When the metadata cannot be read; rules then keep what is known of them.
pub async fn detect(rules: &Rules, metadata: &dyn Metadata) -> Result<(), Error> {
    let all: Vec<SharedRule> = rules
        .iter()
        .map(|active| std::sync::Arc::clone(&active.rule))
        .collect();
    let mut found = find(&all, rules.resolver(), metadata).await?;
    for active in rules.iter() {
        let pushed = found.remove(&active.rule.name);
        if let Some(repository) = &pushed {
            tracing::warn!(rule = %active.rule.name, %repository, "the rule does not take effect: its target holds pushed content");
        }
        active.state.conflict(pushed);
    }
    Ok(())
}
