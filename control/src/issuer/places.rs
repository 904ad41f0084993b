//! Who may be signed for now: a few calls at once, of each node one, so that no node keeps the others waiting.
//!
//! A node's calls wait for each other first and for a common place then, where so never more than one of each node stands in line.
//! How many of a node wait is bounded, too: what is more is told to come again. Places of nodes that wait for nothing are forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use runtime::{Limit, limit::Permit};
use wire::name::NodeName;

/// How many calls are signed for at once.
const AT_ONCE: usize = 4;
/// How many calls of one node there are at most, under way and waiting.
const OF_ONE: usize = 64;

/// The places. Clones are the same.
#[derive(Clone)]
pub(super) struct Places {
    all: Limit,
    nodes: Nodes,
}

type Nodes = Arc<Mutex<HashMap<NodeName, Own>>>;

/// What one node has.
struct Own {
    turn: Limit,
    calls: usize,
}

/// The right to be signed for; dropping it gives it back.
pub(super) struct Place {
    _all: Permit,
    _turn: Permit,
    _call: Call,
}

/// A call of a node, as long as it waits or is under way.
struct Call {
    nodes: Nodes,
    node: NodeName,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            all: Limit::new("minting", AT_ONCE),
            nodes: Arc::default(),
        }
    }

    /// A place for a call of `node`; `None` when too many of that node wait already.
    pub(super) async fn enter(&self, node: &NodeName) -> Option<Place> {
        let (turn, call) = self.call(node)?;
        let turn = turn.acquire().await;
        Some(Place {
            _all: self.all.acquire().await,
            _turn: turn,
            _call: call,
        })
    }

    fn call(&self, node: &NodeName) -> Option<(Limit, Call)> {
        let mut nodes = lock(&self.nodes);
        let own = nodes.entry(node.clone()).or_insert_with(|| Own {
            turn: Limit::new("minting_of_a_node", 1),
            calls: 0,
        });
        if own.calls >= OF_ONE {
            return None;
        }
        own.calls += 1;
        let call = Call {
            nodes: Arc::clone(&self.nodes),
            node: node.clone(),
        };
        Some((own.turn.clone(), call))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut nodes = lock(&self.nodes);
        let Some(own) = nodes.get_mut(&self.node) else {
            return;
        };
        own.calls = own.calls.saturating_sub(1);
        if own.calls == 0 {
            nodes.remove(&self.node);
        }
    }
}

fn lock(nodes: &Nodes) -> MutexGuard<'_, HashMap<NodeName, Own>> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use futures_util::FutureExt;

    use super::*;

    fn name(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_flood_of_one_node_has_one_place_and_the_others_have_theirs() {
        let places = Places::new();
        let (flood, other) = (name("flood"), name("other"));
        let first = places.enter(&flood).await.unwrap();
        let mut waiting: Vec<_> = (1..OF_ONE)
            .map(|_| Box::pin(places.enter(&flood)))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(places.all.current(), 1);
        assert!(places.enter(&flood).await.is_none(), "too many wait");
        let theirs = places.enter(&other).now_or_never().unwrap();
        assert!(theirs.is_some(), "nobody waits for another's flood");

        drop(first);
        let second = waiting.remove(0);
        assert!(second.now_or_never().flatten().is_some(), "in turn");
        drop((waiting, theirs));
        assert!(
            lock(&places.nodes).is_empty(),
            "who wants nothing is forgotten"
        );
        assert!(places.enter(&flood).now_or_never().is_some());
    }

    #[tokio::test]
    async fn no_more_than_a_few_nodes_are_signed_for_at_once() {
        let places = Places::new();
        let mut held = Vec::new();
        for node in 0..AT_ONCE {
            held.push(places.enter(&name(&format!("n{node}"))).await.unwrap());
        }
        let (last, mut context) = (name("last"), Context::from_waker(Waker::noop()));
        let mut waits = pin!(places.enter(&last));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        held.pop();
        assert!(waits.as_mut().poll(&mut context).is_ready());
    }
}
