//! A webhook subscription on one node.

use std::collections::BTreeMap;

use wire::{name::WebhookName, secret_ref::SecretRef};

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub name: WebhookName,
    /// Where events are sent.
    pub url: String,
    /// Actions it wants, as in the event's `action`.
    pub actions: Vec<String>,
    /// `repo`, `repo:tag`, `prefix*`, or empty for all.
    pub scope: String,
    /// Headers sent along.
    pub headers: BTreeMap<String, String>,
    /// Where the key of the signature is.
    pub secret: Option<SecretRef>,
    /// Whether it is in force.
    pub enabled: bool,
}
