//! Who is a node: join tokens, enrolment, renewal, revocation, and whether a shown certificate still counts.
//!
//! Called by `grpc` and `http`. The state decides about tokens and counters in one transaction; here the rest is checked first and the
//! certificate made. Refusals are in the audit log, those that anybody can cause a few times a minute at most. What surprises: an instance
//! that the state does not know renews all the same when its certificate names it, because a database may come from a backup; a
//! revocation forgets a node's instances and tokens, so that only a new token brings it back. Source: `spec/control-plane.md`.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use identity::certificate::{self, At, Invalid, Leaf, Request, Shown, is_revoked};
use runtime::Clock;
use rustls_pki_types::CertificateDer;
use topology::model::Topology;
use wire::{
    generation::Generation,
    join_token::JoinToken,
    name::{MeshName, NodeName},
    time::WallTime,
};

use crate::{
    ca::{self, Ca, RENEWABLE},
    publish::{self, Publisher},
    sign_in::oidc::{self, Oidc},
    state::{self, Admitted, Instance, NewEntry, State},
};

mod by_oidc;
mod issue;
mod refused;
#[cfg(test)]
mod tests;
mod token;
mod told;
mod window;

pub use refused::Refused;
use token::hash;
pub(crate) use window::Window;

/// How many events are kept.
pub(crate) const KEEP_EVENTS: u64 = 50_000;

/// Enrolment. Shared by all rims.
pub struct Enrol {
    publisher: Publisher,
    state: Arc<dyn State>,
    ca: Arc<Ca>,
    clock: Clock,
    address: String,
    oidc: Oidc,
    /// Held while an issuer's token is used for the first time.
    first_use: tokio::sync::Mutex<()>,
    shut_out: ArcSwap<BTreeMap<String, String>>,
    anonymous: Window,
}

/// What an admitted node is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The mesh.
    pub mesh: MeshName,
    /// The node.
    pub node: NodeName,
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Every CA to believe.
    pub roots: Vec<CertificateDer<'static>>,
    /// When the leaf ends.
    pub ends: WallTime,
    /// Goes into the next renewal.
    pub counter: u64,
}

/// Why somebody was not let in, or nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// By decision.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request for a token makes no sense.
    #[error("{0}")]
    Bad(String),
    /// The store cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The CA cannot be used.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// The issuer's keys cannot be had.
    #[error(transparent)]
    Issuer(oidc::Error),
    /// The revocation cannot be published.
    #[error(transparent)]
    Publish(#[from] publish::Error),
}

impl Enrol {
    /// `address` (`HOST:PORT`) is where nodes reach the node service; it goes into join tokens. Issuers' tokens are believed as `oidc`
    /// does.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn build(
        publisher: Publisher,
        state: Arc<dyn State>,
        ca: Arc<Ca>,
        oidc: Oidc,
        clock: Clock,
        address: String,
    ) -> Result<Self, Error> {
        let enrol = Self {
            publisher,
            state,
            ca,
            clock,
            address,
            oidc,
            first_use: tokio::sync::Mutex::default(),
            shut_out: ArcSwap::default(),
            anonymous: Window::default(),
        };
        enrol.refresh().await?;
        Ok(enrol)
    }

    /// Learns who was shut out. To be called when the state has news of revocations.
    ///
    /// # Errors
    /// When the store cannot be read; what was known stays.
    pub async fn refresh(&self) -> Result<(), state::Error> {
        let all = self.state.instances().await?.into_iter();
        let out = all.filter_map(|instance| Some((instance.id, instance.shut_out?)));
        self.shut_out.store(Arc::new(out.collect()));
        Ok(())
    }

    /// Lets an instance in by a join token (the whole of it, or its secret).
    ///
    /// # Errors
    /// Why not.
    pub async fn enrol(
        &self,
        token: &str,
        node: &str,
        instance: &str,
        csr: &[u8],
    ) -> Result<Enrolled, Error> {
        let result = self.try_enrol(token, node, instance, csr).await;
        self.tell("enrol", node, result).await
    }

    async fn try_enrol(
        &self,
        token: &str,
        node: &str,
        instance: &str,
        csr: &[u8],
    ) -> Result<Enrolled, Error> {
        let node: NodeName = node.parse().map_err(bad)?;
        let asking = Asking::read(instance, csr)?;
        let secret = match token.parse::<JoinToken>() {
            Ok(token) => token.secret,
            Err(_) => token.to_owned(),
        };
        let who = format!("node:{node}");
        self.admit_by(hash(&secret), &node, &asking, &who).await
    }

    /// Lets an instance in by the join token of this hash.
    async fn admit_by(
        &self,
        hash: String,
        node: &NodeName,
        asking: &Asking<'_>,
        who: &str,
    ) -> Result<Enrolled, Error> {
        let now = self.now();
        let (leaf, chain) = self.certificate(node, asking.instance, &asking.request, now)?;
        let instance = Instance {
            id: asking.instance.to_owned(),
            node: node.clone(),
            enrolled_at: now,
            counter: 0,
            certificate: (leaf.begins, leaf.ends),
            shut_out: None,
        };
        let about = about(asking.instance, &leaf);
        let entry = entry(now, who, "enrol", node, Some(about));
        let key = asking.request.pin().hex();
        let admitted = self.state.enrol(Some(hash), instance, &key, now, entry);
        self.given(node, leaf, chain, admitted.await?)
    }

    /// Gives an instance its next certificate. `shown` is the chain of the connection.
    ///
    /// # Errors
    /// Why not.
    pub async fn renew(
        &self,
        shown: &[CertificateDer<'static>],
        instance: &str,
        csr: &[u8],
        counter: u64,
    ) -> Result<Enrolled, Error> {
        let now = self.now();
        let (shown, node) = match self.recognise(shown, At::Begun(now)) {
            Ok(recognised) => recognised,
            Err(refused) => return self.tell("renew", "?", Err(refused.into())).await,
        };
        let result = self
            .try_renew((&shown, &node), instance, csr, counter)
            .await;
        if let Err(Error::Refused(Refused::ShutOut { reason, .. })) = &result {
            self.cloned(&node, instance, reason).await;
        }
        self.tell("renew", node.as_str(), result).await
    }

    async fn try_renew(
        &self,
        (shown, node): (&Shown, &NodeName),
        instance: &str,
        csr: &[u8],
        counter: u64,
    ) -> Result<Enrolled, Error> {
        let now = self.now();
        self.standing(shown, node, instance)?;
        if now >= shown.ends.plus(RENEWABLE) {
            return Err(Refused::ExpiredCertificate(node.clone()).into());
        }
        let request = Request::read(csr).map_err(bad)?;
        let key = request.pin().hex();
        let (leaf, chain) = self.certificate(node, instance, &request, now)?;
        let who = format!("node:{node}");
        let renewed = entry(now, &who, "renew", node, Some(about(instance, &leaf)));
        let certificate = (leaf.begins, leaf.ends);
        let admitted = self
            .state
            .renew(node, instance, counter, &key, certificate, renewed)
            .await?;
        if admitted != Admitted::UnknownInstance {
            return self.given(node, leaf, chain, admitted);
        }
        // The database was restored from before this instance was enrolled: what it shows was given by our CA.
        let asking = Instance {
            id: instance.to_owned(),
            node: node.clone(),
            enrolled_at: now,
            counter,
            certificate,
            shut_out: None,
        };
        let adopted = serde_json::json!({ "instance": instance, "adopted": true });
        let entry = entry(now, &who, "enrol", node, Some(adopted));
        let admitted = self.state.enrol(None, asking, &key, now, entry).await?;
        self.given(node, leaf, chain, admitted)
    }

    /// Whether somebody may open a stream: by the chain of the connection.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, chain: &[CertificateDer<'static>]) -> Result<(Shown, NodeName), Refused> {
        let (shown, node) = self.recognise(chain, At::Valid(self.now()))?;
        self.standing(&shown, &node, shown.instance.as_deref().unwrap_or_default())?;
        Ok((shown, node))
    }

    /// Whether a certificate that was admitted before still counts: not revoked, not shut out, its node still declared.
    ///
    /// # Errors
    /// Why not.
    pub fn standing(&self, shown: &Shown, node: &NodeName, instance: &str) -> Result<(), Refused> {
        if shown.instance.as_deref() != Some(instance) {
            return Err(Refused::OtherInstance(node.clone()));
        }
        if is_revoked(shown.begins, self.revoked(node)) {
            return Err(Refused::Revoked(node.clone()));
        }
        if let Some(reason) = self.shut_out.load().get(instance) {
            return Err(Refused::ShutOut {
                node: node.clone(),
                reason: reason.clone(),
            });
        }
        self.declared(node).map(drop)
    }

    /// Ends a node everywhere: its certificates count for nothing, its instances and tokens are forgotten.
    ///
    /// # Errors
    /// When it cannot be published or the store fails.
    pub async fn revoke(&self, node: &NodeName, who: &str) -> Result<Generation, Error> {
        // First: an old token must not bring in an instance whose certificate begins after the revocation.
        self.state.forget(node).await?;
        Ok(self.publisher.revoke(node, who).await?)
    }

    /// Every CA to believe.
    #[must_use]
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.ca.roots()
    }

    /// Instances that may not come back, by id, and why.
    #[must_use]
    pub fn shut_out(&self) -> Arc<BTreeMap<String, String>> {
        self.shut_out.load_full()
    }

    fn recognise(
        &self,
        chain: &[CertificateDer<'static>],
        at: At,
    ) -> Result<(Shown, NodeName), Refused> {
        let shown =
            certificate::verify(chain, &self.ca.roots(), at).map_err(Refused::Certificate)?;
        let node = shown.id.node().ok_or(Refused::NotANode)?.clone();
        let current = self.publisher.current();
        let mesh = current.topology.as_ref().map(|topology| &topology.mesh);
        if mesh.is_some_and(|mesh| mesh != shown.id.mesh()) {
            return Err(Refused::OtherMesh);
        }
        Ok((shown, node))
    }

    fn declared(&self, node: &NodeName) -> Result<Arc<Topology>, Refused> {
        let topology = self.publisher.current().topology.clone();
        topology
            .filter(|topology| topology.nodes.contains_key(node))
            .ok_or_else(|| Refused::UnknownNode(node.clone()))
    }

    fn revoked(&self, node: &NodeName) -> Option<WallTime> {
        self.publisher
            .current()
            .published
            .desired
            .revoked
            .get(node)
            .copied()
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }
}

/// What an instance that is not enrolled yet asks with.
struct Asking<'a> {
    instance: &'a str,
    request: Request,
}

impl<'a> Asking<'a> {
    fn read(instance: &'a str, csr: &[u8]) -> Result<Self, Refused> {
        check_instance(instance)?;
        let request = Request::read(csr).map_err(bad)?;
        Ok(Self { instance, request })
    }
}

/// An instance's name is its own choice, made once: short, and nothing that could be mistaken for more.
fn check_instance(instance: &str) -> Result<(), Refused> {
    let plain = instance
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if (1..=64).contains(&instance.len()) && plain {
        return Ok(());
    }
    Err(Refused::Bad("an instance is named by a UUID".to_owned()))
}

fn about(instance: &str, leaf: &Leaf) -> serde_json::Value {
    serde_json::json!({ "instance": instance, "certificateUntil": leaf.ends.to_string() })
}

fn entry(
    at: WallTime,
    who: &str,
    action: &str,
    node: &NodeName,
    after: Option<serde_json::Value>,
) -> NewEntry {
    NewEntry {
        at,
        who: who.to_owned(),
        action: action.to_owned(),
        target: format!("nodes/{node}"),
        before: None,
        after,
        generation: None,
        refused: None,
    }
}

fn bad(error: impl std::fmt::Display) -> Refused {
    Refused::Bad(error.to_string())
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self::Certificate(invalid)
    }
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrol")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
