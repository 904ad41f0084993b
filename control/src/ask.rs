//! A question to a connected node, with a deadline; through the state when another control plane holds the node's stream.
//!
//! Whoever gives up waiting takes the question back from the node. Questions are safe to repeat, so nothing here retries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use wire::{
    api::{
        ask::{Answer, Question},
        problem::Problem,
    },
    name::NodeName,
};

use crate::{
    distribute::{Distribute, Inner, link::Order},
    state,
};

pub(crate) mod relay;

/// Names questions on their streams.
static IDS: AtomicU64 = AtomicU64::new(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No instance of the node is connected, to any control plane.
    #[error("node '{0}' is not connected")]
    NotConnected(NodeName),
    /// It did not answer in time.
    #[error("node '{0}' did not answer in time")]
    TimedOut(NodeName),
    /// It cannot do what it was asked.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The store, by which other control planes are asked, cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
}

impl Distribute {
    /// Asks one connected instance of `node` and waits for its answer, at most `within`. Dropping the future takes the question back.
    ///
    /// # Errors
    /// When the node is not connected, does not answer in time, or answers with a problem.
    pub async fn ask(
        &self,
        node: &NodeName,
        question: Question,
        within: Duration,
    ) -> Result<Answer, Error> {
        let question = serde_json::to_vec(&question).expect("a question is JSON");
        if self.0.orders(node).is_some() {
            return here(&self.0, node, question, within).await;
        }
        if self.0.held_elsewhere(node) {
            return relay::ask(&self.0, node, question, within).await;
        }
        Err(Error::NotConnected(node.clone()))
    }
}

/// Asks by a stream of ours.
async fn here(
    inner: &Arc<Inner>,
    node: &NodeName,
    question: Vec<u8>,
    within: Duration,
) -> Result<Answer, Error> {
    let gone = || Error::NotConnected(node.clone());
    let orders = inner.orders(node).ok_or_else(gone)?;
    let id = IDS.fetch_add(1, Ordering::Relaxed);
    let (reply, answer) = oneshot::channel();
    let order = Order::Ask {
        id,
        question,
        within,
        reply,
    };
    if orders.try_send(order).is_err() {
        return Err(gone());
    }
    let mut taken_back = TakeBack {
        orders,
        id: Some(id),
    };
    let answered = inner.clock.timeout(within, answer).await;
    let answered = answered.map_err(|_| Error::TimedOut(node.clone()))?;
    taken_back.id = None;
    Ok(answered.map_err(|_| gone())??)
}

/// Takes a question back unless it was answered.
struct TakeBack {
    orders: mpsc::Sender<Order>,
    id: Option<u64>,
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // A stream with so many orders forgets who waits by itself.
            let _ = self.orders.try_send(Order::Cancel(id));
        }
    }
}
