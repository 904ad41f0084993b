//! The webhook body, in the shape ACR users parse, and which events a subscription wants.
//!
//! This is a contract with whoever receives it: fields are added, never renamed or reordered. `tag` is absent when
//! untagged, `platform` when it means nothing, `rule` when no rule was involved. Recording and delivering are the node's.
//! Source: `spec/operations.md` "Webhooks", `spec/pull-through.md` "Events".

mod scope;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::scope::{EventScope, EventScopeError};
use crate::{
    digest::Digest,
    name::{MeshName, NodeName, RuleName},
    platform::{self, Platform},
    reference::Tag,
    repository::RepositoryName,
    schema,
    time::{self, WallTime},
};

/// One event, as recorded and as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The same at every attempt to deliver it.
    #[schemars(with = "schema::UuidText")]
    pub id: Uuid,
    /// When it happened; written as RFC 3339 with milliseconds.
    #[serde(with = "time::rfc3339")]
    #[schemars(with = "schema::Time")]
    pub timestamp: WallTime,
    /// What happened.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// The request that caused it; absent when none did (a copy that goes on after a restart).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Where in the mesh, and why.
    pub regmesh: Origin,
}

/// What happened.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A manifest was stored, by a client's push or by a copy.
    Push,
    /// A tag or manifest was deleted.
    Delete,
    /// Somebody asked whether the webhook works.
    Ping,
    /// A copy cannot go on.
    CopyFailed,
    /// A tag was served without being checked, because the upstream could not be asked.
    ServedStale,
    /// A digest was recalled.
    Recalled,
}

impl Action {
    /// The word in the body and in a webhook's `actions`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Ping => "ping",
            Self::CopyFailed => "copy_failed",
            Self::ServedStale => "served_stale",
            Self::Recalled => "recalled",
        }
    }
}

/// To what it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The manifest's type, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifest's length in bytes, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The same again: both words are parsed by somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The manifest's digest.
    pub digest: Digest,
    /// The repository on this node.
    pub repository: RepositoryName,
    /// The tag; absent when untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

impl Target {
    /// A manifest of known type and size, under a tag or under none.
    #[must_use]
    pub fn manifest(
        repository: RepositoryName,
        tag: Option<Tag>,
        digest: Digest,
        media_type: impl Into<String>,
        size: u64,
    ) -> Self {
        Self {
            media_type: Some(media_type.into()),
            size: Some(size),
            length: Some(size),
            digest,
            repository,
            tag,
        }
    }
}

/// The request that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Request {
    /// Its correlation id, as in the log.
    pub id: String,
    /// The host that the client named.
    pub host: String,
    /// Its method.
    pub method: String,
    /// The client's `User-Agent`, cleaned and cut.
    pub useragent: String,
}

/// Where in the mesh it happened, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The mesh.
    pub mesh: MeshName,
    /// The node.
    pub node: NodeName,
    /// The rule, when one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// Who did it.
    pub cause: Cause,
    /// The platform, written `os/arch[/variant]`, when it means something.
    #[serde(
        default,
        with = "platform::text",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::PlatformText>")]
    pub platform: Option<Platform>,
    /// The trace of the pull it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Why, for `copy_failed`, `served_stale` and `recalled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The node, filling itself from an upstream.
    Copy,
    /// A client.
    Client,
}

impl Event {
    /// The body as delivered. The signature is computed over exactly these bytes.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always serialise")
    }
}

/// The body of a `ping`.
#[must_use]
pub fn ping_body() -> Vec<u8> {
    br#"{"action":"ping"}"#.to_vec()
}
