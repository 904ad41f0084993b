//! One stream to the control plane, from hello to its end: slices in, ACK or NACK out, heartbeats, reports, questions.
//!
//! The loop never waits for its own work: slices are applied and questions answered by tasks. What it sends goes into a bounded channel,
//! and a control plane that does not empty it counts as gone, like one that is silent for three intervals. The renewal of the
//! certificate runs over the same connection; the next stream stands before this one ends.

use std::{sync::Arc, time::Duration};

use identity::certificate;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::{
    api::problem::Problem,
    generation::Generation,
    node_service::{
        Ack, FromNode, Heartbeat, Hello, Nack, Slice, ToNode, Welcome, from_node::Kind, to_node,
    },
    time::WallTime,
};

use super::{
    answer::Answers,
    apply::NOT_WRITTEN,
    enrol,
    enrolment::Credential,
    link::{Client, Error},
    shared::Shared,
};

/// Messages on their way out.
const OUTGOING: usize = 64;
/// How far clocks may differ before it is said.
const SKEW: Duration = Duration::from_secs(30);
/// What a control plane may ask for as an interval.
const INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_secs(300);
/// How soon a change of state is told, at most.
const SOON: Duration = Duration::from_secs(1);
/// How soon a renewal that failed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// Why a stream ended, or is about to.
#[derive(Debug)]
pub(super) enum End {
    /// Our process ends.
    Stopped,
    /// There is a new certificate: connect under it, then let this one go.
    Swap(Box<Credential>),
    /// It is gone.
    Lost(Error),
}

/// One stream.
pub(super) struct Session {
    shared: Arc<Shared>,
    pub(super) credential: Credential,
    client: Client,
    inbound: Streaming<ToNode>,
    outgoing: mpsc::Sender<FromNode>,
    answers: Answers,
    heartbeat: Duration,
    report: Duration,
    heard: Instant,
    said: Instant,
    reported: Instant,
    fingerprint: u64,
    renew_at: WallTime,
    applying: Option<(Slice, Generation, Applying)>,
    /// What the disk did not take, how often, and when it is tried again; the control plane has its NACK.
    unwritten: Option<(Slice, u32, Instant)>,
    /// The newest slice that came while another was being applied.
    next: Option<Slice>,
    renewing: Option<JoinHandle<Result<Credential, Error>>>,
    skewed: bool,
}

type Applying = JoinHandle<Result<Generation, Vec<Problem>>>;

impl Session {
    /// Connects under `credential` and says hello; ends with the control plane's welcome.
    pub(super) async fn open(shared: &Arc<Shared>, credential: Credential) -> Result<Self, Error> {
        let link = &shared.link;
        let opening = link.clock.timeout(
            2 * link.config.connect,
            Box::pin(Self::greet(shared, credential)),
        );
        let late = |_| {
            Err(Error::Away(
                "the control plane did not answer in time".to_owned(),
            ))
        };
        opening.await.unwrap_or_else(late)
    }

    async fn greet(shared: &Arc<Shared>, credential: Credential) -> Result<Self, Error> {
        let mut client = shared.link.own(&credential).await?;
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let hello = from(Kind::Hello(shared.hello(&credential)));
        outgoing.try_send(hello).map_err(|_| full())?;
        let mut inbound = client
            .connect(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let first = inbound.message().await?;
        let Some(to_node::Kind::Welcome(welcome)) = first.and_then(|message| message.kind) else {
            return Err(Error::Away(
                "the control plane did not say welcome first".to_owned(),
            ));
        };
        let credential = shared.with_roots(credential, &welcome.roots).await?;
        shared.mint.connected(client.clone(), welcome.ahead);
        Ok(Self::welcomed(
            shared, credential, client, inbound, outgoing, &welcome,
        ))
    }

    fn welcomed(
        shared: &Arc<Shared>,
        credential: Credential,
        client: Client,
        inbound: Streaming<ToNode>,
        outgoing: mpsc::Sender<FromNode>,
        welcome: &Welcome,
    ) -> Self {
        let link = &shared.link;
        let now = link.clock.now();
        let every = |ms: u32| {
            Duration::from_millis(u64::from(ms)).clamp(*INTERVAL.start(), *INTERVAL.end())
        };
        let shown = &credential.shown;
        let mut session = Self {
            answers: Answers::new(
                Arc::clone(&shared.slices),
                shared.words.clone(),
                outgoing.clone(),
                link.clock.clone(),
                link.tasks.clone(),
            ),
            heartbeat: every(welcome.heartbeat_ms),
            report: every(welcome.report_ms),
            heard: now,
            said: now,
            reported: now,
            fingerprint: 0,
            renew_at: certificate::renew_at(shown.begins, shown.ends, rand::random()),
            applying: None,
            unwritten: None,
            next: None,
            renewing: None,
            skewed: false,
            shared: Arc::clone(shared),
            credential,
            client,
            inbound,
            outgoing,
        };
        session.skew(welcome.now_ms);
        if welcome.ahead {
            tracing::warn!(node = %shared.node, "this node has a newer generation than its control plane, which was restored from a backup: an operator confirms with `regmesh control recover`");
        }
        session
    }

    /// Runs until something ends it. May be run again after `End::Swap`.
    pub(super) async fn run(&mut self) -> End {
        let token = self.shared.link.tasks.token();
        self.send_report();
        loop {
            let pause = self.pause();
            let ended = tokio::select! {
                biased;
                () = token.cancelled() => Some(End::Stopped),
                message = self.inbound.message() => self.received(message),
                applied = finished(self.applying.as_mut().map(|(_, _, task)| task)) => self.applied(applied),
                renewed = finished(self.renewing.as_mut()) => self.renewed(renewed),
                () = self.shared.link.clock.sleep(pause) => self.tick(),
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// After a swap that failed: this certificate goes on, the next attempt comes later.
    pub(super) fn swap_later(&mut self) {
        self.renew_at = self.wall().plus(RENEW_AGAIN);
    }

    fn received(&mut self, message: Result<Option<ToNode>, tonic::Status>) -> Option<End> {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => {
                return Some(End::Lost(Error::Away(
                    "the control plane ended the stream".to_owned(),
                )));
            }
            Err(status) => return Some(End::Lost(status.into())),
        };
        self.heard = self.shared.link.clock.now();
        match message.kind {
            Some(to_node::Kind::Slice(slice)) => self.offered(slice),
            Some(to_node::Kind::Ask(ask)) => self.answers.asked(ask),
            Some(to_node::Kind::Cancel(cancel)) => self.answers.cancelled(cancel.id),
            Some(to_node::Kind::Heartbeat(heartbeat)) => self.skew(heartbeat.now_ms),
            Some(to_node::Kind::Reported(reported)) => {
                self.shared.reports().confirmed(reported.sequence);
            }
            // A second welcome, or what a newer control plane says.
            Some(to_node::Kind::Welcome(_)) | None => {}
        }
        None
    }

    fn offered(&mut self, slice: Slice) {
        if self.applying.is_some() {
            self.next = Some(slice);
            return;
        }
        // A newer one takes the place of what is tried again.
        self.unwritten
            .take_if(|(unwritten, ..)| unwritten.nonce != slice.nonce);
        let (shared, roots) = (Arc::clone(&self.shared), self.credential.roots.clone());
        let generation = generation_of(&slice.envelope);
        let envelope = slice.envelope.clone();
        let task = shared.link.tasks.clone().spawn("apply-slice", async move {
            shared.slices.offer(&envelope, &roots).await
        });
        self.applying = Some((slice, generation, task));
    }

    fn applied(
        &mut self,
        applied: Result<Result<Generation, Vec<Problem>>, String>,
    ) -> Option<End> {
        let (slice, generation, _) = self.applying.take()?;
        let nonce = slice.nonce;
        let applied =
            applied.unwrap_or_else(|error| Err(vec![Problem::new(500, "not-applied", error)]));
        let tried = self.unwritten.take().map(|(_, tried, _)| tried);
        if applied
            .as_ref()
            .is_err_and(|problems| is_unwritten(problems))
        {
            self.write_later(slice, tried.map_or(0, |tried| tried.saturating_add(1)));
        }
        if tried.is_some() {
            return self.applied_late(generation, &applied);
        }
        let kind = match applied {
            Ok(generation) => Kind::Ack(Ack {
                nonce,
                generation: generation.0,
            }),
            Err(problems) => {
                let first = problems
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                tracing::warn!(node = %self.shared.node, %generation, problems = problems.len(), first, "a slice was refused; the last good one stays in force");
                let problems = problems
                    .iter()
                    .filter_map(|problem| serde_json::to_vec(problem).ok());
                Kind::Nack(Nack {
                    nonce,
                    generation: generation.0,
                    problems: problems.collect(),
                })
            }
        };
        let sent = self.send(kind);
        self.send_report();
        if let Some(slice) = self.next.take() {
            self.offered(slice);
        }
        sent
    }

    /// What became of a slice that had its NACK: an answer is given once, so the next hello tells that it is in force.
    fn applied_late(
        &mut self,
        generation: Generation,
        applied: &Result<Generation, Vec<Problem>>,
    ) -> Option<End> {
        match applied {
            Ok(_) => {
                tracing::info!(node = %self.shared.node, %generation, "the slice that could not be written down is in force");
                let text = "connecting again to tell of a slice that was refused before";
                return Some(End::Lost(Error::Away(text.to_owned())));
            }
            Err(problems) => {
                let first = problems.first().map(ToString::to_string);
                tracing::debug!(node = %self.shared.node, %generation, first, "a slice was refused again");
            }
        }
        if let Some(slice) = self.next.take() {
            self.offered(slice);
        }
        None
    }

    fn write_later(&mut self, slice: Slice, tried: u32) {
        let backoff = self.shared.link.write_again;
        let at = self.shared.link.clock.now() + backoff.delay(tried, 1.0);
        self.unwritten = Some((slice, tried, at));
    }

    /// Tries again what the disk did not take, when its time has come.
    fn write_again(&mut self, now: Instant) {
        if let Some((slice, _, at)) = &self.unwritten
            && *at <= now
            && self.applying.is_none()
        {
            self.offered(slice.clone());
        }
    }

    fn renewed(&mut self, renewed: Result<Result<Credential, Error>, String>) -> Option<End> {
        self.renewing = None;
        self.swap_later();
        match renewed {
            Ok(Ok(credential)) => {
                tracing::info!(node = %self.shared.node, ends = %credential.shown.ends, "the node's certificate was renewed");
                credential.show(&self.shared.membership);
                Some(End::Swap(Box::new(credential)))
            }
            Ok(Err(error)) if error.final_reason().is_some() => Some(End::Lost(error)),
            Ok(Err(error)) => {
                tracing::warn!(node = %self.shared.node, %error, "the node's certificate could not be renewed yet");
                None
            }
            Err(error) => {
                tracing::error!(node = %self.shared.node, error, "the renewal of the node's certificate ended badly");
                None
            }
        }
    }

    fn tick(&mut self) -> Option<End> {
        let now = self.shared.link.clock.now();
        let since = |then: Instant| now.saturating_duration_since(then);
        if since(self.heard) > 3 * self.heartbeat {
            let text = "the control plane has been silent for three heartbeats";
            return Some(End::Lost(Error::Away(text.to_owned())));
        }
        self.write_again(now);
        if self.renewing.is_none() && self.wall() >= self.renew_at {
            self.renew();
        }
        if since(self.reported) >= self.report || self.fingerprint != self.shared.fingerprint() {
            self.send_report();
        }
        if since(self.said) >= self.heartbeat {
            let now_ms = self.wall().0;
            return self.send(Kind::Heartbeat(Heartbeat { now_ms }));
        }
        None
    }

    fn renew(&mut self) {
        let (shared, client) = (Arc::clone(&self.shared), self.client.clone());
        let credential = self.credential.clone();
        let tasks = shared.link.tasks.clone();
        let task = tasks.spawn("renew", async move {
            enrol::renew(&shared.home, &shared.link, client, &credential).await
        });
        self.renewing = Some(task);
    }

    fn send_report(&mut self) {
        self.fingerprint = self.shared.fingerprint();
        self.reported = self.shared.link.clock.now();
        let report = self.shared.report();
        // Told again in the next.
        let _ = self.outgoing.try_send(from(Kind::Report(report)));
    }

    fn send(&mut self, kind: Kind) -> Option<End> {
        self.said = self.shared.link.clock.now();
        let sent = self.outgoing.try_send(from(kind));
        sent.err().map(|_| End::Lost(full()))
    }

    /// Until there may be something to do by the clock.
    fn pause(&self) -> Duration {
        (self.heartbeat.min(self.report) / 2).min(SOON)
    }

    fn skew(&mut self, theirs: i64) {
        self.shared.heard_now();
        let skew = Duration::from_millis(self.wall().0.abs_diff(theirs));
        if skew > SKEW && !self.skewed {
            tracing::warn!(node = %self.shared.node, skew = skew.as_secs(), "the clocks of this node and its control plane differ: tokens and certificates will fail");
        }
        self.skewed = skew > SKEW;
    }

    fn wall(&self) -> WallTime {
        WallTime(self.shared.link.clock.wall_ms())
    }
}

impl Shared {
    fn hello(&self, credential: &Credential) -> Hello {
        let held = self.slices.held();
        Hello {
            instance: credential.enrolment.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: held.generation.0,
            document_digest: hex::decode(&held.document_digest).unwrap_or_default(),
            now_ms: self.link.clock.wall_ms(),
        }
    }
}

/// A task's end; never, when there is none. The task goes on when this is dropped.
async fn finished<T>(task: Option<&mut JoinHandle<T>>) -> Result<T, String> {
    match task {
        Some(task) => task.await.map_err(|error| error.to_string()),
        None => std::future::pending().await,
    }
}

fn from(kind: Kind) -> FromNode {
    FromNode { kind: Some(kind) }
}

fn full() -> Error {
    Error::Away("the control plane does not take what this node says".to_owned())
}

/// Whether the disk is to blame, which may get better.
fn is_unwritten(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.code == NOT_WRITTEN)
}

/// For the NACK of what may not even be a slice.
fn generation_of(envelope: &[u8]) -> Generation {
    #[derive(serde::Deserialize)]
    struct Only {
        generation: Generation,
    }
    let only: Option<Only> = serde_json::from_slice(envelope).ok();
    only.map(|only| only.generation).unwrap_or_default()
}
