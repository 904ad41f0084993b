//! A cache rule on one node.

use std::{fmt, sync::Arc, time::Duration};

use wire::{
    name::{CredentialName, IdentityName, NodeName, RuleName},
    pattern::Pattern,
    platform::Platform,
};

use crate::glob::Glob;

/// A rule instance: target repositories on a node are filled from source repositories on an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// Where the content comes from; `parent://` is resolved.
    pub source: Source,
    /// Which repositories of this node it fills; a wildcard exactly when the source is one.
    pub target: Pattern,
    /// As whom it calls the upstream.
    pub authentication: Authentication,
    /// When a tag is asked for again.
    pub freshness: Freshness,
    /// What happens to a tag that was deleted upstream.
    pub when_gone: WhenGone,
    /// Which platforms of an index are copied.
    pub platforms: Platforms,
    /// What happens to referrers.
    pub referrers: Referrers,
    /// Whether it is in force.
    pub enabled: bool,
    /// Where its chain of upstreams ends; several ends when an upstream node fills its repositories from several places.
    pub origins: Arc<[Origin]>,
}

/// One end of a rule's chain of upstreams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The registry at the end: `HOST[:PORT]`, the login server when it is a node.
    pub host: String,
    /// Its repositories.
    pub repositories: Pattern,
    /// The same repositories by the names that the rule's own upstream has for them.
    pub via: Pattern,
}

/// An upstream and the repositories there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The upstream.
    pub upstream: UpstreamRef,
    /// Its repositories.
    pub repositories: Pattern,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upstream {
            UpstreamRef::Node(node) => write!(f, "node://{node}/{}", self.repositories),
            UpstreamRef::Host(host) => write!(f, "{host}/{}", self.repositories),
        }
    }
}

/// Who the upstream is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamRef {
    /// A node of this mesh.
    Node(NodeName),
    /// A registry outside the mesh: `HOST[:PORT]`, `docker.io` for all of its aliases.
    Host(String),
}

impl fmt::Display for UpstreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Host(host) => f.write_str(host),
        }
    }
}

/// As whom a rule calls its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// As nobody.
    Anonymous,
    /// As an identity.
    Identity(IdentityName),
    /// With a credential set.
    Credentials(CredentialName),
}

/// When a stored tag may be served without asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Freshness {
    /// When it is checked.
    pub check: Check,
    /// Tags that are never checked once complete.
    pub immutable: Vec<Glob>,
    /// How long past its last successful check a tag is served while the upstream cannot be asked.
    pub serve_stale: Allowance,
    /// How long stored tags are served after the upstream began to refuse us.
    pub denied_grace: Duration,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            check: Check::Always,
            immutable: Vec::new(),
            serve_stale: Allowance::Forever,
            denied_grace: Duration::from_secs(600),
        }
    }
}

/// When a tag is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// On every pull by tag.
    Always,
    /// When the last successful check is older than this.
    After(Duration),
    /// Never again.
    Never,
}

/// For how long something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// For ever.
    Forever,
    /// For so long.
    For(Duration),
    /// Not at all.
    Never,
}

/// What happens to a tag that was deleted upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenGone {
    /// It stays.
    #[default]
    Keep,
    /// It is answered as unknown.
    Deny,
}

/// Which platforms of an index are copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Platforms {
    /// Those that somebody pulls.
    #[default]
    Requested,
    /// All of them, attestations too.
    All,
    /// These.
    Listed(Vec<Platform>),
}

/// What happens to the referrers of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Referrers {
    /// Asked for when a client asks.
    #[default]
    OnDemand,
    /// Copied with the image.
    WithImage,
    /// Never asked for.
    None,
}
