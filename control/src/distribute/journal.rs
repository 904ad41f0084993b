//! What streams say, on its way into the state: written together about once a second, since a thousand nodes report every ten.
//!
//! A report with events is confirmed to its node only when it is written, so that the node sends them again if we fall over. While the
//! store takes no writes, everything waits here, bounded: one entry per instance, and so many events; beyond that, reports with events
//! are not taken. Source: `spec/control-plane.md` "Reports".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::{Clock, Nudge, Reconciler, Tasks};
use tokio::sync::mpsc;
use wire::{api::event, name::NodeName, time::WallTime};

use super::link::Order;
use crate::{
    enrol::KEEP_EVENTS,
    report::Seen,
    state::{self, Reported, State},
};

/// Events that wait at most.
const WAITING: usize = 20_000;
/// How long what streams say is gathered.
const GATHER: Duration = Duration::from_millis(500);

/// What is to be written of one instance.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: NodeName,
    pub(super) held_by: String,
    pub(super) last_seen: WallTime,
    pub(super) seen: Arc<Seen>,
}

#[derive(Default)]
struct Waiting {
    reported: HashMap<String, Entry>,
    events: Vec<event::Entry>,
    confirm: Vec<(mpsc::Sender<Order>, u64)>,
    failing: Option<String>,
}

pub(super) struct Journal {
    state: Arc<dyn State>,
    waiting: Mutex<Waiting>,
    nudge: std::sync::OnceLock<Nudge>,
}

impl Journal {
    pub(super) fn start(state: Arc<dyn State>, clock: &Clock, tasks: &Tasks) -> Arc<Self> {
        let journal = Arc::new(Self {
            state,
            waiting: Mutex::default(),
            nudge: std::sync::OnceLock::new(),
        });
        let (mine, pace) = (Arc::clone(&journal), clock.clone());
        let every = Reconciler::new("journal", Duration::from_secs(2));
        let nudge = every.start(tasks, clock, move || {
            let (journal, clock) = (Arc::clone(&mine), pace.clone());
            async move {
                if journal.flush().await {
                    clock.sleep(GATHER).await;
                }
            }
        });
        // Set once, here.
        let _ = journal.nudge.set(nudge);
        journal
    }

    /// What an instance said, to be written soon.
    pub(super) fn put(&self, instance: &str, entry: Entry) {
        self.lock().reported.insert(instance.to_owned(), entry);
        self.soon();
    }

    /// The instance was revoked: nothing of it is to be written any more.
    pub(super) fn forget(&self, instance: &str) {
        self.lock().reported.remove(instance);
    }

    /// Events to be written, and the report that brought them, to be confirmed afterwards. `false` when there is no room.
    pub(super) fn tell(
        &self,
        events: Vec<event::Entry>,
        confirm: Option<(mpsc::Sender<Order>, u64)>,
    ) -> bool {
        let mut waiting = self.lock();
        let full = waiting.confirm.len() >= WAITING;
        if full || waiting.events.len() + events.len() > WAITING {
            return false;
        }
        waiting.events.extend(events);
        waiting.confirm.extend(confirm);
        drop(waiting);
        self.soon();
        true
    }

    /// Why nothing can be written, while so.
    pub(super) fn failing(&self) -> Option<String> {
        self.lock().failing.clone()
    }

    fn soon(&self) {
        if let Some(nudge) = self.nudge.get() {
            nudge.nudge();
        }
    }

    /// Writes what waits; `true` when there was something.
    pub(super) async fn flush(&self) -> bool {
        let taken = {
            let mut waiting = self.lock();
            let failing = waiting.failing.clone();
            std::mem::replace(
                &mut *waiting,
                Waiting {
                    failing,
                    ..Waiting::default()
                },
            )
        };
        if taken.reported.is_empty() && taken.events.is_empty() && taken.confirm.is_empty() {
            return false;
        }
        match self.write(&taken).await {
            Ok(()) => {
                self.lock().failing = None;
                for (orders, sequence) in taken.confirm {
                    // A node that is not told sends it again.
                    let _ = orders.try_send(Order::Reported(sequence));
                }
            }
            Err(error) => self.put_back(taken, &error),
        }
        true
    }

    async fn write(&self, taken: &Waiting) -> Result<(), state::Error> {
        if !taken.events.is_empty() {
            self.state
                .add_events(taken.events.clone(), KEEP_EVENTS)
                .await?;
        }
        let reported = taken.reported.iter().map(|(instance, entry)| Reported {
            instance: instance.clone(),
            node: Some(entry.node.clone()),
            held_by: entry.held_by.clone(),
            last_seen: entry.last_seen,
            seen: serde_json::to_vec(&*entry.seen).unwrap_or_default(),
        });
        self.state.put_reported(reported.collect()).await
    }

    fn put_back(&self, taken: Waiting, error: &state::Error) {
        let mut waiting = self.lock();
        if waiting.failing.replace(error.to_string()).is_none() {
            let error = error as &dyn std::error::Error;
            tracing::error!(
                error,
                "what nodes report cannot be written; it is tried again"
            );
        }
        for (instance, entry) in taken.reported {
            waiting.reported.entry(instance).or_insert(entry);
        }
        let newer = std::mem::replace(&mut waiting.events, taken.events);
        waiting.events.extend(newer);
        let newer = std::mem::replace(&mut waiting.confirm, taken.confirm);
        waiting.confirm.extend(newer);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
