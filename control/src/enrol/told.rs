//! Refusals and copies, told to people: audit log, log, events.

use wire::{api::event, name::NodeName};

use super::{Enrol, Enrolled, Error, KEEP_EVENTS, Refused};
use crate::state::NewEntry;

/// Refusals in the audit log that anybody can cause, a minute.
pub(super) const ANONYMOUS: u32 = 30;

impl Enrol {
    /// A refusal goes into the audit log and the log; a failure to write it changes nothing about the refusal.
    pub(super) async fn tell(
        &self,
        action: &str,
        node: &str,
        result: Result<Enrolled, Error>,
    ) -> Result<Enrolled, Error> {
        if let Err(Error::Refused(refused)) = &result {
            tracing::warn!(node, action, reason = %refused, "a node was not let in");
            let recorded_by_state = matches!(refused, Refused::ShutOut { .. });
            let now = self.now();
            if !recorded_by_state
                && (!refused.is_anonymous() || self.anonymous.may_record(now, ANONYMOUS))
            {
                let entry = NewEntry {
                    at: now,
                    who: format!("node:{}", node.get(..63).unwrap_or(node)),
                    action: action.to_owned(),
                    target: format!("nodes/{}", node.get(..63).unwrap_or(node)),
                    before: None,
                    after: None,
                    generation: None,
                    refused: Some(refused.to_string()),
                };
                if let Err(error) = self.state.record(vec![entry]).await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a refusal could not be recorded"
                    );
                }
            }
        }
        result
    }

    pub(super) async fn cloned(&self, node: &NodeName, instance: &str, reason: &str) {
        let known = self.shut_out.load().contains_key(instance);
        let refreshed = self.refresh().await;
        if known {
            return;
        }
        let entry = event::Entry {
            sequence: 0,
            at: self.now(),
            node: Some(node.clone()),
            kind: "clone_detected".to_owned(),
            text: format!("instance {instance} of {node} is shut out: {reason}"),
            event: None,
        };
        let told = self.state.add_events(vec![entry], KEEP_EVENTS).await;
        if let Err(error) = refreshed.and(told) {
            tracing::error!(error = &error as &dyn std::error::Error, %node, "a copied data directory could not be reported");
        }
    }
}
