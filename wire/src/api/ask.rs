//! What the control plane asks a connected node, and what the node answers: one enum each, JSON on the node's stream.
//!
//! A node answers for itself alone; what spans nodes (explain across tiers, waits, recalls) is put together by the control plane.
//! Questions that change something are safe to repeat.

use serde::{Deserialize, Serialize};

use crate::{
    api::{doctor, explain, inventory, pull, status::Delivery},
    digest::Digest,
    name::{CredentialName, WebhookName},
    reference::Reference,
    repository::RepositoryName,
};

/// A question to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// What a pull here would do; nothing is fetched but the upstream's HEAD, nothing is written.
    Explain(explain::Query),
    /// Its checks; all of them when `only` is empty.
    Doctor {
        /// Ids of checks.
        #[serde(default)]
        only: Vec<doctor::CheckId>,
        /// Of CRED-HEALTH only rules that use this credential set, with a finding for each of them, also where all is well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<CredentialName>,
    },
    /// Fill and copy without a client. The same pull asked twice is one.
    Pull(pull::Request),
    /// How a pull stands.
    PullProgress {
        /// As `Answer::Pull` gave it.
        id: String,
    },
    /// Whether it holds all of something: this digest, or what this tag is here.
    Holds {
        /// Where; a digest may be asked for without it, in any repository.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<RepositoryName>,
        /// What.
        reference: Reference,
    },
    /// Its repositories.
    Repositories(inventory::Page),
    /// The tags of a repository.
    Tags {
        /// Which.
        repository: RepositoryName,
        /// Which part of the list.
        #[serde(flatten)]
        page: inventory::Page,
    },
    /// The manifests of a repository, with what is stored of each.
    Manifests {
        /// Which.
        repository: RepositoryName,
        /// Which part of the list.
        #[serde(flatten)]
        page: inventory::Page,
    },
    /// One manifest, its bytes with it.
    Manifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        reference: Reference,
    },
    /// Delete a tag, a manifest, or with no reference the whole repository from this node's storage.
    Delete {
        /// Where.
        repository: RepositoryName,
        /// What.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<Reference>,
    },
    /// Send a ping to a webhook's receiver now.
    PingWebhook {
        /// Which.
        webhook: WebhookName,
    },
    /// The newest deliveries of a webhook.
    Deliveries {
        /// Which.
        webhook: WebhookName,
        /// How many at most.
        limit: u32,
    },
    /// Whether what contains this digest is refused here (a recall in force).
    Recalled {
        /// Which.
        digest: Digest,
    },
    /// Become unready, finish what is under way, end.
    Drain,
    /// The whole status.
    Status,
}

/// The answer to the question of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "is", rename_all = "camelCase")]
pub enum Answer {
    /// This node's hop.
    Explain(Box<explain::Hop>),
    /// The checks that were made.
    Doctor(Vec<doctor::Check>),
    /// A pull as it stands; to both `Pull` and `PullProgress`.
    Pull(pull::Progress),
    /// What of it is here.
    Holds(inventory::Holding),
    /// Repositories.
    Repositories(inventory::Listed<inventory::Repository>),
    /// Tags.
    Tags(inventory::Listed<inventory::Tag>),
    /// Manifests.
    Manifests(inventory::Listed<inventory::Manifest>),
    /// One manifest.
    Manifest(Box<inventory::ManifestBody>),
    /// What was deleted.
    Deleted(inventory::Deleted),
    /// What the receiver said.
    Pinged(Delivery),
    /// Deliveries, newest first.
    Deliveries(Vec<inventory::WebhookDelivery>),
    /// Whether it is refused.
    Recalled(bool),
    /// It has begun.
    Draining,
    /// The status.
    Status(Box<crate::api::status::NodeStatus>),
}
