//! What others may do with a running node: look, change what is in force, end it.
//!
//! It ends in the order: not ready, stop accepting, finish, cut the rest.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use wire::name::NodeName;

use super::{LAST_TASKS, Running, Slice, status};
use crate::store::Store;

impl Running {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.shared.name
    }

    /// Where clients reach it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.shared
            .slice
            .load()
            .own()
            .map(|own| own.endpoint.to_string())
            .unwrap_or_default()
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its operational listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Puts a newer slice in force; an older one changes nothing. Requests under way keep what they began with.
    pub async fn apply(&self, slice: Slice) {
        self.shared.apply(slice).await;
    }

    /// Refuses what a newer slice takes away (content, nodes, grants, keys, roles) before the slice itself can come into force. What was
    /// taken away already stays so.
    pub async fn refuse(&self, slice: &Slice) {
        self.shared.refuse_early(slice).await;
    }

    /// Whether this very content is recalled here.
    #[cfg(test)]
    pub(crate) fn refuses(&self, digest: &wire::digest::Digest) -> bool {
        self.shared.recalls.contains(digest)
    }

    /// Serves nothing from now on, and says why: whoever decides about this node has shut it out. What is stored stays; transfers
    /// under way end as they would.
    pub fn close(&self, why: &str) {
        if self.shared.closed.set(why.to_owned()).is_ok() {
            tracing::error!(node = %self.shared.name, why, "this node serves nothing any more");
            self.shared.view.store(None);
            self.shared.rules.store(Arc::default());
        }
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> wire::generation::Generation {
        self.shared.slice.load().generation
    }

    /// What `/status` shows.
    #[must_use]
    pub fn status(&self) -> wire::api::status::NodeStatus {
        status::status(&self.shared)
    }

    /// What `/metrics` shows.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.families.gather_text()
    }

    /// Bytes of content stored, as the metadata has it now.
    pub async fn stored_bytes(&self) -> u64 {
        self.shared
            .store
            .metadata()
            .totals()
            .await
            .map(|totals| totals.bytes)
            .unwrap_or_default()
    }

    /// Copy jobs that are not done, as the metadata has it now.
    pub async fn copies_to_do(&self) -> u64 {
        self.shared
            .store
            .metadata()
            .totals()
            .await
            .map(|totals| totals.jobs)
            .unwrap_or(u64::MAX)
    }

    /// Requests that wait for a check under way, their own or one they joined.
    #[must_use]
    pub fn checks_waiting(&self) -> usize {
        self.shared.registry.checks_waiting()
    }

    /// The store, for tests and for what runs in the same process.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Ends it: not ready, no more connections, transfers finish within `timeout`, the rest is cut; unfinished fills stay
    /// resumable.
    pub async fn drain(&self, timeout: Duration) {
        self.shared.draining.cancel();
        self.listeners.drain(timeout).await;
        self.shared.tasks.drain(LAST_TASKS).await;
        self.shared.keep_facts().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.tasks.abort();
    }
}
