//! The streams that are open here, by instance, and what each has said.
//!
//! The newest stream of an instance is the one that counts: an older one is told to end, and its end changes nothing any more.

use std::{
    collections::HashMap,
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use identity::certificate::Shown;
use tokio::sync::mpsc;
use wire::{generation::Generation, name::NodeName, node_service::Hello, time::WallTime};

use super::{
    Inner,
    journal::Entry,
    link::{End, Link, Order},
};
use crate::report::Seen;

/// An open stream, as others see it.
pub(super) struct Live {
    pub(super) number: u64,
    pub(super) node: NodeName,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) seen: Arc<Seen>,
    pub(super) last_seen: AtomicI64,
}

impl Inner {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders to one connected instance of a node; to the one with the newest generation.
    pub(crate) fn orders(&self, node: &NodeName) -> Option<mpsc::Sender<Order>> {
        let live = self.lock();
        let mine = live.values().filter(|live| live.node == *node);
        mine.max_by_key(|live| live.seen.generation)
            .map(|live| live.orders.clone())
    }

    /// Nodes with a stream here.
    pub(crate) fn held_here(&self) -> Vec<NodeName> {
        let mut nodes: Vec<_> = self.lock().values().map(|live| live.node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Whether another control plane holds a stream of the node.
    pub(crate) fn held_elsewhere(&self, node: &NodeName) -> bool {
        let elsewhere = self.elsewhere();
        let mut rows = elsewhere.rows.values().filter(|row| row.node == *node);
        rows.any(|row| row.held_by != self.id && row.instance(self).connected)
    }

    pub(super) fn before(&self, instance: &str) -> Option<Arc<Seen>> {
        let live = self.lock().get(instance).map(|live| Arc::clone(&live.seen));
        live.or_else(|| {
            let elsewhere = self.elsewhere();
            elsewhere
                .rows
                .get(instance)
                .map(|row| Arc::clone(&row.seen))
        })
    }

    pub(super) fn greeted(
        &self,
        hello: &Hello,
        shown: &Shown,
        before: Option<Arc<Seen>>,
        ahead: bool,
    ) -> Seen {
        let held = Generation(hello.generation);
        let before = before.as_deref().cloned().unwrap_or_default();
        Seen {
            version: hello.version.chars().take(64).collect(),
            connected_at: self.now(),
            generation: held,
            document_digest: hex::encode(&hello.document_digest),
            refused: before
                .refused
                .clone()
                .filter(|refused| refused.generation > held),
            ahead,
            certificate_until: shown.ends,
            sequence: 0,
            ..before
        }
    }

    pub(super) fn register(&self, link: &Link, orders: mpsc::Sender<Order>) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let live = Live {
            number,
            node: link.node.clone(),
            orders,
            seen: Arc::new(link.seen.clone()),
            last_seen: AtomicI64::new(self.now().0),
        };
        let replaced = self.lock().insert(link.instance.clone(), live);
        if let Some(replaced) = replaced {
            // If it cannot take the order, its node is silent and it ends by itself.
            let _ = replaced.orders.try_send(Order::Replaced);
            self.contested(&link.node, &link.instance);
        }
        number
    }

    /// An instance opened a stream while it had one.
    fn contested(&self, node: &NodeName, instance: &str) {
        let many = {
            let mut contests = self.contests.lock().unwrap_or_else(PoisonError::into_inner);
            let mine = contests.entry(instance.to_owned()).or_default();
            mine.replaced(self.now())
        };
        if many {
            let text = format!(
                "{node} (instance {instance}) opens stream after stream while one is open: two processes use its certificate, because its data directory was copied, or its network breaks all the time; `regmesh node revoke {node}` ends both, and a new join token lets one in"
            );
            self.event(node, "clone_suspected", text);
        }
    }

    /// An instance said something new.
    pub(super) fn said(&self, instance: &str, node: &NodeName, seen: Arc<Seen>) {
        let now = self.now();
        if let Some(live) = self.lock().get_mut(instance) {
            live.seen = Arc::clone(&seen);
            live.last_seen.store(now.0, Ordering::Relaxed);
        }
        self.journal.put(
            instance,
            Entry {
                node: node.clone(),
                held_by: self.id.clone(),
                last_seen: now,
                seen,
            },
        );
    }

    pub(super) fn touch(&self, instance: &str) {
        if let Some(live) = self.lock().get(instance) {
            live.last_seen.store(self.now().0, Ordering::Relaxed);
        }
    }

    pub(super) fn parted(&self, instance: &str, node: &NodeName, number: u64, end: &End) {
        let gone = {
            let mut live = self.lock();
            let mine = live.get(instance).is_some_and(|live| live.number == number);
            mine.then(|| live.remove(instance)).flatten()
        };
        let Some(gone) = gone else {
            return; // replaced by a newer stream of the same instance
        };
        let last_seen = WallTime(gone.last_seen.load(Ordering::Relaxed));
        self.put_away(instance, last_seen, &gone, end);
        let why = match end {
            End::Gone => "the connection ended".to_owned(),
            End::Told(farewell) => farewell.to_string(),
        };
        self.event(
            node,
            "node_disconnected",
            format!("{node} (instance {instance}) disconnected: {why}"),
        );
    }

    /// What stays of an instance whose stream has ended here: nothing once it is revoked, and nothing of ours when it is at another
    /// control plane by now.
    fn put_away(&self, instance: &str, last_seen: WallTime, gone: &Live, end: &End) {
        if end.is_revoked() {
            self.elsewhere().rows.remove(instance);
            return self.journal.forget(instance);
        }
        let moved = self.elsewhere().rows.get(instance).is_some_and(|row| {
            !row.held_by.is_empty() && row.held_by != self.id && row.last_seen > last_seen
        });
        if moved {
            return;
        }
        self.remember(instance, &gone.node, last_seen, &gone.seen);
        let entry = Entry {
            node: gone.node.clone(),
            held_by: String::new(),
            last_seen,
            seen: Arc::clone(&gone.seen),
        };
        self.journal.put(instance, entry);
    }
}
