//! `POST /api/v1/pulls`: a node fills and copies without a client, and how that goes. Source: `spec/operations.md` `regmesh pull`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::status::LastError,
    digest::Digest,
    name::NodeName,
    platform::{self, Platform},
    reference::Reference,
    repository::RepositoryName,
    schema,
    time::{WallTime, rfc3339},
};

/// What a node is to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// As a client of that node would name it.
    pub repository: RepositoryName,
    /// Tag or digest.
    pub reference: Reference,
    /// Which platforms, beside those that the rule copies anyway.
    #[serde(default)]
    pub platforms: Platforms,
}

/// Which platforms of an index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Platforms {
    /// What the rule says; of `requested`, this machine's kind of node would ask for: all that the index names.
    #[default]
    Rule,
    /// All that the index names.
    All,
    /// These.
    Only(
        #[serde(with = "platform::text::list")]
        #[schemars(with = "Vec<schema::PlatformText>")]
        Vec<Platform>,
    ),
}

/// The body of `POST /api/v1/pulls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRequest {
    /// Which node.
    pub node: NodeName,
    /// What.
    #[serde(flatten)]
    pub request: Request,
}

/// A pull as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Names this pull at its node.
    pub id: String,
    /// Which node.
    pub node: NodeName,
    /// What was asked.
    #[serde(flatten)]
    pub request: Request,
    /// Where it stands.
    pub state: State,
    /// What the reference is, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Contents it needs that are known by now, in order.
    pub contents: Vec<Content>,
    /// When it began.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub started_at: WallTime,
    /// What last went wrong, if something did; a copy goes on trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// Where a pull stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The reference is being looked up.
    Resolving,
    /// Contents are on their way.
    Copying,
    /// The node holds the whole image.
    Complete,
    /// It cannot be had: see `lastError`.
    Failed,
}

/// One blob or manifest of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// Which.
    pub digest: Digest,
    /// Its type.
    pub media_type: String,
    /// The platform whose image it belongs to.
    #[serde(
        default,
        with = "platform::text",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::PlatformText>")]
    pub platform: Option<Platform>,
    /// Bytes it has.
    pub size: u64,
    /// Bytes that are here.
    pub done: u64,
    /// Whether it is stored.
    pub stored: bool,
}
