//! For tests: an open stream, seen from its node.

use std::time::Duration;

use identity::certificate::open;
use runtime::Clock;
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use wire::{
    api::slice::Envelope,
    generation::Generation,
    name::NodeName,
    node_service::{Ack, FromNode, Nack, Slice, ToNode, Welcome, from_node, to_node},
    time::WallTime,
};

/// Nothing that comes takes this long.
const LONG: Duration = Duration::from_secs(20);

/// An open stream, seen from its node.
pub(crate) struct Line {
    pub(crate) out: mpsc::Sender<FromNode>,
    pub(super) inc: Streaming<ToNode>,
    pub(super) node: NodeName,
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl Line {
    pub(crate) async fn say(&self, kind: from_node::Kind) {
        self.out.send(FromNode { kind: Some(kind) }).await.unwrap();
    }

    /// The next message that is no heartbeat; heartbeats are answered.
    pub(crate) async fn next(&mut self) -> Result<to_node::Kind, Status> {
        loop {
            let message = Clock::system()
                .timeout(LONG, self.inc.message())
                .await
                .expect("something in time");
            match message?.and_then(|message| message.kind) {
                Some(to_node::Kind::Heartbeat(beat)) => {
                    // A line that is being closed hears no answer.
                    drop(
                        self.out
                            .send(FromNode {
                                kind: Some(from_node::Kind::Heartbeat(beat)),
                            })
                            .await,
                    );
                }
                Some(kind) => return Ok(kind),
                None => return Err(Status::cancelled("the stream ended")),
            }
        }
    }

    /// Reads until the end without a word.
    pub(crate) async fn hush(&mut self) -> Status {
        loop {
            match Clock::system()
                .timeout(LONG, self.inc.message())
                .await
                .expect("an end in time")
            {
                Ok(Some(_)) => {}
                Ok(None) => return Status::cancelled("the stream ended"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        let Ok(to_node::Kind::Welcome(welcome)) = self.next().await else {
            panic!("no welcome")
        };
        welcome
    }

    pub(crate) async fn slice(&mut self) -> (Slice, Envelope) {
        let to_node::Kind::Slice(slice) = self.next().await.unwrap() else {
            panic!("no slice")
        };
        let envelope: Envelope = serde_json::from_slice(&slice.envelope).unwrap();
        assert_eq!(envelope.node, self.node);
        (slice, envelope)
    }

    /// Takes a slice whole, checks it as a node does and confirms it.
    pub(crate) async fn take(&mut self, held: Option<&str>) -> (Generation, String) {
        let (slice, envelope) = self.slice().await;
        let now = WallTime(Clock::system().wall_ms());
        let document = open(&envelope, &self.node, held, &self.roots, now)
            .unwrap()
            .to_owned();
        let ack = Ack {
            nonce: slice.nonce,
            generation: envelope.generation.0,
        };
        self.say(from_node::Kind::Ack(ack)).await;
        (envelope.generation, document)
    }

    pub(crate) async fn refuse(&mut self, problems: Vec<Vec<u8>>) -> Generation {
        let (slice, envelope) = self.slice().await;
        let generation = envelope.generation;
        self.say(from_node::Kind::Nack(Nack {
            nonce: slice.nonce,
            generation: generation.0,
            problems,
        }))
        .await;
        generation
    }
}
