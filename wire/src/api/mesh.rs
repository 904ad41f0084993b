//! `GET /api/v1/status`: the tree of nodes, and what enrolment gives. Source: `spec/operations.md` `regmesh status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        problem::{DocumentProblem, Problem},
        report::Counters,
        status::RuleState,
    },
    generation::Generation,
    name::{MeshName, NodeName, RuleName},
    schema,
    time::{WallTime, rfc3339},
};

/// The mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshStatus {
    /// Its name, once a topology was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshName>,
    /// The newest generation; 0 when nothing was ever applied.
    pub generation: Generation,
    /// The control plane's version.
    pub version: String,
    /// What the operator must know about the control plane itself, such as a store that takes no writes.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Depth first: a parent stands before its children.
    pub nodes: Vec<NodeInTree>,
}

/// One node of the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInTree {
    /// Its name.
    pub name: NodeName,
    /// Its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<NodeName>,
    /// Its tier.
    pub tier: u8,
    /// Where clients reach it.
    pub endpoint: String,
    /// In one word.
    pub health: Health,
    /// Why it is not healthy, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its instances; a node with none was never enrolled.
    pub instances: Vec<Instance>,
    /// The lowest generation in force on its connected instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The slice it refused, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Rules that are not `Active` nor `Disabled`.
    #[serde(default)]
    pub unwell: Vec<UnwellRule>,
    /// How many rules it has.
    pub rules: u64,
    /// Totals since its start.
    #[serde(default)]
    pub counters: Counters,
    /// Bytes stored.
    #[serde(default)]
    pub stored_bytes: u64,
    /// Bytes it may store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Copy jobs that are not done.
    #[serde(default)]
    pub copies: u64,
}

/// How a node is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Connected, newest generation, nothing wrong.
    Healthy,
    /// Connected, and something is wrong that `reason` names.
    Degraded,
    /// It refused the newest slice.
    Refused,
    /// It is ahead of this control plane (restored from a backup).
    Ahead,
    /// Going down on purpose.
    Draining,
    /// Was connected, is not.
    Disconnected,
    /// Never enrolled, or revoked.
    Absent,
}

impl Health {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Refused => "refused",
            Self::Ahead => "ahead",
            Self::Draining => "draining",
            Self::Disconnected => "disconnected",
            Self::Absent => "absent",
        }
    }
}

/// One running copy of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Made by the instance at its first start.
    pub id: String,
    /// Whether its stream is open, at any control plane.
    pub connected: bool,
    /// When it was last heard of.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub last_seen: Option<WallTime>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The generation in force there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// When its certificate ends.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub certificate_until: Option<WallTime>,
    /// Milliseconds its clock is ahead of ours.
    #[serde(default)]
    pub clock_skew_ms: i64,
    /// Why it may not come back: revoked, or a copied data directory was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shut_out: Option<String>,
}

/// A slice that a node refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Its generation.
    pub generation: Generation,
    /// Why.
    pub problems: Vec<DocumentProblem>,
}

/// A rule that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnwellRule {
    /// Its name.
    pub name: RuleName,
    /// Its state.
    pub status: RuleState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of `POST /api/v1/nodes/{n}/join-token`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JoinTokenRequest {
    /// Seconds it may be used; 900 when 0, 604,800 at most.
    #[schemars(range(max = 604_800))]
    pub ttl_seconds: u64,
    /// How many instances may join with it; 1 when 0, 1,000 at most.
    #[schemars(range(max = 1_000))]
    pub uses: u32,
}

/// A join token, shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinToken {
    /// The node it is for.
    pub node: NodeName,
    /// `regmesh-join.v1.…`: address of the node service, pin of its CA, secret.
    pub token: String,
    /// When it ends.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: WallTime,
    /// How many instances may join with it.
    pub uses: u32,
}

/// What a change of the whole mesh came to: `POST /api/v1/recover`, `POST /api/v1/nodes/{n}/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The generation that brings it.
    pub generation: Generation,
}

/// What one of several nodes said, or why it said nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OfNode<T> {
    /// The node.
    pub node: NodeName,
    /// Its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<T>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// A point of the history of a node: totals at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPoint {
    /// When.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: WallTime,
    /// Totals then.
    pub counters: Counters,
    /// Bytes stored then.
    pub stored_bytes: u64,
}
