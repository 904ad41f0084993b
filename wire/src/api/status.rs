//! `GET /status` of a node's operational listener: what the node is, what its rules do, what waits.
//!
//! Everything here may be read by whoever reaches that listener: no secret, no token, no presigned URL is ever part of a
//! text. Source: `spec/operations.md` "Telemetry", `spec/pull-through.md` step 6.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    generation::Generation,
    name::{MeshName, NodeName, RuleName, WebhookName},
    pattern::Pattern,
    refusal::Refusal,
    schema,
    time::{WallTime, rfc3339},
};

/// One node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node.
    pub node: NodeName,
    /// Its mesh.
    pub mesh: MeshName,
    /// Its depth in the tree: 1 is a hub.
    pub tier: u8,
    /// The generation in force; 0 before the first slice.
    pub generation: Generation,
    /// The program's version.
    pub version: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// Whether it is on its way out.
    pub draining: bool,
    /// Its storage.
    pub store: StoreStatus,
    /// Its rules, by name.
    pub rules: Vec<RuleStatus>,
    /// Copies that wait or run.
    pub copies: CopiesStatus,
    /// Its webhooks, by name.
    pub webhooks: Vec<WebhookStatus>,
    /// What an operator should know: damage met at the start, what waits for a restart, keys of a newer release that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A node's storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// Bytes of content stored.
    pub bytes: u64,
    /// Bytes it may use: `storage.maxSize`, else the file system's size.
    pub capacity: Option<u64>,
    /// Why nothing is being stored, when so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

/// The state of a rule, in one word.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum RuleState {
    /// Works, or has not been used yet.
    Active,
    /// The upstream does not let its identity in.
    Unauthorized,
    /// The upstream cannot be asked.
    UpstreamUnavailable,
    /// Pulls succeed, copies do not.
    NotStoring,
    /// Its target holds pushed content, so it is not in force.
    Conflict,
    /// `enabled: false`.
    Disabled,
    /// Not in force yet.
    Pending,
}

impl RuleState {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Unauthorized => "Unauthorized",
            Self::UpstreamUnavailable => "UpstreamUnavailable",
            Self::NotStoring => "NotStoring",
            Self::Conflict => "Conflict",
            Self::Disabled => "Disabled",
            Self::Pending => "Pending",
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// Its name.
    pub name: RuleName,
    /// Its source, as in the topology.
    pub source: String,
    /// Its target.
    pub target: Pattern,
    /// As whom it calls its upstream: `identity NAME`, `credential set NAME` or `anonymous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Its state.
    pub status: RuleState,
    /// The refusal behind the state, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// What a person needs to know about the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the upstream last answered as it should.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub last_success: Option<WallTime>,
    /// What last went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Pulls since the last one whose content was stored.
    pub unstored_pulls: u64,
    /// Transfers from the upstream since the start.
    pub fills: u64,
    /// Copies completed since the start.
    pub copies: u64,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: WallTime,
    /// What; cleaned text.
    pub text: String,
}

/// The queue of copies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopiesStatus {
    /// Jobs that wait for their turn.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that failed and will be tried again.
    pub failing: u64,
    /// What last went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookStatus {
    /// Its name.
    pub name: WebhookName,
    /// Events that wait to be delivered.
    pub queued: u64,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<Delivery>,
}

/// One attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// When it ended.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: WallTime,
    /// The receiver's status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it did not, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many attempts this event has had.
    pub attempts: u32,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_written_as_status_shows_it() {
        let rule = RuleStatus {
            name: "golden".parse().expect("a rule"),
            source: "parent://golden/*".into(),
            target: "golden/*".parse().expect("a pattern"),
            identity: Some("identity reader".into()),
            status: RuleState::NotStoring,
            refusal: Some(Refusal::UpstreamDenied),
            reason: None,
            last_success: Some(WallTime(0)),
            last_error: Some(LastError {
                at: WallTime(1),
                text: "disk full".into(),
            }),
            unstored_pulls: 3,
            fills: 2,
            copies: 1,
        };
        let value = serde_json::to_value(&rule).expect("JSON");
        assert_eq!(
            value,
            json!({
                "name": "golden", "source": "parent://golden/*", "target": "golden/*",
                "identity": "identity reader", "status": "NotStoring",
                "refusal": "UPSTREAM_DENIED", "lastSuccess": "1970-01-01T00:00:00.000Z",
                "lastError": { "at": "1970-01-01T00:00:00.001Z", "text": "disk full" },
                "unstoredPulls": 3, "fills": 2, "copies": 1,
            })
        );
        assert_eq!(
            serde_json::from_value::<RuleStatus>(value).expect("a rule"),
            rule
        );
    }

    #[test]
    fn every_state_is_written_as_it_is_named() {
        use RuleState::*;
        for state in [
            Active,
            Unauthorized,
            UpstreamUnavailable,
            NotStoring,
            Conflict,
            Disabled,
            Pending,
        ] {
            assert_eq!(serde_json::to_value(state).expect("a word"), state.as_str());
        }
    }
}
