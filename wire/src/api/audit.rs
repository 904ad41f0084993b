//! The audit log: every change, who made it, what was before and after. Source: `spec/control-plane.md` "API".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    generation::Generation,
    schema,
    time::{WallTime, rfc3339},
};

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Counts up; gaps mean nothing.
    pub sequence: u64,
    /// When.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: WallTime,
    /// Who: `admin-token`, `account:NAME`, `node:NAME`, `{issuer} subject`, `control`.
    pub who: String,
    /// What was done: `apply`, `put`, `delete`, `recall`, `lift`, `join-token`, `enrol`, `renew`, `revoke`, `recover`, `rotate`, `sign-in`, `drain`.
    pub action: String,
    /// To what: `KIND/NAME`, or `topology`.
    pub target: String,
    /// What it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// The generation that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Why it was refused, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
