//! Upstreams under a renewed certificate: those that see it are made anew, as if a slice had changed them.
//!
//! Nothing is dropped: transfers under way go on with the upstream they began with, and its connections end with the last of them.
//! Connections are never carried over, or the server would go on seeing the certificate that they began with until it ends
//! (`reference/dependencies.md` P1).

use std::sync::Arc;

use super::Shared;
use crate::{
    http::View,
    rule::{ActiveRule, Rules},
};

/// Follows the certificate for as long as the node runs.
pub(super) fn start(shared: &Arc<Shared>) {
    let Some(membership) = &shared.membership else {
        return;
    };
    let mut news = membership.news();
    let own = Arc::clone(shared);
    // What was held before is what the first slice was applied with, or a moment newer: once too often does no harm.
    news.mark_changed();
    shared.tasks.spawn("certificate", async move {
        while news.changed().await.is_ok() {
            own.reconnect().await;
        }
    });
}

impl Shared {
    /// Makes the upstreams of the slice in force again; those that nothing changes stay as they are.
    async fn reconnect(&self) {
        let _one_at_a_time = self.applying.lock().await;
        let (slice, view) = (self.slice.load_full(), self.view.load_full());
        let (Some(own), Some(view)) = (slice.own(), view) else {
            return;
        };
        let before = self.rules.load_full();
        let again = own.rules.iter().filter_map(|rule| {
            Some(ActiveRule {
                rule: Arc::clone(rule),
                upstream: self.upstreams.build(rule, &slice.topology),
                state: Arc::clone(&before.get(&rule.name)?.state),
            })
        });
        let rules = Arc::new(Rules::new(again.collect()));
        self.rules.store(Arc::clone(&rules));
        let view = View {
            rules,
            generation: view.generation,
            login_server: view.login_server.clone(),
            tier: view.tier,
            default_namespace: view.default_namespace.clone(),
            access: Arc::clone(&view.access),
        };
        self.view.store(Some(Arc::new(view)));
    }
}
