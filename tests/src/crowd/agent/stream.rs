//! One stream of a light node: hello, then an ACK for each slice, heartbeats and reports at the control plane's rhythm.
//!
//! As a real node does, it reports at the start, after each slice, and once in every interval.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use identity::certificate::{document_digest, open};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::api::slice::Envelope;
use wire::generation::Generation;
use wire::node_service::{Ack, FromNode, Heartbeat, Hello, Slice, ToNode, from_node, to_node};
use wire::time::WallTime;

use super::{Member, Shared};
use crate::crowd::report::report;
use crate::crowd::tally::Kind;

/// Messages on their way out, as in `node::agent`.
const OUTGOING: usize = 64;

/// A stream that ended or never began.
pub(super) struct Lost {
    /// How long it stood.
    pub(super) stood: Duration,
    pub(super) why: String,
}

/// An open stream.
struct Line {
    out: mpsc::Sender<FromNode>,
    inbound: Streaming<ToNode>,
    heartbeat: Duration,
    report: Duration,
    said: Instant,
    reported: Instant,
}

impl Member {
    /// Connects and stays until it ends.
    pub(super) async fn stream(&mut self, shared: &Shared) -> Lost {
        let mut line = match self.greet(shared).await {
            Ok(line) => line,
            Err(error) => {
                return Lost {
                    stood: Duration::ZERO,
                    why: format!("{error:#}"),
                };
            }
        };
        shared.tally.connect(self.index);
        let began = shared.clock.now();
        let ended = self.stay(&mut line, shared).await;
        Lost {
            stood: shared.clock.now().saturating_duration_since(began),
            why: ended.map_or_else(|error| format!("{error:#}"), |()| "cut".to_owned()),
        }
    }

    async fn greet(&self, shared: &Shared) -> Result<Line> {
        let mut client = self.client(shared).await?;
        let (out, receiver) = mpsc::channel(OUTGOING);
        let hello = Hello {
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.held.generation.0,
            document_digest: hex::decode(&self.held.digest)?,
            now_ms: shared.clock.wall_ms(),
        };
        out.try_send(from(from_node::Kind::Hello(hello)))?;
        let answer = client.connect(ReceiverStream::new(receiver)).await;
        let mut inbound = answer.map_err(said)?.into_inner();
        let first = inbound.message().await.map_err(said)?;
        let Some(to_node::Kind::Welcome(welcome)) = first.and_then(|message| message.kind) else {
            bail!("no welcome");
        };
        shared.tally.hear(Kind::Welcome);
        let now = shared.clock.now();
        let every = |ms: u32| Duration::from_millis(u64::from(ms));
        Ok(Line {
            out,
            inbound,
            heartbeat: every(welcome.heartbeat_ms),
            report: every(welcome.report_ms),
            said: now,
            reported: now,
        })
    }

    /// Until the stream ends, with why, or it is cut.
    async fn stay(&mut self, line: &mut Line, shared: &Shared) -> Result<()> {
        let mut cut = shared.cut.subscribe();
        self.report(line, shared)?;
        loop {
            let next = (line.said + line.heartbeat).min(line.reported + line.report);
            let pause = next.saturating_duration_since(shared.clock.now());
            tokio::select! {
                _ = cut.changed() => return Ok(()),
                message = line.inbound.message() => {
                    let message = message.map_err(said)?.context("the stream ended")?;
                    self.take(message, line, shared)?;
                }
                () = shared.clock.sleep(pause) => self.tick(line, shared)?,
            }
        }
    }

    fn take(&mut self, message: ToNode, line: &mut Line, shared: &Shared) -> Result<()> {
        let kind = match message.kind {
            Some(to_node::Kind::Slice(slice)) => {
                let kind = self.apply(&slice, shared)?;
                let ack = Ack {
                    nonce: slice.nonce,
                    generation: self.held.generation.0,
                };
                line.send(from_node::Kind::Ack(ack), shared)?;
                let now = shared.clock.now();
                shared.tally.confirm(self.index, self.held.generation, now);
                self.report(line, shared)?;
                kind
            }
            Some(to_node::Kind::Heartbeat(_)) => Kind::Heartbeat,
            Some(to_node::Kind::Reported(_)) => Kind::Reported,
            Some(to_node::Kind::Welcome(_) | to_node::Kind::Ask(_) | to_node::Kind::Cancel(_))
            | None => Kind::Other,
        };
        shared.tally.hear(kind);
        Ok(())
    }

    fn apply(&mut self, slice: &Slice, shared: &Shared) -> Result<Kind> {
        let envelope: Envelope = serde_json::from_slice(&slice.envelope)?;
        ensure!(envelope.node == self.node, "a slice for {}", envelope.node);
        ensure!(
            envelope.generation > self.held.generation,
            "generation {} after {}",
            envelope.generation,
            self.held.generation
        );
        if self.index.is_multiple_of(shared.config.checks) {
            let now = WallTime(shared.clock.wall_ms());
            let held = self.held.document.as_deref();
            open(&envelope, &self.node, held, &self.roots, now)?;
        }
        self.held.generation = envelope.generation;
        let Some(document) = envelope.document else {
            ensure!(
                envelope.document_digest == self.held.digest,
                "bare, of what is not held"
            );
            return Ok(Kind::Bare);
        };
        ensure!(
            document_digest(&document) == envelope.document_digest,
            "altered"
        );
        (self.held.document, self.held.digest) = (Some(document), envelope.document_digest);
        Ok(Kind::Whole)
    }

    fn tick(&mut self, line: &mut Line, shared: &Shared) -> Result<()> {
        let now = shared.clock.now();
        if now >= line.reported + line.report {
            self.report(line, shared)?;
        }
        if now >= line.said + line.heartbeat {
            let now_ms = shared.clock.wall_ms();
            line.send(from_node::Kind::Heartbeat(Heartbeat { now_ms }), shared)?;
        }
        Ok(())
    }

    /// Reports, once there is something in force; like a real node's, it counts for no heartbeat.
    fn report(&mut self, line: &mut Line, shared: &Shared) -> Result<()> {
        line.reported = shared.clock.now();
        if self.held.generation == Generation(0) {
            return Ok(());
        }
        self.reports += 1;
        let who = (&self.mesh, &self.node);
        let now = WallTime(shared.clock.wall_ms());
        let report = report(
            who,
            self.held.generation,
            shared.config.rules,
            self.reports,
            now,
        );
        line.out.try_send(from(from_node::Kind::Report(report)))?;
        Ok(())
    }
}

impl Line {
    fn send(&mut self, kind: from_node::Kind, shared: &Shared) -> Result<()> {
        self.said = shared.clock.now();
        Ok(self.out.try_send(from(kind))?)
    }
}

fn from(kind: from_node::Kind) -> FromNode {
    FromNode { kind: Some(kind) }
}

fn said(status: tonic::Status) -> anyhow::Error {
    anyhow!("{}: {}", status.code(), status.message())
}
