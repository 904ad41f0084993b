//! What the parts of an agent share, and what they tell each other: contact with the control plane, its end, reports.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use runtime::Clock;
use tokio::sync::watch;
use wire::{name::NodeName, node_service, time::WallTime};

use super::{
    apply::Slices,
    enrolment::Credential,
    home::Home,
    last_good,
    link::{self, Link},
    mint::Minter,
    report::Reports,
    waiting::Words,
};
use crate::{app::Contact, membership::Membership};

/// When the control plane was last heard of, in milliseconds since 1970.
pub(super) const CONTACT: &str = "contact";
/// How often that is written down.
const CONTACT_EVERY: Duration = Duration::from_secs(60);
/// How the control plane turned us away.
pub(super) enum Refusal {
    /// The token does not admit.
    Token(String),
    /// This instance is out.
    Final(String),
}

/// What the parts of an agent share.
pub(super) struct Shared {
    pub(super) node: NodeName,
    pub(super) home: Arc<Home>,
    pub(super) link: Link,
    pub(super) slices: Arc<Slices>,
    pub(super) contact: Contact,
    pub(super) membership: Membership,
    pub(super) mint: Minter,
    pub(super) words: Words,
    pub(super) reports: Mutex<Reports>,
    /// The number of this connection, counting up; 0 before the first.
    pub(super) connections: watch::Sender<u64>,
    pub(super) refused: watch::Sender<Option<String>>,
    /// When contact was last written down.
    pub(super) noted: AtomicI64,
}

impl Shared {
    pub(super) async fn with_roots(
        &self,
        credential: Credential,
        roots: &[Vec<u8>],
    ) -> Result<Credential, link::Error> {
        let (roots, old) = (roots.to_vec(), credential.clone());
        let changed = self.home.on(&self.link.tasks, move |home| {
            Ok(old.with_roots(home, &roots))
        });
        match changed.await {
            Ok(Ok(None)) => Ok(credential),
            Ok(Ok(Some(changed))) => {
                changed.show(&self.membership);
                Ok(changed)
            }
            Ok(Err(error)) => {
                tracing::error!(node = %self.node, %error, "the mesh's new CA certificates are not taken over");
                Ok(credential)
            }
            Err(error) => Err(link::Error::Away(error.to_string())),
        }
    }

    pub(super) fn connected(&self) {
        tracing::info!(node = %self.node, "connected to the control plane");
        self.contact.connected();
        self.heard_now();
        self.connections.send_modify(|count| *count += 1);
    }

    pub(super) fn away(&self, error: &link::Error) {
        let lost = self.contact.is_connected() != Some(false);
        self.contact.away(Duration::ZERO);
        self.mint.away();
        let news = self
            .words
            .say(&format!("this node has no topology yet: {error}"));
        if let (true, link::Error::OtherCa(_)) = (news, error) {
            tracing::error!(node = %self.node, %error, "what answers at the address that was given to join at is not the control plane that was pinned");
        }
        if let link::Error::NotAdmitted { .. } = error
            && self.slices.running().is_none()
        {
            if news {
                tracing::warn!(node = %self.node, %error, "not a node of the mesh yet; tried again");
            }
            return;
        }
        // Told once per reason: it is tried again for as long as it takes.
        match (lost || news, self.slices.running().is_some()) {
            (true, true) => {
                tracing::warn!(node = %self.node, %error, "the control plane is away; the node goes on under its last good slice");
            }
            (true, false) => {
                tracing::warn!(node = %self.node, %error, "the control plane is away; the node has no topology and waits for it");
            }
            (false, _) => {
                tracing::debug!(node = %self.node, %error, "the control plane is still away");
            }
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        let (Refusal::Token(why) | Refusal::Final(why)) = &refusal;
        tracing::error!(node = %self.node, why, "the control plane does not let this node in");
        self.words
            .say(&format!("this node is not part of the mesh: {why}"));
        match (refusal, self.slices.running()) {
            (Refusal::Final(why), Some(running)) => running.close(&format!(
                "this node is not part of the mesh any more: {why}"
            )),
            (Refusal::Token(why), _) => drop(self.refused.send_replace(Some(why))),
            (Refusal::Final(_), None) => {}
        }
    }

    /// Writes down, now and then, that the control plane was heard of.
    pub(super) fn heard_now(&self) {
        let now = self.link.clock.wall_ms();
        let since = now.abs_diff(self.noted.load(Ordering::Relaxed));
        if Duration::from_millis(since) < CONTACT_EVERY {
            return;
        }
        self.noted.store(now, Ordering::Relaxed);
        let home = Arc::clone(&self.home);
        self.link.tasks.spawn_blocking("note-contact", move || {
            if let Err(error) = home.write(CONTACT, now.to_string().as_bytes()) {
                tracing::debug!(%error, "the contact with the control plane was not written down");
            }
        });
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.slices
            .running()
            .map_or(0, |running| running.fingerprint())
    }

    pub(super) fn report(&self) -> node_service::Report {
        let now = WallTime(self.link.clock.wall_ms());
        let running = self.slices.running();
        self.reports().next(running.as_deref(), &self.words, now)
    }

    pub(super) fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long the control plane was away when this process began. A stored time in the future says nothing, and nothing counts as
/// for ever.
pub(super) fn offline(home: &Home, good: Option<&last_good::Good>, clock: &Clock) -> Duration {
    let now = WallTime(clock.wall_ms());
    let noted = home.read(CONTACT).ok().flatten();
    let noted = noted.and_then(|bytes| {
        std::str::from_utf8(bytes.expose())
            .ok()?
            .trim()
            .parse()
            .ok()
            .map(WallTime)
    });
    let known = [noted, good.map(|good| good.signed_at)];
    let ages = known.into_iter().flatten().filter_map(|at| at.age(now));
    ages.min().unwrap_or(Duration::MAX)
}
