//! What a node holds: repositories, tags, manifests with their platforms, and how webhooks were delivered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::explain::Stored,
    digest::Digest,
    event::Event,
    name::RuleName,
    platform::{self, Platform},
    reference::Tag as TagName,
    repository::RepositoryName,
    schema,
    time::{WallTime, rfc3339},
};

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// At most this many; 0 for the node's own limit.
    #[serde(default)]
    pub limit: u32,
    /// What comes after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed<T> {
    /// In order.
    pub items: Vec<T>,
    /// Where the next part begins, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A repository on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Its name.
    pub name: RepositoryName,
    /// The rule that fills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// How many tags it has here.
    pub tags: u64,
    /// How many manifests it has here.
    pub manifests: u64,
    /// Bytes linked into it; content shared with other repositories counts in each.
    pub bytes: u64,
}

/// A tag on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// Its name.
    pub name: TagName,
    /// What it points to.
    pub digest: Digest,
    /// When it last changed here.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub updated_at: WallTime,
    /// When the upstream last confirmed it; absent for what was pushed.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub checked_at: Option<WallTime>,
    /// Whether all that its image needs is here.
    pub complete: bool,
}

/// A manifest on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// Its type.
    pub media_type: String,
    /// Its artifact type, for artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its own bytes.
    pub size: u64,
    /// Its platform, when it is known.
    #[serde(
        default,
        with = "platform::text",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::PlatformText>")]
    pub platform: Option<Platform>,
    /// Tags that point to it.
    #[serde(default)]
    pub tags: Vec<TagName>,
    /// Whether all that it needs is here.
    pub complete: bool,
    /// What is stored, per platform.
    #[serde(default)]
    pub stored: Vec<Stored>,
    /// When it was stored.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub created_at: WallTime,
    /// When it was last asked for.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub last_used_at: Option<WallTime>,
}

/// A manifest and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestBody {
    /// What is known about it.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Its bytes, as they came; a manifest is JSON and so text.
    pub body: String,
}

/// What a node holds of a reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// What the reference is here, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether all that it needs is here.
    pub complete: bool,
    /// What is stored, per platform.
    #[serde(default)]
    pub stored: Vec<Stored>,
}

/// What a delete did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// Tags that are gone.
    pub tags: u64,
    /// Manifests that are gone.
    pub manifests: u64,
}

/// One event for one webhook: the request, and how its delivery stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDelivery {
    /// What was or will be sent.
    pub event: Event,
    /// The receiver's status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it did not, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was last tried.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub sent_at: Option<WallTime>,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether the receiver has it.
    pub delivered: bool,
}
