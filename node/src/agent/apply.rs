//! From an envelope to a slice in force: believed, read, checked, written down, applied; each step refuses the whole of it.
//!
//! It is on disk before it is in force, so that a restart never goes back; what can be refused is refused before that. Only what
//! it takes away does not wait for a disk that takes nothing. A node that cannot start on its first slice takes it off the disk again. One slice at a time, as a task of the agent: a connection that breaks
//! in between changes nothing. Source: `spec/control-plane.md` "Distribution", `reference/faults.md` 10.37, T35.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use identity::certificate;
use runtime::{Clock, Tasks, file::Files};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Mutex as AsyncMutex, watch};
use wire::{
    api::{
        problem::{DocumentProblem, Problem},
        slice::Envelope,
    },
    generation::Generation,
    time::WallTime,
};

use super::{
    home::Home,
    last_good,
    mint::Minter,
    waiting::{Waiting, Words},
};
use crate::{
    app::{self, Contact, Joined, Running, Slice},
    membership::Membership,
};

/// Problems told of one slice.
const PROBLEMS: usize = 64;

/// The code of what the disk is to blame for, not the slice: it is tried again.
pub(super) const NOT_WRITTEN: &str = "not-written";

/// What slices are applied with.
pub(crate) struct Parts {
    pub(crate) home: Arc<Home>,
    pub(crate) config: app::Config,
    pub(crate) contact: Contact,
    pub(crate) membership: Membership,
    pub(crate) mint: Minter,
    pub(crate) words: Words,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

/// The node and its slice.
pub(crate) struct Slices {
    parts: Parts,
    one_at_a_time: AsyncMutex<Addresses>,
    running: watch::Sender<Option<Arc<Running>>>,
    held: Mutex<Held>,
    addresses: Mutex<(Option<SocketAddr>, Option<SocketAddr>)>,
}

/// The generation in force and SHA-256 of its document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Held {
    pub(crate) generation: Generation,
    pub(crate) document_digest: String,
}

/// What listens while there is no node.
#[derive(Default)]
struct Addresses {
    waiting: Option<Waiting>,
}

impl Slices {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            one_at_a_time: AsyncMutex::default(),
            running: watch::Sender::new(None),
            held: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    /// The node, once it runs.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.running.borrow().clone()
    }

    /// Moves when the node starts.
    pub(crate) fn news(&self) -> watch::Receiver<Option<Arc<Running>>> {
        self.running.subscribe()
    }

    pub(crate) fn held(&self) -> Held {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Addresses of the registry and of the operational pages, as far as something listens there.
    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens without a node.
    pub(crate) async fn wait(&self) -> Result<(), app::Error> {
        let mut addresses = self.one_at_a_time.lock().await;
        self.open_waiting(&mut addresses).await
    }

    /// Starts on the slice from disk. With `Err` the node waits, and what came to nothing is said.
    pub(crate) async fn resume(&self, good: last_good::Good) -> Result<(), app::Error> {
        let mut addresses = self.one_at_a_time.lock().await;
        if self.running().is_some() {
            return Ok(());
        }
        let held = Held {
            generation: good.slice.generation,
            document_digest: good.document_digest,
        };
        self.start(good.slice, &mut addresses).await?;
        self.hold(held);
        Ok(())
    }

    /// Puts what the control plane sent in force.
    pub(crate) async fn offer(
        &self,
        envelope: &[u8],
        roots: &[CertificateDer<'static>],
    ) -> Result<Generation, Vec<Problem>> {
        let mut addresses = self.one_at_a_time.lock().await;
        let envelope: Envelope = serde_json::from_slice(envelope)
            .map_err(|error| one(422, "not-a-slice", format!("this is no slice: {error}")))?;
        let envelope = self.believed(envelope, roots).await?;
        let offered = Held {
            generation: envelope.generation,
            document_digest: envelope.document_digest.clone(),
        };
        let held = self.held();
        if offered.generation < held.generation {
            let text = format!(
                "generation {} is older than {}, which this node has",
                offered.generation, held.generation
            );
            return Err(one(409, "older-generation", text));
        }
        if offered == held && self.running().is_some() {
            return Ok(offered.generation);
        }
        let slice = self.read(&envelope).await?;
        if let Some(running) = self.running() {
            running.check(&slice).await?;
            if let Err(unwritten) = self.write(&envelope, &slice).await {
                // A full disk is no reason to serve what somebody took back.
                running.refuse(&slice).await;
                return Err(unwritten);
            }
            self.parts.mint.follow(&slice);
            running.apply(slice).await;
        } else {
            self.write(&envelope, &slice).await?;
            if let Err(error) = self.start(slice, &mut addresses).await {
                self.take_back().await;
                return Err(one(422, "cannot-start", said(&error)));
            }
        }
        self.hold(offered.clone());
        Ok(offered.generation)
    }

    /// The envelope with its document, when everything about it is to be believed.
    async fn believed(
        &self,
        mut envelope: Envelope,
        roots: &[CertificateDer<'static>],
    ) -> Result<Envelope, Vec<Problem>> {
        let Parts { home, tasks, .. } = &self.parts;
        let mut held = None;
        if envelope.document.is_none() {
            let read = home.on(tasks, last_good::document).await;
            held = read.map_err(|error| one(503, NOT_WRITTEN, error.to_string()))?;
        }
        let now = WallTime(self.parts.clock.wall_ms());
        let node = &self.parts.config.name;
        let document = certificate::open(&envelope, node, held.as_deref(), roots, now)
            .map_err(|error| one(403, "slice-not-believed", error.to_string()))?
            .to_owned();
        envelope.document = Some(document);
        Ok(envelope)
    }

    async fn read(&self, envelope: &Envelope) -> Result<Slice, Vec<Problem>> {
        let (generation, node) = (envelope.generation, self.parts.config.name.clone());
        let (mesh, document) = (
            envelope.mesh.clone(),
            envelope.document.clone().unwrap_or_default(),
        );
        // Ten thousand rules take a while.
        let read = self.parts.tasks.spawn_blocking("read-slice", move || {
            Slice::read(generation, node, &document)
        });
        let read = read
            .await
            .map_err(|error| one(500, "not-read", error.to_string()))?;
        let slice = read.map_err(|problems| told(&problems))?;
        if slice.own().is_none() {
            return Err(one(
                422,
                "other-node",
                format!("the slice declares no node '{}'", slice.node),
            ));
        }
        if slice.topology.mesh != mesh {
            return Err(one(
                422,
                "other-mesh",
                format!(
                    "the slice says it is of mesh '{mesh}', its document '{}'",
                    slice.topology.mesh
                ),
            ));
        }
        Ok(slice)
    }

    async fn write(&self, envelope: &Envelope, slice: &Slice) -> Result<(), Vec<Problem>> {
        let Parts { home, tasks, .. } = &self.parts;
        let (envelope, slice) = (envelope.clone(), slice.clone());
        let written = home
            .on(tasks, move |home| last_good::put(home, &envelope, &slice))
            .await;
        written.map_err(|error| {
            one(
                503,
                NOT_WRITTEN,
                format!("the slice could not be written down: {error}"),
            )
        })
    }

    async fn take_back(&self) {
        let Parts { home, tasks, .. } = &self.parts;
        if let Err(error) = home.on(tasks, last_good::undo).await {
            tracing::error!(node = %self.parts.config.name, %error, "a slice that the node cannot start on could not be taken off the disk");
        }
    }

    async fn start(&self, slice: Slice, addresses: &mut Addresses) -> Result<(), app::Error> {
        let Parts {
            contact,
            membership,
            mint,
            words,
            files,
            clock,
            tasks,
            ..
        } = &self.parts;
        mint.follow(&slice);
        let mut config = self.parts.config.clone();
        if let Some(waiting) = addresses.waiting.take() {
            // Where the system chose a port for the waiting node, the node keeps it.
            config.listen = config.listen.map(|asked| {
                waiting
                    .address
                    .filter(|_| asked.port() == 0)
                    .unwrap_or(asked)
            });
            config.admin = config.admin.map(|asked| {
                if asked.port() == 0 {
                    waiting.admin
                } else {
                    asked
                }
            });
            waiting.close().await;
        }
        let joined = Joined {
            contact: contact.clone(),
            membership: Some(membership.clone()),
            mint: Some(Arc::new(mint.clone())),
            warned: words.warnings(),
            files: Arc::clone(files),
        };
        match app::start_joined(config, joined, slice, clock.clone(), tasks).await {
            Ok(running) => {
                running.listen();
                self.listens(Some(running.address()), Some(running.admin()));
                self.running.send_replace(Some(Arc::new(running)));
                Ok(())
            }
            Err(error) => {
                words.say(&format!(
                    "this node cannot start on its slice: {}",
                    said(&error)
                ));
                if let Err(error) = self.open_waiting(addresses).await {
                    tracing::error!(node = %self.parts.config.name, error = &error as &dyn std::error::Error, "a waiting node cannot listen");
                }
                Err(error)
            }
        }
    }

    async fn open_waiting(&self, addresses: &mut Addresses) -> Result<(), app::Error> {
        let Parts {
            config,
            words,
            clock,
            tasks,
            ..
        } = &self.parts;
        let waiting = Waiting::open(config, words, clock, tasks).await?;
        self.listens(waiting.address, Some(waiting.admin));
        addresses.waiting = Some(waiting);
        Ok(())
    }

    fn listens(&self, registry: Option<SocketAddr>, admin: Option<SocketAddr>) {
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = (registry, admin);
    }

    fn hold(&self, held: Held) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

fn one(status: u16, code: &str, text: String) -> Vec<Problem> {
    vec![Problem::new(status, code, text)]
}

/// The problems of a document, one each, errors first.
fn told(problems: &[topology::problem::Problem]) -> Vec<Problem> {
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.iter().partition(|problem| problem.is_error());
    let all = errors.into_iter().chain(warnings).take(PROBLEMS);
    all.map(|problem| {
        let severity = if problem.is_error() {
            "error"
        } else {
            "warning"
        };
        let of_document = DocumentProblem {
            code: problem.code.to_owned(),
            severity: severity.to_owned(),
            message: problem.message.clone(),
            advice: Some(problem.advice.clone()),
            file: Some(problem.file.clone()),
            line: u64::try_from(problem.line).ok(),
            column: u64::try_from(problem.column).ok(),
            rendered: Some(problem.render(false)),
        };
        Problem {
            problems: vec![of_document],
            ..Problem::new(422, problem.code, problem.message.clone())
        }
    })
    .collect()
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    super::link::chained(error)
}
