//! May a credential of this upstream go to that realm? Pure, and asked before every token call, remembered challenges included.
//!
//! The first row that applies decides: what the operator declared, what the upstream's profile lists, the same origin, nothing
//! more for address literals and names without a domain, the same registrable domain unless tenants share it. The address that
//! a name leads to is checked elsewhere, when the connection is made. A realm at the same address literal but another port is
//! refused (`spec/identity.md` demands the same origin), which is stricter than Distribution. Source: `reference/protocols.md` 1.7.

use std::{fmt, net::IpAddr, str::FromStr};

use runtime::egress::{self, Reach};
use url::{Host, Url};

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `https`, else `http`.
    pub secure: bool,
    /// Host name or literal, lower case, IPv6 in brackets.
    pub host: String,
    /// The port, explicit or the scheme's.
    pub port: u16,
}

impl Origin {
    /// The origin of an `http` or `https` URL.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self {
            secure,
            host: url.host_str()?.to_ascii_lowercase(),
            port: url.port_or_known_default()?,
        })
    }

    fn standard_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }
}

impl fmt::Display for Origin {
    /// `https://registry.example` or, with a port of its own, `https://registry.example:8443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == self.standard_port() {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

/// What decides about the realms of one upstream.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The upstream itself. Only if it is http may its realm be.
    pub upstream: Origin,
    /// Hosts of token services that the upstream's profile lists, its own among them; `None` when it has no profile.
    pub profile: Option<Vec<String>>,
    /// `HOST` or `HOST:PORT` of the operator's `realms`.
    pub declared: Vec<String>,
    /// Other origins of the upstream itself (a node's `endpoint`, where peers reach it by its `peerEndpoint`). A token service there is
    /// asked at the upstream's own origin, over the connection that is known to be the upstream's.
    pub aliases: Vec<Origin>,
}

/// `UPSTREAM_REALM_REFUSED`: no credential goes there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token service '{realm}' may not see this upstream's credential: {reason}")]
pub struct Refused {
    /// The realm without path, query and user info.
    pub realm: String,
    /// Which rule it breaks, and what would allow it.
    pub reason: &'static str,
}

/// Registries that give out host names or paths below one domain to strangers; none of them is on the public suffix list.
const SHARED: [&str; 16] = [
    "azurecr.io",
    "azurecr.cn",
    "azurecr.us",
    "pkg.dev",
    "gcr.io",
    "ghcr.io",
    "quay.io",
    "jfrog.io",
    "cloudsmith.io",
    "amazonaws.com",
    "amazonaws.com.cn",
    "ecr.aws",
    "icr.io",
    "ocir.io",
    "aliyuncs.com",
    "cluster.local",
];

const DECLARE: &str = "it is neither the upstream's origin nor of its domain; declare it under 'realms' of the upstream if it is right";

/// The realm as a URL, when this upstream's credential may go there.
///
/// # Errors
/// With the reason, when it may not.
pub fn check(realm: &str, policy: &Policy) -> Result<Url, Refused> {
    let url = Url::parse(realm).map_err(|_| Refused {
        realm: "?".to_owned(),
        reason: "it is not an absolute URL",
    })?;
    let url = unaliased(&url, policy).unwrap_or(url);
    let shown = || {
        let host = url.host_str().unwrap_or("?");
        url.port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    };
    match verdict(&url, policy) {
        Ok(()) => Ok(url),
        Err(reason) => Err(Refused {
            realm: shown(),
            reason,
        }),
    }
}

/// The same place by the upstream's own origin, when it is named by another one of the upstream's.
fn unaliased(url: &Url, policy: &Policy) -> Option<Url> {
    let origin = Origin::of(url)?;
    if !policy.aliases.contains(&origin) {
        return None;
    }
    let mut own = Url::parse(&policy.upstream.to_string()).ok()?;
    own.set_path(url.path());
    own.set_query(url.query());
    own.set_fragment(url.fragment());
    own.set_username(url.username()).ok()?;
    own.set_password(url.password()).ok()?;
    Some(own)
}

fn verdict(url: &Url, policy: &Policy) -> Result<(), &'static str> {
    let origin = Origin::of(url).ok_or("it is neither https nor http")?;
    if !origin.secure && policy.upstream.secure {
        return Err("it is http and the upstream is https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has user info in its URL");
    }
    if url.fragment().is_some() {
        return Err("it has a fragment in its URL");
    }
    if is_never_asked(url) {
        return Err("it is a link-local, metadata, multicast or unspecified address");
    }
    if policy.declared.iter().any(|entry| names(entry, &origin)) {
        return Ok(());
    }
    if let Some(profile) = &policy.profile {
        let listed = profile.iter().any(|entry| names(entry, &origin));
        return if listed {
            Ok(())
        } else {
            Err(
                "it is not a token service of this upstream that is known; declare it under 'realms' of the upstream if it is right",
            )
        };
    }
    if origin == policy.upstream || same_domain(&origin.host, &policy.upstream.host) {
        return Ok(());
    }
    Err(DECLARE)
}

/// Whether an entry `HOST` (at the scheme's port) or `HOST:PORT` means that origin.
fn names(entry: &str, origin: &Origin) -> bool {
    let own = format!("{}:{}", origin.host, origin.port);
    let bare = origin.port == origin.standard_port() && entry.eq_ignore_ascii_case(&origin.host);
    bare || entry.eq_ignore_ascii_case(&own)
}

/// Whether both names belong to one owner by the public suffix list. Literals and names of one label belong to nobody.
fn same_domain(one: &str, other: &str) -> bool {
    match (registrable(one), registrable(other)) {
        (Some(one), Some(other)) => one == other && !is_shared(one),
        _ => false,
    }
}

fn registrable(host: &str) -> Option<&str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.starts_with('[') || IpAddr::from_str(host).is_ok() || !host.contains('.') {
        return None;
    }
    psl::domain_str(host)
}

fn is_shared(domain: &str) -> bool {
    SHARED.contains(&domain)
}

/// Whether the realm is written as an address to which nothing is ever sent.
fn is_never_asked(url: &Url) -> bool {
    let address: Option<IpAddr> = match url.host() {
        Some(Host::Ipv4(v4)) => Some(v4.into()),
        Some(Host::Ipv6(v6)) => Some(v6.into()),
        Some(Host::Domain(_)) | None => None,
    };
    address.is_some_and(|address| egress::reach(address) == Reach::Never)
}

#[cfg(test)]
mod tests;
