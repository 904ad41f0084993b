//! What a running node answers when the control plane asks: one arm for each question, each a call into the part that knows.
//!
//! Called by `agent`, which bounds how many run at once and drops one nobody waits for, so every arm may end at any `.await`.
//! A drain is only begun here: whoever runs the node hears of it by [`Running::asked_to_end`] and ends it well.

use wire::{
    api::{
        ask::{Answer, Question},
        inventory::WebhookDelivery,
        problem::Problem,
    },
    name::WebhookName,
    reference::Reference,
    repository::RepositoryName,
};

use super::Running;
use crate::{
    registry,
    store::{
        self,
        metadata::{Delivery, DeliveryState, EventRecord},
    },
};

/// How many deliveries are shown at most.
const DELIVERIES: usize = 500;

impl Running {
    /// Answers a question of the control plane.
    ///
    /// # Errors
    /// Why it cannot be answered, as the asker is to see it.
    pub async fn ask(&self, question: Question) -> Result<Answer, Problem> {
        let registry = &self.shared.registry;
        match question {
            Question::Status => Ok(Answer::Status(Box::new(self.status()))),
            Question::Drain => {
                self.shared.asked_to_end.cancel();
                Ok(Answer::Draining)
            }
            Question::Explain(query) => Ok(Answer::Explain(Box::new(self.explain(&query).await))),
            Question::Doctor { only, credentials } => {
                Ok(Answer::Doctor(self.doctor(&only, credentials).await))
            }
            Question::Pull(request) => {
                let progress = registry.pull(request).await;
                progress.map(Answer::Pull).map_err(|error| broken(&error))
            }
            Question::PullProgress { id } => {
                let progress = registry.pull_progress(&id).await;
                let found = progress.map_err(|error| broken(&error))?;
                found.map(Answer::Pull).ok_or_else(|| {
                    let text = format!("there is no pull '{id}' here: the node was restarted, or it is long ago; ask for it again");
                    Problem::new(404, "not-found", text)
                })
            }
            Question::Holds {
                repository,
                reference,
            } => {
                let held = registry.holds(repository.as_ref(), &reference).await;
                held.map(Answer::Holds).map_err(|error| broken(&error))
            }
            Question::Repositories(page) => {
                let listed = registry.repositories(&page).await;
                listed
                    .map(Answer::Repositories)
                    .map_err(|error| broken(&error))
            }
            Question::Tags { repository, page } => {
                let listed = registry.held_tags(&repository, &page).await;
                let listed = listed.map_err(|error| broken(&error))?;
                let unknown = || nothing_of(&self.shared.name, &repository);
                listed.map(Answer::Tags).ok_or_else(unknown)
            }
            Question::Manifests { repository, page } => {
                let listed = registry.held_manifests(&repository, &page).await;
                let listed = listed.map_err(|error| broken(&error))?;
                let unknown = || nothing_of(&self.shared.name, &repository);
                listed.map(Answer::Manifests).ok_or_else(unknown)
            }
            Question::Manifest {
                repository,
                reference,
            } => {
                let found = registry.held_manifest(&repository, &reference).await;
                let found = found.map_err(|error| broken(&error))?;
                let found = found.map(|body| Answer::Manifest(Box::new(body)));
                found.ok_or_else(|| not_held(&repository, &reference))
            }
            Question::Delete {
                repository,
                reference,
            } => self.delete(&repository, reference.as_ref()).await,
            Question::PingWebhook { webhook } => {
                let answer = self.shared.deliveries.ping(&webhook).await;
                answer
                    .map(Answer::Pinged)
                    .ok_or_else(|| no_webhook(&webhook))
            }
            Question::Deliveries { webhook, limit } => self.deliveries(&webhook, limit).await,
            Question::Recalled { digest } => {
                Ok(Answer::Recalled(self.shared.recalls.contains(&digest)))
            }
        }
    }

    /// Ends when somebody who may asked this node to drain; whoever runs the node then calls [`Running::drain`].
    pub async fn asked_to_end(&self) {
        self.shared.asked_to_end.cancelled().await;
    }

    async fn delete(
        &self,
        repository: &RepositoryName,
        reference: Option<&Reference>,
    ) -> Result<Answer, Problem> {
        let request = registry::own_request();
        let evicted = self.shared.registry.evict(repository, reference, &request);
        evicted.await.map(Answer::Deleted).map_err(|error| {
            let unknown = matches!(
                error,
                registry::Error::ManifestUnknown { .. } | registry::Error::NameUnknown { .. }
            );
            let (status, code) = if unknown {
                (404, "not-found")
            } else {
                (503, "unavailable")
            };
            Problem::new(status, code, error.to_string())
        })
    }

    async fn deliveries(&self, webhook: &WebhookName, limit: u32) -> Result<Answer, Problem> {
        let limit = usize::try_from(limit).map_or(DELIVERIES, |limit| limit.min(DELIVERIES));
        let found = self
            .shared
            .store
            .metadata()
            .deliveries(webhook, limit)
            .await;
        let found = found.map_err(|error| broken(&error))?;
        Ok(Answer::Deliveries(found.iter().filter_map(shown).collect()))
    }
}

/// A delivery as people see it; one whose body is not an event of ours cannot be shown.
fn shown((event, delivery): &(EventRecord, Delivery)) -> Option<WebhookDelivery> {
    let status = delivery
        .response
        .as_deref()
        .and_then(|said| said.parse().ok());
    Some(WebhookDelivery {
        event: serde_json::from_slice(&event.body).ok()?,
        status,
        error: delivery.response.clone().filter(|_| status.is_none()),
        sent_at: delivery.sent_at,
        attempts: delivery.attempts,
        delivered: delivery.state == DeliveryState::Delivered,
    })
}

fn broken(error: &store::Error) -> Problem {
    Problem::new(
        503,
        "unavailable",
        format!("the node's store cannot be read: {error}"),
    )
}

fn nothing_of(node: &wire::name::NodeName, repository: &RepositoryName) -> Problem {
    let text = format!("node '{node}' holds nothing of a repository '{repository}'");
    Problem::new(404, "not-found", text)
}

fn not_held(repository: &RepositoryName, reference: &Reference) -> Problem {
    let text = format!(
        "'{reference}' of '{repository}' is not stored on this node; `regmesh explain` says what a pull would do"
    );
    Problem::new(404, "not-found", text)
}

fn no_webhook(webhook: &WebhookName) -> Problem {
    let text = format!("this node has no webhook '{webhook}'");
    Problem::new(404, "not-found", text)
}
