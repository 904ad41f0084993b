//! `explain`: a dry run of one pull, tier by tier. Source: `spec/operations.md` "explain".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::status::{LastError, RuleState},
    digest::Digest,
    generation::Generation,
    name::{NodeName, RuleName},
    pattern::Pattern,
    platform::{self, Platform},
    reference::Reference,
    refusal::Refusal,
    repository::RepositoryName,
    schema,
    time::{WallTime, rfc3339},
};

/// What is to be explained on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// As a client of that node would name it.
    pub repository: RepositoryName,
    /// Tag or digest.
    pub reference: Reference,
    /// Only this platform; else all that the index names.
    #[serde(
        default,
        with = "platform::text",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::PlatformText>")]
    pub platform: Option<Platform>,
}

/// The body of `POST /api/v1/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Where the pull would begin.
    pub node: NodeName,
    /// What would be pulled.
    #[serde(flatten)]
    pub query: Query,
}

/// The answer of `POST /api/v1/explain`: the hops from the asked node to the last one of the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was asked.
    #[serde(flatten)]
    pub request: Request,
    /// What the next pull at the asked node will get, in one sentence.
    pub summary: String,
    /// The asked node first.
    pub hops: Vec<Hop>,
}

/// One node on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// The node.
    pub node: NodeName,
    /// Its tier.
    pub tier: u8,
    /// The generation it decides by.
    pub generation: Generation,
    /// The name of the repository here.
    pub repository: RepositoryName,
    /// Tag or digest.
    pub reference: Reference,
    /// The rule that answers for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleMatch>,
    /// Rules whose target is close to the repository without matching.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub almost: Vec<Almost>,
    /// As whom the rule calls, and whether the upstream grants it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Whether the network lets this node reach its upstream, as seen from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The tag record here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<TagState>,
    /// What the upstream says that the reference is, now; only for an upstream outside the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_digest: Option<Digest>,
    /// What the next pull does here.
    pub next: Next,
    /// What of the closure is stored here, per platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<Stored>,
    /// The copy job, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Copy>,
    /// Why the node could not be asked; everything else is then empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

/// The rule that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleMatch {
    /// Its name.
    pub name: RuleName,
    /// Its source as the topology has it.
    pub source: String,
    /// Its target.
    pub target: Pattern,
    /// Its state.
    pub status: RuleState,
    /// Why it is in that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The upstream node, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_node: Option<NodeName>,
    /// The upstream's host and port.
    pub upstream: String,
    /// The name of the repository there.
    pub mapped: RepositoryName,
}

/// A rule that does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Almost {
    /// Its name.
    pub rule: RuleName,
    /// Its target.
    pub target: Pattern,
    /// Why it does not match.
    pub why: String,
}

/// As whom a rule calls its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// `anonymous`, `identity` or `credentials`.
    pub kind: String,
    /// The name of the identity or credential set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `true` when the upstream lets it pull this repository now, `false` when it does not, absent when it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<bool>,
    /// When the token of its own that the node has in hand for it ends; absent where it has none, or it does not end.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub token_ends: Option<WallTime>,
    /// The name of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The status that the upstream, or its token service, answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What came of asking, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The way to the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Whether the upstream can be reached and lets this node's address in.
    pub reachable: bool,
    /// What was found.
    pub detail: String,
}

/// A tag record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagState {
    /// What it points to here.
    pub digest: Digest,
    /// When the upstream last confirmed it.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub checked_at: WallTime,
    /// Seconds since then.
    pub age_seconds: u64,
    /// Whether it may be served without asking.
    pub fresh: bool,
}

/// What the next pull does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// In one word.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
    /// The status a client would get, when it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The name of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// What a pull would do, in one word of `spec/operations.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Served from storage, nobody asked.
    Hit,
    /// One HEAD, then served from storage.
    Check,
    /// Fetched from the upstream.
    Fill,
    /// Served from storage although the upstream cannot be asked.
    ServeStale,
    /// Not served.
    Refuse,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Check => "check",
            Self::Fill => "fill",
            Self::ServeStale => "serve-stale",
            Self::Refuse => "refuse",
        }
    }
}

/// What is stored of one platform's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The platform; absent for an image without one.
    #[serde(
        default,
        with = "platform::text",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::PlatformText>")]
    pub platform: Option<Platform>,
    /// Its manifest.
    pub digest: Digest,
    /// Whether everything it needs is here.
    pub complete: bool,
    /// Contents that are here, the manifest included.
    pub contents: u64,
    /// Contents it needs, the manifest included; absent when the manifest itself is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Whether the rule copies this platform without being asked for it.
    pub wanted: bool,
}

/// A copy job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// `waiting`, `running`, `failing` or `done`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub due_at: Option<WallTime>,
    /// What last went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}
