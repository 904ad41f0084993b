//! An identity that rules authenticate as.

use std::collections::BTreeSet;

use wire::{name::NodeName, pattern::Pattern};

use super::rule::{Source, UpstreamRef};

/// An identity and the nodes it is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub kind: IdentityKind,
    /// The nodes whose rules may use it.
    pub on: BTreeSet<NodeName>,
    /// Patterns of sources (`HOST/REPO`, `node://NODE/REPO`, each perhaps ending in `*`) that it may be presented for; empty for any of its kind.
    pub sources: Vec<String>,
}

impl Identity {
    /// Whether it may be presented for `source`.
    #[must_use]
    pub fn covers(&self, source: &Source) -> bool {
        let own = match &source.upstream {
            UpstreamRef::Node(node) => format!("node://{node}/"),
            UpstreamRef::Host(host) => format!("{host}/"),
        };
        let covers = |pattern: &String| {
            let pattern = pattern.strip_prefix(&own);
            pattern
                .and_then(|rest| rest.parse::<Pattern>().ok())
                .is_some_and(|pattern| pattern.contains(&source.repositories))
        };
        let all = |pattern: &String| pattern == "*";
        self.sources.is_empty() || self.sources.iter().any(|p| all(p) || covers(p))
    }
}

/// The three kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityKind {
    /// Minted by the control plane for one rule at a time.
    Managed,
    /// An Azure managed identity of the machine or pod.
    Azure {
        /// By client id.
        client_id: Option<String>,
        /// By object id.
        object_id: Option<String>,
        /// By ARM resource id.
        resource_id: Option<String>,
        /// Scope of the token, if not ACR's audience.
        scope: Option<String>,
    },
    /// Trusted by a foreign tenant or mesh through our issuer.
    Federated(Federation),
}

/// How a federated identity gets its foreign token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Federation {
    /// Audience of the federation token.
    pub audience: Option<String>,
    /// The foreign token endpoint.
    pub token_url: Option<String>,
    /// Client id there.
    pub client_id: Option<String>,
    /// Scope there.
    pub scope: Option<String>,
    /// How it is asked.
    pub flow: Flow,
    /// What is shown: `None` for our own federation token, else the Azure identity.
    pub assertion: Option<wire::name::IdentityName>,
    /// As what the result is presented to the registry: `None` for the exchange, else as password of this user.
    pub password_of: Option<String>,
}

impl IdentityKind {
    /// The host of its foreign token endpoint; see [`Federation::token_service`].
    #[must_use]
    pub fn token_service(&self) -> Option<String> {
        match self {
            Self::Federated(federation) => federation.token_service(),
            Self::Managed | Self::Azure { .. } => None,
        }
    }
}

impl Federation {
    /// The host of the foreign token endpoint, `HOST[:PORT]`, as `upstreams` names it: `ca` and `proxy` of that entry count for it.
    #[must_use]
    pub fn token_service(&self) -> Option<String> {
        let (scheme, rest) = self.token_url.as_deref()?.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let own = if scheme == "https" { ":443" } else { ":80" };
        Some(host.strip_suffix(own).unwrap_or(&host).to_owned())
    }
}

/// The audience of federation tokens for Entra. Source: `spec/topology.md` "identities".
pub const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";

/// Whether a token for this audience is an assertion for Entra, of whichever cloud (`…ExchangeUSGov`).
#[must_use]
pub fn is_for_entra(audience: &str) -> bool {
    let start = audience.get(..EXCHANGE_AUDIENCE.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(EXCHANGE_AUDIENCE))
}

impl Federation {
    /// The audience of its token for a registry at `host`: what the identity names, else Entra's. Where the token goes to the registry
    /// itself that default is the registry: whoever gets one for Entra could use it there.
    #[must_use]
    pub fn audience_at<'a>(&'a self, host: &'a str) -> &'a str {
        match (&self.audience, self.flow) {
            (Some(named), _) => named,
            (None, Flow::Direct) => host,
            (None, Flow::ClientAssertion | Flow::TokenExchange) => EXCHANGE_AUDIENCE,
        }
    }
}

/// How a foreign token endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Client credentials with a client assertion.
    ClientAssertion,
    /// RFC 8693.
    TokenExchange,
    /// No token service between.
    Direct,
}
