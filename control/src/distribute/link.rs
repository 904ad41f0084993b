//! One node's stream at work: takes what comes, sends what `stream` wants, ends when it must.
//!
//! A task of its own per stream, with one timer at the rhythm of heartbeats; it waits for nothing but its own node, whose unread
//! messages are few, so that nobody waits for a node that does not read. When it ends, what it still owed (questions) ends with it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::BoxStream};
use identity::certificate::Shown;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use wire::{
    api::{ask::Answer, problem::Problem},
    name::NodeName,
    node_service::{
        Ask, Cancel, FromNode, Heartbeat, Hello, Reported, Slice, ToNode, Welcome, to_node,
    },
};

use super::{Inner, stream::Stream};
use crate::report::Seen;

mod farewell;
mod heard;

pub(crate) use farewell::{End, Farewell};

/// Messages that wait to be sent, at most; heartbeats and confirmations beyond are left out, questions are refused.
const OUTGOING: usize = 64;
/// How long a farewell may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// What others want of a stream.
pub(crate) enum Order {
    /// Ask the node; the answer goes to `reply`.
    Ask {
        /// Names it on this control plane.
        id: u64,
        /// JSON of the question.
        question: Vec<u8>,
        /// How long the asker waits.
        within: Duration,
        /// Who waits.
        reply: oneshot::Sender<Result<Answer, Problem>>,
    },
    /// Nobody waits for the answer any more.
    Cancel(u64),
    /// A report was written.
    Reported(u64),
    /// The same instance opened another stream.
    Replaced,
}

/// What a node says, until it goes.
pub(crate) type Incoming = BoxStream<'static, FromNode>;

/// What is sent to a node; after a farewell nothing more.
pub(crate) type Outgoing = mpsc::Sender<Result<ToNode, Farewell>>;

/// A stream that was admitted.
pub(super) struct Link {
    pub(super) inner: Arc<Inner>,
    pub(super) node: NodeName,
    pub(super) instance: String,
    pub(super) shown: Shown,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) own_orders: mpsc::Sender<Order>,
    pub(super) wake: watch::Receiver<u64>,
    pub(super) stream: Stream,
    pub(super) seen: Seen,
    pub(super) queue: VecDeque<to_node::Kind>,
    pub(super) asked: HashMap<u64, oneshot::Sender<Result<Answer, Problem>>>,
    pub(super) written: Instant,
}

impl Link {
    /// Runs until the stream ends.
    pub(super) async fn run(mut self, hello: &Hello) -> End {
        self.welcome();
        self.say_hello(hello);
        self.recognise().await;
        let token = self.inner.tasks.token();
        let (clock, outgoing) = (self.inner.clock.clone(), self.outgoing.clone());
        let mut tick = Box::pin(clock.sleep(self.inner.rhythm.heartbeat));
        let end = loop {
            if let Err(end) = self.cut_if_wanted().await {
                break end;
            }
            // What is ours to decide comes before what the node says, or a flood of messages would outlive a revocation.
            let step = tokio::select! {
                biased;
                () = token.cancelled() => Err(End::Told(Farewell::Leaving)),
                changed = self.wake.changed() => changed.map_err(|_| End::Gone).and_then(|()| self.look_again()),
                () = &mut tick => {
                    tick = Box::pin(clock.sleep(self.inner.rhythm.heartbeat));
                    self.beat()
                }
                Some(order) = self.orders.recv() => self.obey(order),
                permit = outgoing.reserve(), if !self.queue.is_empty() => match permit {
                    Err(_) => Err(End::Gone),
                    Ok(permit) => {
                        permit.send(Ok(ToNode { kind: self.queue.pop_front() }));
                        self.stream.said(clock.now());
                        Ok(())
                    }
                },
                message = self.incoming.next() => message.ok_or(End::Gone).and_then(|message| self.take(message)),
            };
            if let Err(end) = step {
                break end;
            }
        };
        self.part(&end).await;
        end
    }

    fn welcome(&mut self) {
        let rhythm = self.inner.rhythm;
        let roots = self.inner.enrol.roots();
        self.queue.push_back(to_node::Kind::Welcome(Welcome {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_ms: self.inner.now().0,
            heartbeat_ms: millis(rhythm.heartbeat),
            report_ms: millis(rhythm.report),
            roots: roots.iter().map(|root| root.to_vec()).collect(),
            ahead: self.seen.ahead,
        }));
    }

    fn say_hello(&mut self, hello: &Hello) {
        self.skew(hello.now_ms);
        self.publish();
        self.inner.event(
            &self.node,
            "node_connected",
            format!("{} connected, generation {}", self.who(), hello.generation),
        );
        if self.seen.ahead {
            let text = format!(
                "{} holds generation {} as this control plane does not know it: it gets nothing until `regmesh control recover`",
                self.who(),
                hello.generation
            );
            self.inner.event(&self.node, "node_ahead", text);
        }
    }

    /// A node that comes with the newest slice has it in force, whatever we have written: we may have fallen over between its ACK and
    /// that, and it will not say so again by itself.
    async fn recognise(&mut self) {
        let (held, newest) = (self.stream.held, self.inner.newest());
        if self.seen.ahead || held != newest || self.seen.confirmed == newest {
            return;
        }
        if let Some(cut) = self.inner.slices.cut(&self.node).await
            && cut.generation == held
            && cut.document_digest == self.stream.document_digest
        {
            self.seen.confirm(held, &cut.document_digest);
            self.publish();
        }
    }

    async fn cut_if_wanted(&mut self) -> Result<(), End> {
        let newest = self.inner.newest();
        if !self.stream.wants(newest) {
            return Ok(());
        }
        let Some(cut) = self.inner.slices.cut(&self.node).await else {
            self.stream.skip(newest);
            return Ok(());
        };
        if cut.generation <= self.stream.held {
            self.stream.skip(newest);
            return Ok(());
        }
        let (nonce, bare) = self.stream.send(cut.generation, &cut.document_digest);
        let envelope = if bare {
            cut.bare.clone()
        } else {
            cut.whole.clone()
        };
        self.queue
            .push_back(to_node::Kind::Slice(Slice { nonce, envelope }));
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Ask {
                id,
                question,
                within,
                reply,
            } => self.ask(id, question, within, reply),
            Order::Cancel(id) => {
                if self.asked.remove(&id).is_some() {
                    self.enqueue(to_node::Kind::Cancel(Cancel { id }));
                }
            }
            Order::Reported(sequence) => {
                self.enqueue(to_node::Kind::Reported(Reported { sequence }))
            }
            Order::Replaced => return Err(End::Told(Farewell::Replaced)),
        }
        Ok(())
    }

    fn ask(
        &mut self,
        id: u64,
        question: Vec<u8>,
        within: Duration,
        reply: oneshot::Sender<Result<Answer, Problem>>,
    ) {
        // Who gave up meanwhile has sent a cancel already, or will.
        self.asked.retain(|_, waiting| !waiting.is_closed());
        if self.queue.len() >= OUTGOING || self.asked.len() >= OUTGOING {
            // The asker sees it: a node that is asked more than it answers.
            let busy = Problem::new(
                503,
                "busy",
                "the node has too many questions to answer already",
            );
            let _ = reply.send(Err(busy));
            return;
        }
        self.asked.insert(id, reply);
        self.queue.push_back(to_node::Kind::Ask(Ask {
            id,
            within_ms: millis(within),
            question,
        }));
    }

    fn enqueue(&mut self, kind: to_node::Kind) {
        if self.queue.len() < OUTGOING {
            self.queue.push_back(kind);
        }
    }

    /// Somebody was revoked, shut out or recovered, or there is a new generation.
    fn look_again(&mut self) -> Result<(), End> {
        self.inner
            .enrol
            .standing(&self.shown, &self.node, &self.instance)
            .map_err(|refused| End::Told(Farewell::Refused(refused)))?;
        let ahead = self.inner.is_ahead(self.stream.held, self.seen.confirmed);
        if self.seen.ahead && self.stream.set_ahead(ahead) {
            self.seen.ahead = ahead;
            self.publish();
        }
        Ok(())
    }

    fn beat(&mut self) -> Result<(), End> {
        let (now, rhythm) = (self.inner.clock.now(), self.inner.rhythm);
        if self.stream.is_dead(rhythm, now) {
            return Err(End::Told(Farewell::Silent));
        }
        if self.inner.now() >= self.shown.ends {
            return Err(End::Told(Farewell::CertificateEnded));
        }
        if self.queue.is_empty() && self.stream.must_speak(rhythm, now) {
            let now_ms = self.inner.now().0;
            self.queue
                .push_back(to_node::Kind::Heartbeat(Heartbeat { now_ms }));
        }
        Ok(())
    }

    fn skew(&mut self, now_ms: i64) {
        if now_ms != 0 {
            self.seen.clock_skew_ms = now_ms.saturating_sub(self.inner.now().0);
        }
    }

    /// Others over the same database go by what is written: a node that only beats is written now and then.
    fn alive(&mut self) {
        self.inner.touch(&self.instance);
        let silent = self
            .inner
            .clock
            .now()
            .saturating_duration_since(self.written);
        if silent >= self.inner.rhythm.heartbeat {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.written = self.inner.clock.now();
        let seen = Arc::new(self.seen.clone());
        self.inner.said(&self.instance, &self.node, seen);
    }

    fn who(&self) -> String {
        format!("{} (instance {})", self.node, self.instance)
    }

    async fn part(&mut self, end: &End) {
        for (_, reply) in self.asked.drain() {
            let gone = Problem::new(
                503,
                "not-connected",
                "the node's stream ended before it answered",
            );
            let _ = reply.send(Err(gone));
        }
        if let End::Told(farewell) = end {
            let farewell = self.outgoing.send(Err(farewell.clone()));
            // A node that does not read does not hear it.
            let _ = self.inner.clock.timeout(FAREWELL, farewell).await;
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
