//! Every connected node at the newest generation.
//!
//! Called by `grpc`, which brings streams, and by `http`, which asks what is known of nodes. A stream is a task of its own (`link`) whose
//! decisions are pure (`stream`); `slices` cuts, `journal` writes what was said, `news` wakes everybody. Several control planes over one
//! database each hold some streams and know the others from what those write. Source: `spec/control-plane.md` "Distribution".

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use identity::certificate::Shown;
use runtime::{Clock, Tasks};
use tokio::sync::{mpsc, watch};
use wire::{
    api::event, generation::Generation, name::NodeName, node_service::Hello, time::WallTime,
};

use crate::{
    ca::Signer,
    enrol::Enrol,
    publish::{self, Publisher},
    report::{InstanceSeen, NodeSeen},
    state::{self, NewEntry, State},
};

mod ahead;
mod contest;
mod elsewhere;
mod journal;
pub(crate) mod link;
mod mark;
mod news;
mod registry;
mod slices;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;

use ahead::Mark;
use contest::Contest;
use elsewhere::Elsewhere;
use journal::Journal;
use link::{Incoming, Link, Outgoing};
use registry::Live;
use slices::Slices;
use stream::Stream;

pub use stream::Rhythm;

/// Orders to a stream that wait.
const ORDERS: usize = 128;

/// What distribution is made of.
pub struct Config {
    /// How often something is said.
    pub rhythm: Rhythm,
    /// What is to be distributed.
    pub publisher: Publisher,
    /// Who may connect.
    pub enrol: Arc<Enrol>,
    /// Who signs.
    pub signer: Arc<Signer>,
    /// What must not be lost.
    pub state: Arc<dyn State>,
}

/// Distribution. Clones share it.
#[derive(Clone)]
pub struct Distribute(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// This control plane among those over the same database.
    pub(crate) id: String,
    pub(crate) rhythm: Rhythm,
    pub(crate) publisher: Publisher,
    pub(crate) enrol: Arc<Enrol>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    slices: Slices,
    journal: Arc<Journal>,
    live: Mutex<HashMap<String, Live>>,
    /// By instance: who opened stream after stream.
    contests: Mutex<HashMap<String, Contest>>,
    numbers: AtomicU64,
    elsewhere: Mutex<Elsewhere>,
    mark: ArcSwapOption<Mark>,
    wake: watch::Sender<u64>,
}

impl Config {
    /// Starts distribution as tasks of `tasks`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn build(self, clock: Clock, tasks: &Tasks) -> Result<Distribute, state::Error> {
        let journal = Journal::start(Arc::clone(&self.state), &clock, tasks);
        let slices = Slices::new(
            self.publisher.clone(),
            self.signer,
            clock.clone(),
            tasks.clone(),
        );
        let inner = Arc::new(Inner {
            id: uuid::Uuid::now_v7().to_string(),
            rhythm: self.rhythm,
            publisher: self.publisher,
            enrol: self.enrol,
            state: self.state,
            clock,
            tasks: tasks.clone(),
            slices,
            journal,
            live: Mutex::default(),
            contests: Mutex::default(),
            numbers: AtomicU64::new(0),
            elsewhere: Mutex::default(),
            mark: ArcSwapOption::empty(),
            wake: watch::Sender::new(0),
        });
        inner.load_mark().await?;
        inner.look_elsewhere().await?;
        news::start(&inner, tasks);
        Ok(Distribute(inner))
    }
}

impl Distribute {
    /// What is known of every node that was ever connected, by name.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<NodeName, NodeSeen> {
        let mut nodes: BTreeMap<NodeName, NodeSeen> = BTreeMap::new();
        let mut add = |node: &NodeName, instance: &str, seen: InstanceSeen| {
            let of_node = nodes.entry(node.clone()).or_default();
            of_node.instances.insert(instance.to_owned(), seen);
        };
        for (instance, row) in &self.0.elsewhere().rows {
            add(&row.node, instance, row.instance(&self.0));
        }
        for (instance, live) in &*self.0.lock() {
            let seen = InstanceSeen {
                connected: true,
                here: true,
                last_seen: WallTime(live.last_seen.load(Ordering::Relaxed)),
                seen: Arc::clone(&live.seen),
            };
            add(&live.node, instance, seen);
        }
        nodes
    }

    /// How many streams are open here.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.0.lock().len()
    }

    /// Why what nodes report cannot be written, while so.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.0.journal.failing()
    }

    /// Publishes above everything that any node holds: nodes that are ahead are served again. `who` is for the audit log.
    ///
    /// # Errors
    /// When it cannot be published or the store fails.
    pub async fn recover(&self, who: &str) -> Result<Generation, publish::Error> {
        let newest = self.0.newest();
        let mark = self.0.mark.load().as_deref().copied();
        let held: Vec<_> = self
            .nodes()
            .into_values()
            .flat_map(|node| node.instances.into_values())
            .collect();
        let held = held.iter().map(|instance| instance.seen.generation);
        let above = ahead::above(held.chain(mark.map(|mark| mark.seen)), newest);
        // First: whoever hears of the new generation must find no mark.
        self.0.unmark().await?;
        self.0.put_recovered(above).await?;
        self.0.publisher.recover(above, who).await
    }

    /// Who owns the streams.
    pub(crate) fn tasks(&self) -> Tasks {
        self.0.tasks.clone()
    }

    /// Serves a stream whose certificate was admitted and whose hello was read.
    pub(crate) async fn connect(
        &self,
        (shown, node): (Shown, NodeName),
        hello: Hello,
        incoming: Incoming,
        outgoing: Outgoing,
    ) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        let held = Generation(hello.generation);
        let before = self.0.before(&hello.instance);
        let confirmed = before.as_ref().map_or(Generation(0), |seen| seen.confirmed);
        let document_digest = hex::encode(&hello.document_digest);
        let ahead = self
            .0
            .find_ahead(&node, held, &document_digest, confirmed)
            .await;
        let seen = self.0.greeted(&hello, &shown, before, ahead);
        let link = Link {
            inner: Arc::clone(&self.0),
            stream: Stream::new(held, document_digest, ahead, self.0.clock.now()),
            wake: self.0.wake.subscribe(),
            written: self.0.clock.now(),
            own_orders: orders.clone(),
            orders: receiver,
            instance: hello.instance.clone(),
            queue: VecDeque::new(),
            asked: HashMap::new(),
            node,
            shown,
            incoming,
            outgoing,
            seen,
        };
        let number = self.0.register(&link, orders);
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn("node-stream", async move {
            let (instance, node) = (link.instance.clone(), link.node.clone());
            let end = link.run(&hello).await;
            inner.parted(&instance, &node, number, &end);
        });
    }
}

impl Inner {
    pub(crate) fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }

    fn newest(&self) -> Generation {
        *self.publisher.watch().borrow()
    }

    fn event(&self, node: &NodeName, kind: &str, text: String) {
        tracing::info!(%node, kind, "{text}");
        let entry = event::Entry {
            sequence: 0,
            at: self.now(),
            node: Some(node.clone()),
            kind: kind.to_owned(),
            text,
            event: None,
        };
        if !self.journal.tell(vec![entry], None) {
            tracing::warn!(%node, kind, "an event was left out: the store takes none");
        }
    }

    fn audit_refusal(&self, node: &NodeName, why: String) {
        let entry = NewEntry {
            at: self.now(),
            who: format!("node:{node}"),
            action: "report".to_owned(),
            target: format!("nodes/{node}"),
            before: None,
            after: None,
            generation: None,
            refused: Some(why),
        };
        let state = Arc::clone(&self.state);
        self.tasks.spawn("audit", async move {
            if let Err(error) = state.record(vec![entry]).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a refusal could not be recorded"
                );
            }
        });
    }
}

impl std::fmt::Debug for Distribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distribute")
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}
