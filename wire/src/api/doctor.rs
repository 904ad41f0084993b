//! `doctor`: named checks, each with one line and what to do. Source: `spec/operations.md` "doctor".

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::NodeName;

/// The id of a check.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum CheckId {
    /// A real write, read and delete in blob and metadata store.
    #[serde(rename = "STORE-WRITE")]
    StoreWrite,
    /// Pulls pass, nothing is stored.
    #[serde(rename = "COPY-STALL")]
    CopyStall,
    /// Rules that never match, conflict or are shadowed.
    #[serde(rename = "RULE-MATCH")]
    RuleMatch,
    /// Secret readable, token granted, pull granted.
    #[serde(rename = "CRED-HEALTH")]
    CredHealth,
    /// What an identity may be used for.
    #[serde(rename = "IDENT-SCOPE")]
    IdentScope,
    /// DNS, TCP, TLS chain, clock skew, per hop from that hop.
    #[serde(rename = "NET-PATH")]
    NetPath,
    /// Depth, loops, generation skew.
    #[serde(rename = "TREE")]
    Tree,
    /// Tags older than their rule allows.
    #[serde(rename = "FRESH")]
    Fresh,
    /// The upstream's remaining rate, disk.
    #[serde(rename = "QUOTA")]
    Quota,
    /// Children of indexes that are missing.
    #[serde(rename = "CHILDREN")]
    Children,
    /// Signatures and attestations of stored images.
    #[serde(rename = "REFERRERS")]
    Referrers,
    /// Webhooks are delivered.
    #[serde(rename = "HOOKS")]
    Hooks,
    /// This machine's containerd, podman and docker files; made by the CLI.
    #[serde(rename = "CLIENT")]
    Client,
}

impl CheckId {
    /// Every check, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::StoreWrite,
        Self::CopyStall,
        Self::RuleMatch,
        Self::CredHealth,
        Self::IdentScope,
        Self::NetPath,
        Self::Tree,
        Self::Fresh,
        Self::Quota,
        Self::Children,
        Self::Referrers,
        Self::Hooks,
        Self::Client,
    ];

    /// The id as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoreWrite => "STORE-WRITE",
            Self::CopyStall => "COPY-STALL",
            Self::RuleMatch => "RULE-MATCH",
            Self::CredHealth => "CRED-HEALTH",
            Self::IdentScope => "IDENT-SCOPE",
            Self::NetPath => "NET-PATH",
            Self::Tree => "TREE",
            Self::Fresh => "FRESH",
            Self::Quota => "QUOTA",
            Self::Children => "CHILDREN",
            Self::Referrers => "REFERRERS",
            Self::Hooks => "HOOKS",
            Self::Client => "CLIENT",
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no check '{0}'; the checks are STORE-WRITE, COPY-STALL, RULE-MATCH, CRED-HEALTH, IDENT-SCOPE, NET-PATH, TREE, FRESH, QUOTA, CHILDREN, REFERRERS, HOOKS and CLIENT"
)]
pub struct NoSuchCheck(String);

impl FromStr for CheckId {
    type Err = NoSuchCheck;

    fn from_str(text: &str) -> Result<Self, NoSuchCheck> {
        let found = Self::ALL
            .into_iter()
            .find(|id| id.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| NoSuchCheck(text.to_owned()))
    }
}

/// How a check ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Did not apply.
    Skipped,
    /// Works, and wants attention.
    Warning,
    /// Does not work.
    Failed,
}

/// One finding of a check about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Which check.
    pub id: CheckId,
    /// Where; absent for a check of the whole mesh or of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// About what: a rule, a credential set, a webhook, an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// One line: what was found.
    pub text: String,
    /// What to do about it; for what is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The body of `POST /api/v1/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Request {
    /// Only this node; else all of them, and the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Only these checks; all when empty.
    #[schemars(length(max = 64))]
    pub only: Vec<CheckId>,
}

/// The answer of the API: every check that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The worst outcome.
    pub outcome: Outcome,
    /// The checks, grouped by id.
    pub checks: Vec<Check>,
}
