//! An Azure identity of this machine or pod: Entra's token for it, asked for by one rule and kept for that rule alone.
//!
//! The one seam to `azure_identity`; [`place`] says which of its sources is asked and why. What it leaves to others is the exchange at
//! the registry. Its surprises are dealt with here: it waits for IMDS for minutes (an attempt of ours ends after 10 s, and no pull waits
//! while a token is in hand), its cache renews five minutes before the end (a credential is made anew for each token, and ours renews at
//! half-life), its errors hold bodies (what is shown is made from what our transport saw). IMDS gives any identity of the machine to any
//! process there: the machine is the boundary, separation by rule is ours alone. Source: `spec/identity.md`, `reference/protocols.md` 4.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use runtime::{Clock, Tasks, egress};
use tokio::sync::Semaphore;
use url::{Host, Url};
use wire::{acr, time::WallTime};

use super::{Error, Presented, Proof, TokenSource, held::Held};

mod ask;
pub mod place;
pub(crate) mod transport;

pub(crate) use ask::secure;
pub use place::{Environment, Id};

/// The default limit of an attempt.
pub const ATTEMPT: Duration = Duration::from_secs(10);
/// How many tokens are asked for at once: IMDS turns away who asks too fast.
const AT_ONCE: usize = 8;
/// Of the machine's endpoint, which is near.
const CONNECT: Duration = Duration::from_secs(3);

/// What this machine or pod can give tokens of. Clones are the same.
#[derive(Debug, Clone)]
pub struct Machine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    environment: Environment,
    attempt: Duration,
    clock: Clock,
    at_once: Semaphore,
    /// Goes to the machine's endpoint alone.
    endpoint: egress::Client,
    /// Goes to Entra.
    entra: egress::Client,
    /// Where to find IMDS instead, in tests.
    imds: Option<Url>,
}

impl Machine {
    /// What `environment` tells of. Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        environment: Environment,
        attempt: Duration,
        clock: Clock,
    ) -> Result<Self, egress::Error> {
        Self::with(environment, attempt, clock, None)
    }

    /// The same, with IMDS at another address: it is a constant, and real machines answer there.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_imds_at(
        environment: Environment,
        attempt: Duration,
        clock: Clock,
        imds: Url,
    ) -> Result<Self, egress::Error> {
        Self::with(environment, attempt, clock, Some(imds))
    }

    fn with(
        environment: Environment,
        attempt: Duration,
        clock: Clock,
        imds: Option<Url>,
    ) -> Result<Self, egress::Error> {
        let machine = imds.clone().or_else(|| environment.machine());
        let machine = machine.as_ref().and_then(Url::host_str).unwrap_or_default();
        let entra = environment.entra();
        let options = |policy, connect_timeout| egress::Options {
            policy,
            connect_timeout,
            // Longer than our own limit, which says more about who was silent.
            read_timeout: attempt * 2,
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..egress::Options::default()
        };
        let named = egress::Policy::naming(entra.as_ref().and_then(Url::host_str));
        Ok(Self(Arc::new(Inner {
            endpoint: options(egress::Policy::alone(machine), CONNECT).build()?,
            entra: options(named, attempt).build()?,
            environment,
            attempt,
            clock,
            at_once: Semaphore::new(AT_ONCE),
            imds,
        })))
    }
}

/// The Entra token of one identity for one rule.
#[derive(Debug)]
pub struct Azure(Held);

impl Azure {
    /// Tokens of `id` for `scope`, to be shown to `host` (`HOST[:PORT]`) alone.
    ///
    /// # Errors
    /// When a token of that scope may not be shown to that host.
    pub fn new(
        machine: Machine,
        id: Id,
        scope: Option<&str>,
        host: &str,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let scope = scope_for(scope, host)?;
        let clock = machine.0.clock.clone();
        let make = Arc::new(move || {
            let (machine, id, scope) = (machine.clone(), id.clone(), scope.clone());
            async move { machine.token(&id, &scope).await }.boxed()
        });
        Ok(Self(Held::new("azure-token", make, clock, tasks)))
    }
}

#[async_trait]
impl TokenSource for Azure {
    fn kind(&self) -> &'static str {
        "azure"
    }

    async fn proof(&self) -> Result<Presented, Error> {
        let (token, version) = self.0.get().await?;
        Ok(Presented {
            proof: Proof::Token(token),
            version,
        })
    }

    async fn refused(&self, version: u64) {
        self.0.refused(version).await;
    }

    fn ends(&self) -> Option<WallTime> {
        self.0.ends()
    }
}

/// The scope to ask for: the identity's own, else that of Azure's registries; the latter for those and for loopback alone.
pub(super) fn scope_for(scope: Option<&str>, host: &str) -> Result<String, Error> {
    let wanted = scope.unwrap_or(acr::SCOPE);
    if acr::is_scope(wanted) && !acr::is_registry(host) && !is_loopback(host) {
        return Err(Error::NotAttached {
            detail: format!(
                "every Azure Container Registry takes a token of this scope, and {host} is none: give the identity a scope of its own"
            ),
        });
    }
    Ok(wanted.to_owned())
}

/// Whether `HOST[:PORT]` is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    Url::parse(&format!("http://{host}")).is_ok_and(|url| is_loopback_url(&url))
}

pub(crate) fn is_loopback_url(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests;
