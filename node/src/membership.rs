//! This node among the other nodes of its mesh: what it proves itself by, and which of them it believes.
//!
//! The agent puts in what the control plane gave (certificate, roots) and `app` what the slice says (revocations); listeners, upstreams
//! and admission ask. What surprises: it is asked again on every request, because a certificate ends and is revoked while its
//! connection stands. A node is known by its SPIFFE id alone, not by a host name: hosts and ports are shared, ids are not. Source:
//! `spec/control-plane.md` "Enrolment", `spec/topology.md` `network`; `reference/protocols.md` 6.2.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use identity::certificate::{self, At, Invalid, Key, Shown, SpiffeId};
use runtime::{Clock, egress::Mutual, listener, tls};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use wire::{digest::Digest, name::NodeName, time::WallTime};

/// A node's membership in its mesh. Clones share it.
#[derive(Debug, Clone)]
pub struct Membership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    live: tls::Live,
    held: watch::Sender<Option<Arc<Held>>>,
    /// Certificates of these nodes that began before the time are worth nothing.
    revoked: ArcSwap<BTreeMap<NodeName, WallTime>>,
}

/// What the control plane gave.
#[derive(Debug)]
pub(crate) struct Held {
    id: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<Key>,
    roots: Vec<CertificateDer<'static>>,
}

/// A node of this mesh at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshPeer {
    /// Its name.
    pub node: NodeName,
    /// Its SPIFFE id as text.
    pub spiffe: String,
}

impl Membership {
    /// Of a node that has no certificate yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self(Arc::new(Inner {
            clock: clock.clone(),
            live: tls::Live::default(),
            held: watch::Sender::new(None),
            revoked: ArcSwap::default(),
        }))
    }

    /// From now on this certificate (the leaf first) is shown, and who `roots` signed for is believed.
    ///
    /// # Errors
    /// When the key does not belong to the leaf, or the leaf names nobody; nothing changes.
    pub fn hold(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: Arc<Key>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<(), tls::Error> {
        let shown = chain.first().and_then(|leaf| certificate::read(leaf).ok());
        let Some(Shown { id, .. }) = shown else {
            tracing::error!("a certificate that names no node is not shown");
            return Ok(());
        };
        self.0.live.swap(chain.clone(), key.to_der())?;
        let held = Held {
            id,
            chain,
            key,
            roots,
        };
        self.0.held.send_replace(Some(Arc::new(held)));
        Ok(())
    }

    /// What the slice in force says of revocations.
    pub fn revoke(&self, revoked: BTreeMap<NodeName, WallTime>) {
        self.0.revoked.store(Arc::new(revoked));
    }

    /// Moves when another certificate is held, or other roots are believed.
    pub(crate) fn news(&self) -> watch::Receiver<Option<Arc<Held>>> {
        self.0.held.subscribe()
    }

    /// TLS for a listener, under the certificate held at each handshake. Mesh peers are known, others are strangers.
    #[must_use]
    pub fn server(&self) -> tls::Server {
        self.0.live.server(Some(self.trust()))
    }

    /// Judges what clients show: a certificate of a node, now.
    #[must_use]
    pub fn trust(&self) -> tls::Trust {
        let own = self.clone();
        Arc::new(move |chain| own.believed(chain).is_ok())
    }

    /// Which node is at the other end, as far as its certificate is good at this moment.
    #[must_use]
    pub fn peer(&self, connection: &listener::Peer) -> Option<MeshPeer> {
        // Who signed it was found out when the connection began, by `trust`.
        let shown = certificate::read(connection.certificates.first()?).ok()?;
        let node = self.good(&shown).ok()?;
        let spiffe = shown.id.to_string();
        Some(MeshPeer { node, spiffe })
    }

    /// How to connect to `node`, and what that is made of; `None` without a certificate to show.
    pub(crate) fn towards(&self, node: &NodeName) -> Option<(String, Mutual)> {
        let held = self.held()?;
        let leaf = Digest::sha256(held.chain.first()?);
        let revoked = self.0.revoked.load().get(node).copied();
        let (own, wanted) = (self.clone(), node.clone());
        let judge: tls::Judge = Arc::new(move |chain| match own.believed(chain) {
            Ok(node) if node == wanted => Ok(()),
            Ok(node) => Err(format!(
                "as a node of the mesh it is '{node}' and not '{wanted}'"
            )),
            Err(reason) => Err(format!("as a node of the mesh: {reason}")),
        });
        let key: PrivateKeyDer<'static> = held.key.to_der();
        let shown = Arc::new((held.chain.clone(), key));
        // A revocation ends the connections that stand, since what it is made of is then another.
        let made_of = format!("{leaf} {revoked:?}");
        Some((made_of, Mutual { judge, shown }))
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.0.held.borrow().clone()
    }

    /// The node that a chain proves.
    fn believed(&self, chain: &[CertificateDer<'static>]) -> Result<NodeName, String> {
        let held = self
            .held()
            .ok_or("this node has no certificate of the mesh itself")?;
        let shown = certificate::verify(chain, &held.roots, At::Valid(self.now()))
            .map_err(|invalid| invalid.to_string())?;
        self.good(&shown)
    }

    /// The node that a certificate names, if it is of this mesh, has not ended and was not revoked.
    fn good(&self, shown: &Shown) -> Result<NodeName, String> {
        let held = self.held().ok_or_else(|| Invalid::Foreign.to_string())?;
        let node = shown
            .id
            .node()
            .filter(|_| shown.id.mesh() == held.id.mesh());
        let node = node.ok_or_else(|| Invalid::Name.to_string())?;
        if self.now() >= shown.ends {
            return Err(Invalid::Ended.to_string());
        }
        let revoked = self.0.revoked.load().get(node).copied();
        if certificate::is_revoked(shown.begins, revoked) {
            return Err(format!("the certificate of '{node}' was revoked"));
        }
        Ok(node.clone())
    }

    fn now(&self) -> WallTime {
        WallTime(self.0.clock.wall_ms())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{net::SocketAddr, time::Duration};

    use identity::certificate::{Authority, Leaf, Request};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A certificate of `id` that began now, and its key.
    pub(crate) fn certified(
        authority: &Authority,
        id: &str,
        clock: &Clock,
    ) -> (Vec<CertificateDer<'static>>, Arc<Key>) {
        let key = Key::generate().unwrap();
        let request = Request::read(&key.request("x").unwrap()).unwrap();
        let begins = WallTime(clock.wall_ms() / 1_000 * 1_000);
        let leaf = Leaf {
            id: id.parse().unwrap(),
            instance: None,
            hosts: vec!["localhost".to_owned()],
            begins,
            ends: begins.plus(DAY),
        };
        let leaf = authority.issue(&request, &leaf).unwrap();
        (vec![leaf, authority.certificate().clone()], Arc::new(key))
    }

    /// The membership of node `prod`.
    pub(crate) fn membership(authority: &Authority, clock: &Clock) -> Membership {
        let (chain, key) = certified(authority, "spiffe://contoso/node/prod", clock);
        let membership = Membership::new(clock);
        let roots = vec![authority.certificate().clone()];
        membership.hold(chain, key, roots).unwrap();
        membership
    }

    /// A connection that showed `chain`.
    pub(crate) fn connection(chain: &[CertificateDer<'static>]) -> listener::Peer {
        listener::Peer {
            address: SocketAddr::from(([203, 0, 113, 9], 40_000)),
            certificates: Arc::from(chain),
            connection: 1,
            tls: true,
        }
    }

    #[test]
    fn a_peer_is_a_node_of_this_mesh_until_its_certificate_ends_or_is_revoked() {
        let clock = Clock::manual(1_800_000_000_000);
        let now = WallTime(clock.wall_ms());
        let (own, foreign) = (
            Authority::generate(now).unwrap(),
            Authority::generate(now).unwrap(),
        );
        let membership = membership(&own, &clock);
        let trust = membership.trust();
        let node = |authority: &Authority, id: &str| certified(authority, id, &clock).0;
        let edge = node(&own, "spiffe://contoso/node/edge");
        assert!(trust(&edge));
        for (who, chain) in [
            ("another CA", node(&foreign, "spiffe://contoso/node/edge")),
            ("another mesh", node(&own, "spiffe://fabrikam/node/edge")),
            ("no node", node(&own, "spiffe://contoso/control")),
            ("nobody", Vec::new()),
        ] {
            assert!(!trust(&chain), "{who}");
        }
        let peer = membership.peer(&connection(&edge)).unwrap();
        assert_eq!(peer.node.as_str(), "edge");
        assert_eq!(peer.spiffe, "spiffe://contoso/node/edge");
        assert_eq!(membership.peer(&connection(&[])), None);

        let revoke = |at: WallTime| [("edge".parse().unwrap(), at)].into();
        membership.revoke(revoke(now.plus(Duration::from_secs(1))));
        assert_eq!(membership.peer(&connection(&edge)), None, "revoked");
        assert!(!trust(&edge));
        membership.revoke(revoke(now.minus(DAY)));
        assert!(membership.peer(&connection(&edge)).is_some(), "a newer one");
        clock.advance(DAY);
        assert_eq!(membership.peer(&connection(&edge)), None, "ended");
        assert!(!trust(&edge));
    }

    #[test]
    fn an_upstream_is_the_node_that_was_meant_and_no_other() {
        let clock = Clock::manual(1_800_000_000_000);
        let authority = Authority::generate(WallTime(clock.wall_ms())).unwrap();
        let membership = membership(&authority, &clock);
        let hub = "hub".parse().unwrap();
        let (made_of, towards) = membership.towards(&hub).unwrap();
        let chain = |id: &str| certified(&authority, id, &clock).0;
        assert_eq!((towards.judge)(&chain("spiffe://contoso/node/hub")), Ok(()));
        let other = (towards.judge)(&chain("spiffe://contoso/node/edge"));
        assert!(other.unwrap_err().contains("'edge' and not 'hub'"));
        membership.revoke([(hub.clone(), WallTime(i64::MAX))].into());
        assert!((towards.judge)(&chain("spiffe://contoso/node/hub")).is_err());
        assert_ne!(membership.towards(&hub).unwrap().0, made_of);
        assert!(Membership::new(&clock).towards(&hub).is_none());
    }
}
