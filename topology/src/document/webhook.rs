//! `webhooks`: who is told about pushes and deletes.

use super::{Entries, Secret, Selector, Text};
use crate::{place::At, read::section::section};

section! {
    /// A webhook.
    Webhook = "a webhook" {
        /// Nodes whose events it gets.
        on: Option<Selector> = "on", required;
        /// Where events are sent.
        url: Text = "url", required;
        /// Actions it wants: `push`, `delete`, `ping`, `copy_failed`, `served_stale`, `recalled`; default `push` and `delete`.
        actions: Vec<At<String>> = "actions";
        /// `repo` (all its tags), `repo:tag`, `prefix*`, or empty for all.
        scope: Text = "scope";
        /// Headers sent along.
        headers: Entries<At<String>> = "headers";
        /// Where the key of the signature is.
        secret: Option<Secret> = "secret";
        /// Whether it is in force; default true.
        enabled: Option<At<bool>> = "enabled";
    }
}
