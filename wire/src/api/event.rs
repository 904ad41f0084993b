//! `/api/v1/events`: what happened in the mesh, newest last: events of nodes' repositories, and of the mesh itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Event,
    name::NodeName,
    schema,
    time::{WallTime, rfc3339},
};

/// One line of the stream. The id of a server-sent event is its sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Counts up.
    pub sequence: u64,
    /// When the control plane heard of it.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: WallTime,
    /// The node it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// In one word: an action of the webhook body (`push`, `delete`, `copy_failed`, `served_stale`, `recalled`), or one of the mesh:
    /// `node_connected`, `node_disconnected`, `slice_refused`, `rule_status`, `generation`, `node_ahead`, `clone_detected`.
    pub kind: String,
    /// For people.
    pub text: String,
    /// The webhook event, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}
