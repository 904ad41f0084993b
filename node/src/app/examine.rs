//! `explain` and `doctor` of a running node: what they look at, handed to the parts that know.

use std::sync::Arc;

use wire::{
    api::{
        doctor::{Check, CheckId},
        explain::{Hop, Query},
    },
    name::CredentialName,
};

use super::Running;
use crate::{
    doctor::{self, Patient},
    http,
    registry::explain::Standpoint,
};

impl Running {
    /// What a pull here would do. Nothing is fetched and nothing written.
    pub async fn explain(&self, query: &Query) -> Hop {
        let shared = &self.shared;
        let slice = shared.slice.load_full();
        let at = Standpoint {
            tier: slice.topology.tier(&shared.name),
            generation: slice.generation,
            status: |error| http::status(error).as_u16(),
        };
        shared.registry.explain(query, &at).await
    }

    /// This node's checks: those of `only`, or all that a node makes when it is empty. With a credential set, CRED-HEALTH is about it.
    pub async fn doctor(
        &self,
        only: &[CheckId],
        credentials: Option<CredentialName>,
    ) -> Vec<Check> {
        let shared = &self.shared;
        let rates = Arc::clone(&shared.rates);
        let patient = Patient {
            node: shared.name.clone(),
            store: shared.store.clone(),
            rules: shared.rules.load_full(),
            topology: Arc::clone(&shared.slice.load().topology),
            secrets: shared.secrets.clone(),
            credentials,
            copies: shared.copies.clone(),
            remaining: Arc::new(move |upstream: &str| rates.remaining(upstream)),
            clock: shared.clock.clone(),
            tasks: shared.tasks.child("doctor"),
        };
        doctor::examine(&patient, only).await
    }
}
