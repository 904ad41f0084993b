//! What a rule has met lately: written by registry, fill and copy as it happens, read by `status`.

use std::sync::Mutex;

use wire::{refusal::Refusal, repository::RepositoryName, time::WallTime};

use super::status::Facts;

/// How a rule fares. Updates are a short lock; nothing is awaited under it.
#[derive(Debug, Default)]
pub struct RuleState {
    facts: Mutex<Facts>,
}

impl RuleState {
    /// A state that begins with what was known before a restart.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            facts: Mutex::new(facts),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// The upstream answered as itself (also: "no such thing").
    pub fn answered(&self, now: WallTime) {
        let mut facts = self.lock();
        facts.last_success = Some(now);
        facts.denied_since = None;
        facts.away_since = None;
    }

    /// The upstream refused us. Whether that is news.
    pub fn denied(&self, refusal: Refusal, detail: &str, now: WallTime) -> bool {
        let mut facts = self.lock();
        let is_news = facts.denied_since.is_none() || facts.last_refusal() != Some(refusal);
        facts.denied_since.get_or_insert(now);
        facts.away_since = None;
        facts.fail(refusal, detail, now);
        is_news
    }

    /// The upstream could not be asked. Whether that is news.
    pub fn away(&self, refusal: Refusal, detail: &str, now: WallTime) -> bool {
        let mut facts = self.lock();
        let is_news = facts.away_since.is_none() || facts.last_refusal() != Some(refusal);
        facts.away_since.get_or_insert(now);
        facts.fail(refusal, detail, now);
        is_news
    }

    /// A pull passed whose content was not stored when it `began`; what was stored meanwhile is.
    pub fn pulled(&self, began: WallTime) {
        let mut facts = self.lock();
        if facts.last_store.is_some_and(|at| at >= began) {
            return;
        }
        facts.unstored_pulls = facts.unstored_pulls.saturating_add(1);
        facts.unstored_since.get_or_insert(began);
    }

    /// Content of this rule was stored.
    pub fn stored(&self, now: WallTime) {
        let mut facts = self.lock();
        facts.last_store = Some(now);
        facts.unstored_pulls = 0;
        facts.unstored_since = None;
        facts.store_error = None;
    }

    /// Content of this rule, of at least so many bytes, could not be stored.
    pub fn store_failed(&self, detail: &str, needs: u64, now: WallTime) {
        let mut facts = self.lock();
        facts.unstored_since.get_or_insert(now);
        facts.store_error = Some(detail.chars().take(500).collect());
        facts.store_failed_at = Some(now);
        facts.store_needs = needs;
    }

    /// The store works again, and nothing of this rule waits for it.
    pub fn healed(&self) {
        let mut facts = self.lock();
        facts.unstored_pulls = 0;
        facts.unstored_since = None;
        facts.store_error = None;
    }

    /// The target holds pushed content, or no longer does.
    pub fn conflict(&self, with: Option<RepositoryName>) {
        self.lock().conflict = with;
    }

    /// Whether the target holds pushed content: then the rule does not take effect.
    #[must_use]
    pub fn in_conflict(&self) -> bool {
        self.lock().conflict.is_some()
    }

    /// A fill or a copy ended.
    pub fn counted(&self, fills: u64, copies: u64) {
        let mut facts = self.lock();
        facts.fills = facts.fills.saturating_add(fills);
        facts.copies = facts.copies.saturating_add(copies);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_whose_content_was_stored_before_it_was_counted_leaves_nothing_unstored() {
        let state = RuleState::default();
        state.stored(WallTime(20));
        state.pulled(WallTime(10));
        assert_eq!(state.facts().unstored_pulls, 0);
        state.pulled(WallTime(30));
        assert_eq!(state.facts().unstored_pulls, 1);
        assert_eq!(state.facts().unstored_since, Some(WallTime(30)));
    }
}
