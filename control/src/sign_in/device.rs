//! People who sign in with an issuer, by the device flow (RFC 8628) that the control plane runs for them.
//!
//! The control plane has what the flow takes: the issuer's address and CA, the client secret. Whoever began it has an id, which is as good
//! as the session to come, and asks with it; the issuer is asked no more often than it wants, however often they do. What has begun is in
//! the state, so any control plane over it answers. An issuer gives its token once, so that is kept until it was found to be good or bad.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::secret::Secrets;
use runtime::{Clock, Secret};
use topology::model::Topology;
use wire::{api::sign_in::Device, name::IssuerName, time::WallTime};

mod answer;
mod kept;
mod pending;
mod provider;
#[cfg(test)]
mod tests;

use answer::Polled;
pub use kept::Kept;
use pending::{Begun, Flow, Turn};
use provider::Provider;

use crate::state;

/// Why a flow does not begin, or ended without anybody signed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody signs in with it.
    #[error(
        "people do not sign in with an issuer '{0}' here: it is not declared, or has no clientId"
    )]
    NoIssuer(String),
    /// Too many have begun.
    #[error("too many have begun to sign in: wait a minute, and try again")]
    TooMany,
    /// The issuer cannot be asked.
    #[error("the issuer '{issuer}' cannot be asked: {why}")]
    Away {
        /// Which.
        issuer: IssuerName,
        /// Why.
        why: String,
    },
    /// The issuer gives nothing for another reason than the person's.
    #[error("the issuer '{issuer}' does not do it: {why}")]
    Refused {
        /// Which.
        issuer: IssuerName,
        /// Why.
        why: String,
    },
    /// The person said no.
    #[error("signing in was denied at the issuer")]
    Denied,
    /// It took too long, it was done before, or there never was one.
    #[error("this sign-in has ended, or never began: begin another")]
    Ended,
    /// What has begun cannot be read or written.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// How a flow stands.
pub(super) enum Standing {
    /// The person has not finished; seconds until the next question.
    Waiting(u32),
    /// The issuer's token. Until `end` it is given again.
    Done(IssuerName, Secret),
}

/// Flows that have begun.
pub(super) struct Devices {
    begun: Mutex<Begun>,
    kept: Kept,
    secrets: Secrets,
    clock: Clock,
}

impl Devices {
    pub(super) fn new(kept: Kept, secrets: Secrets, clock: &Clock) -> Self {
        Self {
            begun: Mutex::default(),
            kept,
            secrets,
            clock: clock.clone(),
        }
    }

    /// Begins a flow with the issuer of this name, for somebody at `address`.
    pub(super) async fn begin(
        &self,
        issuer: &str,
        address: IpAddr,
        topology: Option<&Topology>,
    ) -> Result<Device, Error> {
        let provider = self.provider(issuer, topology).await?;
        self.admit(address)?;
        self.kept.room(address, self.now()).await?;
        let begun = provider.begin(&self.clock).await?;
        let id = id().ok_or_else(|| Error::Away {
            issuer: provider.name.clone(),
            why: "this machine gives no randomness".to_owned(),
        })?;
        let now = self.now();
        let ends = now.plus(begun.life);
        let flow = Flow {
            issuer: provider.name.clone(),
            from: address,
            url: provider.issuer.url.clone(),
            code: begun.code,
            interval: begun.interval,
            next: now.plus(begun.interval),
            ends,
            token: None,
        };
        self.kept.add(&id, &flow, now).await?;
        Ok(Device {
            id,
            user_code: begun.user_code,
            verification_uri: begun.uri.to_string(),
            verification_uri_complete: begun.complete.map(|uri| uri.to_string()),
            interval: seconds(begun.interval),
            expires_at: ends,
        })
    }

    /// Asks how the flow stands, unless it was asked a moment ago.
    pub(super) async fn poll(
        &self,
        id: &str,
        topology: Option<&Topology>,
    ) -> Result<Standing, Error> {
        let now = self.now();
        let seen = self.kept.get(id, now).await?.ok_or(Error::Ended)?;
        let provider = self.provider(seen.flow.issuer.as_str(), topology).await;
        let same = match provider {
            Ok(provider) => Some(provider).filter(|it| it.issuer.url == seen.flow.url),
            Err(away @ Error::Away { .. }) => return Err(away),
            Err(_) => None,
        };
        let Some(provider) = same else {
            self.end(id).await?;
            return Err(Error::Ended);
        };
        if let Some(token) = &seen.flow.token {
            let issuer = seen.flow.issuer.clone();
            return Ok(Standing::Done(issuer, token.clone()));
        }
        let flow = match seen.flow.turn(now) {
            Turn::Early(wait) => return Ok(Standing::Waiting(seconds(wait))),
            Turn::Ask(flow) => flow,
        };
        match self.kept.swap(seen, &flow).await? {
            true => self.ask(id, flow, &provider).await,
            // Somebody else asks.
            false => Ok(Standing::Waiting(seconds(flow.interval))),
        }
    }

    async fn ask(&self, id: &str, mut flow: Flow, provider: &Provider) -> Result<Standing, Error> {
        let polled = provider.poll(&flow.code, &self.clock).await;
        let now = self.now();
        let ended = match polled {
            Ok(Polled::Pending) => return Ok(Standing::Waiting(seconds(flow.interval))),
            Ok(Polled::SlowDown) => {
                self.kept
                    .change(id, now, |flow| flow.slow_down(now))
                    .await?;
                flow.slow_down(now);
                return Ok(Standing::Waiting(seconds(flow.interval)));
            }
            Ok(Polled::Token(token)) => {
                let keep = |flow: &mut Flow| flow.token = Some(token.clone());
                self.kept.change(id, now, keep).await?;
                return Ok(Standing::Done(flow.issuer, token));
            }
            // What cannot be asked now may be asked later.
            Err(away @ Error::Away { .. }) => return Err(away),
            Ok(Polled::Denied) => Error::Denied,
            Ok(Polled::Expired) => Error::Ended,
            Err(error) => error,
        };
        self.end(id).await?;
        Err(ended)
    }

    /// Ends a flow; `false` when somebody else did before.
    pub(super) async fn end(&self, id: &str) -> Result<bool, Error> {
        self.kept.end(id).await
    }

    async fn provider(&self, name: &str, topology: Option<&Topology>) -> Result<Provider, Error> {
        let none = || Error::NoIssuer(wire::oci_error::clean(name));
        let name: IssuerName = name.parse().map_err(|_| none())?;
        let issuer = topology.and_then(|topology| topology.issuers.get(&name));
        let issuer = issuer.ok_or_else(none)?;
        let id = issuer.client_id.clone().ok_or_else(none)?;
        Provider::open(name, issuer.clone(), id, &self.secrets).await
    }

    fn admit(&self, address: IpAddr) -> Result<(), Error> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.admit(address, self.now())
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }
}

/// Issuers that people sign in with.
pub(super) fn offered(topology: Option<&Topology>) -> Vec<IssuerName> {
    let issuers = topology.into_iter().flat_map(|topology| &topology.issuers);
    issuers
        .filter(|(_, issuer)| issuer.client_id.is_some())
        .map(|(name, _)| name.clone())
        .collect()
}

fn id() -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}
