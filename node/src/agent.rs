//! The node's side of the control plane: joins, keeps one stream, brings slices in, answers and reports.
//!
//! A rim of its own, beside `http`: calls `app`, knows tonic. A node starts from its last good slice before anybody is asked; without one
//! it waits, not ready, and answers 503. It goes on without the control plane for as long as it must. Only when the control plane says
//! that this very instance was revoked or is a copy does it close: what is stored stays, nothing is served, and it says so until it joins
//! again with a new token. A revoked node that is cut off cannot hear that and serves on under its last slice, as `reference/faults.md`
//! section 1 has it; others refuse its certificate. Source: `spec/control-plane.md`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use runtime::{Backoff, Clock, Tasks, channel, file::Files};
use tokio::sync::watch;
use wire::{
    generation::Generation, join_token::JoinToken, name::NodeName, node_service, time::WallTime,
};

use crate::{
    app::{self, Contact, Defaults, Running},
    settings::Settings,
    store,
};

mod answer;
mod apply;
mod connect;
mod enrol;
mod enrolment;
mod home;
mod last_good;
mod link;
mod report;
mod session;
mod waiting;

use apply::{Parts, Slices};
use connect::Connect;
use enrolment::Credential;
use home::Home;
use link::Link;
use report::Reports;
use waiting::Words;

/// When the control plane was last heard of, in milliseconds since 1970.
const CONTACT: &str = "contact";
/// How often that is written down.
const CONTACT_EVERY: Duration = Duration::from_secs(60);
/// How long the agent's own tasks get to end.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the node keeps its data; the agent's files are in `agent` below it.
    pub data_dir: PathBuf,
    /// To join with; left alone when it was used before.
    pub join: Option<JoinToken>,
    /// Address to bind, whatever the slice says.
    pub listen: Option<SocketAddr>,
    /// Address of the operational listener, whatever the slice says.
    pub admin: Option<SocketAddr>,
    /// Which defaults hold where neither says anything.
    pub defaults: Defaults,
    /// How long to hear what the control plane has before the slice from disk is started on: zero for a node of its own. Under
    /// `regmesh up` the control plane is in the same process, and what it has is newer than what the disk has.
    pub patience: Duration,
    /// The numbers.
    pub settings: Settings,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is neither an enrolment nor a token.
    #[error(
        "this node has not joined a mesh: give it a join token of `regmesh node join-token NAME`"
    )]
    NotJoined,
    /// It joined as another node.
    #[error(
        "{path} belongs to node '{joined}', and the join token is for '{token}': use another directory"
    )]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        joined: NodeName,
        /// Who is to join.
        token: NodeName,
    },
    /// The control plane shut it out before.
    #[error("this node was shut out ({0}): join again with a new token")]
    ShutOut(String),
    /// Its directory cannot be used.
    #[error("the agent's directory in {path} cannot be used: {reason}")]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// Why; its text has its cause in it.
        reason: store::Error,
    },
    /// The enrolment is there and cannot be used.
    #[error("{0}")]
    Enrolment(String),
    /// The node cannot start.
    #[error(transparent)]
    Node(#[from] app::Error),
}

/// Why an agent has nothing more to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody who may asked this node to drain.
    Drain,
    /// It may not join; in the words of the control plane.
    Refused(String),
}

/// How the control plane turned us away.
enum Refusal {
    /// The token does not admit.
    Token(String),
    /// This instance is out.
    Final(String),
}

/// A node with its agent. Dropping it ends both at once; `drain` ends them well.
pub struct Agent {
    shared: Arc<Shared>,
    connecting: Tasks,
    tasks: Tasks,
}

/// What the parts of an agent share.
struct Shared {
    node: NodeName,
    home: Arc<Home>,
    link: Link,
    slices: Arc<Slices>,
    contact: Contact,
    words: Words,
    reports: Mutex<Reports>,
    /// The number of this connection, counting up; 0 before the first.
    connections: watch::Sender<u64>,
    refused: watch::Sender<Option<String>>,
    /// When contact was last written down.
    noted: AtomicI64,
}

impl Config {
    /// Starts the agent, and the node where there is a slice on disk. Returns when something listens.
    ///
    /// # Errors
    /// When the node has not joined, was shut out, or its directory or addresses cannot be used.
    pub async fn start(
        self,
        files: Arc<dyn Files>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Agent, Error> {
        let directory = self.data_dir.clone();
        let home =
            Home::open(&directory, Arc::clone(&files)).map_err(|reason| Error::Directory {
                path: directory,
                reason,
            })?;
        let known = self.known(&home)?;
        let node = match (&known, &self.join) {
            (Some(known), _) => known.enrolment.node.clone(),
            (None, Some(token)) => token.node.clone(),
            (None, None) => return Err(Error::NotJoined),
        };
        let tasks = tasks.child(format!("agent-{node}"));
        let started = self.build(files, home, known, node, &clock, &tasks).await;
        if started.is_err() {
            tasks.drain(LAST_TASKS).await;
        }
        started
    }

    /// The enrolment on disk, if it and the token may go together.
    fn known(&self, home: &Home) -> Result<Option<Credential>, Error> {
        let known = match Credential::load(home) {
            Ok(known) => known,
            // With a token in hand, what is damaged is made anew.
            Err(error) if self.join.is_some() => {
                tracing::error!(%error, "the enrolment on disk cannot be used");
                None
            }
            Err(error) => return Err(Error::Enrolment(error.to_string())),
        };
        let Some(known) = known else {
            return Ok(None);
        };
        if let Some(token) = self
            .join
            .as_ref()
            .filter(|token| token.node != known.enrolment.node)
        {
            return Err(Error::OtherNode {
                path: self.data_dir.clone(),
                joined: known.enrolment.node.clone(),
                token: token.node.clone(),
            });
        }
        let is_new = |token: &JoinToken| enrolment::token_hash(token) != known.enrolment.token;
        match &known.enrolment.shut_out {
            Some(why) if !self.join.as_ref().is_some_and(is_new) => {
                Err(Error::ShutOut(why.clone()))
            }
            Some(_) | None => Ok(Some(known)),
        }
    }

    async fn build(
        self,
        files: Arc<dyn Files>,
        home: Home,
        known: Option<Credential>,
        node: NodeName,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Agent, Error> {
        let home = Arc::new(home);
        let connecting = tasks.child("control");
        let contact = Contact::alone(clock.clone());
        let mesh = known
            .as_ref()
            .and_then(|known| known.enrolment.mesh.parse().ok());
        let mesh = mesh.unwrap_or_else(|| "unnamed".parse().expect("a legal name"));
        let words = Words::new(node.clone(), mesh, contact.clone());
        let found = known
            .as_ref()
            .filter(|known| known.enrolment.shut_out.is_none())
            .map(|known| {
                let now = WallTime(clock.wall_ms());
                last_good::load(&home, &node, &known.roots, now)
            });
        let (good, damage) = found.unwrap_or_default();
        for what in &damage {
            tracing::error!(%node, what, "damage was met at the start; nothing was deleted");
        }
        words.warn(damage);
        contact.away(offline(&home, good.as_ref(), clock));
        let config = app::Config {
            name: node.clone(),
            data_dir: self.data_dir,
            listen: self.listen,
            admin: self.admin,
            defaults: self.defaults,
            settings: self.settings.clone(),
        };
        let slices = Arc::new(Slices::new(Parts {
            home: Arc::clone(&home),
            config,
            contact: contact.clone(),
            words: words.clone(),
            files,
            clock: clock.clone(),
            tasks: tasks.clone(),
        }));
        let link = Link {
            config: channel::Config {
                connect: self.settings.control_connect,
                ..channel::Config::new(clock)
            },
            clock: clock.clone(),
            tasks: connecting.clone(),
        };
        let shared = Arc::new(Shared {
            node,
            home,
            link,
            slices,
            contact,
            words,
            reports: Mutex::default(),
            connections: watch::Sender::new(0),
            refused: watch::Sender::new(None),
            noted: AtomicI64::new(i64::MIN),
        });
        let connect = Connect {
            shared: Arc::clone(&shared),
            token: self.join,
            backoff: Backoff {
                base: self.settings.control_retry,
                max: self.settings.control_retry_most,
            },
            attempt: 0,
        };
        shared
            .begin(good, self.patience, connect, known, &connecting)
            .await?;
        Ok(Agent {
            shared,
            connecting,
            tasks: tasks.clone(),
        })
    }
}

impl Shared {
    /// The node from disk, and the stream: in this order, unless there is patience.
    async fn begin(
        self: &Arc<Self>,
        good: Option<last_good::Good>,
        patience: Duration,
        connect: Connect,
        known: Option<Credential>,
        connecting: &Tasks,
    ) -> Result<(), Error> {
        let run = move || drop(connecting.spawn("connect", connect.run(known)));
        let Some(good) = good else {
            self.slices.wait().await?;
            run();
            return Ok(());
        };
        if patience.is_zero() {
            self.resume(good).await?;
            run();
            return Ok(());
        }
        run();
        let mut started = self.slices.news();
        let newer = started.wait_for(Option::is_some);
        if self.link.clock.timeout(patience, newer).await.is_err() {
            self.resume(good).await?;
        }
        Ok(())
    }

    /// Starts on the slice from disk. Where that fails because of what the slice says, the control plane may have a better one.
    async fn resume(&self, good: last_good::Good) -> Result<(), Error> {
        match self.slices.resume(good).await {
            Ok(()) => Ok(()),
            Err(error @ (app::Error::Store { .. } | app::Error::Keys(_))) => Err(error.into()),
            Err(error) => {
                tracing::error!(node = %self.node, error = &error as &dyn std::error::Error, "the node cannot start on its last good slice and waits");
                Ok(())
            }
        }
    }

    async fn with_roots(
        &self,
        credential: Credential,
        roots: &[Vec<u8>],
    ) -> Result<Credential, link::Error> {
        let (roots, old) = (roots.to_vec(), credential.clone());
        let changed = self.home.on(&self.link.tasks, move |home| {
            Ok(old.with_roots(home, &roots))
        });
        match changed.await {
            Ok(Ok(changed)) => Ok(changed.unwrap_or(credential)),
            Ok(Err(error)) => {
                tracing::error!(node = %self.node, %error, "the mesh's new CA certificates are not taken over");
                Ok(credential)
            }
            Err(error) => Err(link::Error::Away(error.to_string())),
        }
    }

    fn connected(&self) {
        tracing::info!(node = %self.node, "connected to the control plane");
        self.contact.connected();
        self.heard_now();
        self.connections.send_modify(|count| *count += 1);
    }

    fn away(&self, error: &link::Error) {
        if self.contact.is_connected() != Some(false) {
            tracing::warn!(node = %self.node, %error, "the control plane is away; the node goes on under its last good slice");
        } else {
            tracing::debug!(node = %self.node, %error, "the control plane is still away");
        }
        self.contact.away(Duration::ZERO);
        self.words
            .say(&format!("this node has no topology yet: {error}"));
    }

    fn refused(&self, refusal: Refusal) {
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
    fn heard_now(&self) {
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

    fn fingerprint(&self) -> u64 {
        self.slices
            .running()
            .map_or(0, |running| running.fingerprint())
    }

    fn report(&self) -> node_service::Report {
        let now = WallTime(self.link.clock.wall_ms());
        let running = self.slices.running();
        self.reports().next(running.as_deref(), &self.words, now)
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long the control plane was away when this process began. A stored time in the future says nothing, and nothing counts as
/// for ever.
fn offline(home: &Home, good: Option<&last_good::Good>, clock: &Clock) -> Duration {
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

impl Agent {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.shared.node
    }

    /// The node itself, once it has a slice.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        self.shared.slices.running()
    }

    /// Ends once the node has a slice and serves.
    pub async fn until_running(&self) -> Arc<Running> {
        let mut news = self.shared.slices.news();
        let running = news
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|running| running.clone());
        match running {
            Some(running) => running,
            None => std::future::pending().await,
        }
    }

    /// The generation in force; 0 for none.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.shared.slices.held().generation
    }

    /// Whether the control plane is connected.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.shared.contact.is_connected() == Some(true)
    }

    /// How often it was connected to so far; to wait for the next time.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.shared.connections.subscribe()
    }

    /// The address of the registry; under `regmesh up` nothing listens before the first slice.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.slices.addresses().0
    }

    /// The address of the operational pages.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.shared.slices.addresses().1
    }

    /// Ends when there is nothing more to do: somebody asked for a drain, or the node may not join.
    pub async fn ended(&self) -> End {
        let mut refused = self.shared.refused.subscribe();
        let drain = async { self.until_running().await.asked_to_end().await };
        tokio::select! {
            () = drain => End::Drain,
            refused = refused.wait_for(Option::is_some) => {
                let why = refused.ok().and_then(|why| why.clone());
                End::Refused(why.unwrap_or_default())
            }
        }
    }

    /// Ends it: the node finishes what is under way within `timeout`, while the control plane still hears of it.
    pub async fn drain(&self, timeout: Duration) {
        if let Some(running) = self.running() {
            running.drain(timeout).await;
        }
        self.connecting.drain(LAST_TASKS).await;
        self.tasks.drain(LAST_TASKS).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

#[cfg(test)]
mod tests;
