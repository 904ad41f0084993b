//! A control plane that does what a test says: a real CA, real gRPC over mutual TLS, and no mind of its own.
//!
//! Streams are handed to the test, which reads what the node says and sends what it likes. Certificates live as long as the test wants;
//! enrolments and renewals can be refused, or answered with nothing after they were granted.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use identity::certificate::{self, At, Authority, Key, Leaf, Request as Csr, Shown};
use runtime::{Clock, Tasks, listener, listener::Peer, tls};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::{
    api::slice::Envelope,
    generation::Generation,
    join_token::JoinToken,
    node_service::{
        EnrolRequest, Enrolment, FromNode, Hello, Minted, MintedToken, RenewRequest, Slice, ToNode,
        TokenRequest, Tokens, Wanted, Welcome,
        enrol_request::Proof,
        from_node, minted,
        node_service_server::{NodeService, NodeServiceServer},
        to_node,
        wanted::Kind,
    },
    not_admitted::{METADATA, NotAdmitted},
    time::WallTime,
};

pub(super) const SECRET: &str = "canary-join-secret";
/// Nothing here takes longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// The control plane.
pub(super) struct Control {
    pub(super) authority: Arc<Authority>,
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    signer: (Key, Vec<CertificateDer<'static>>),
    clock: Clock,
    tasks: Tasks,
    sender: mpsc::Sender<Stream>,
}

/// What it does.
#[derive(Default)]
pub(super) struct Script {
    /// Whether answers to enrolments and renewals get lost, so many more times.
    pub(super) lose: usize,
    pub(super) refuse: Option<NotAdmitted>,
    pub(super) refuse_streams: Option<NotAdmitted>,
    /// How long certificates last from now on; an hour when zero.
    pub(super) life: Duration,
    /// When they begin, before now.
    pub(super) backdate: Duration,
    pub(super) counter: u64,
    /// Every call for tokens: `RULE IDENTITY UPSTREAM` each.
    pub(super) wanted: Vec<Vec<String>>,
    /// What is said instead of a token, by rule.
    pub(super) tokens: HashMap<String, minted::Outcome>,
    /// Whether calls for tokens fail as a whole.
    pub(super) no_tokens: bool,
    /// Whether calls for tokens are never answered.
    pub(super) mute_tokens: bool,
    /// Whether grants are due as soon as they are made.
    pub(super) due_at_once: bool,
    /// How long grants last from now on, a day when zero; they are due after an hour.
    pub(super) grant_life: Duration,
    /// The generation by which tokens are given and refused.
    pub(super) judged: u64,
    /// Tokens minted so far; each is called `canary-grant-NUMBER`.
    pub(super) minted: usize,
    /// Every OIDC token that was shown; the third one is let in.
    pub(super) oidc: Vec<String>,
    /// Every request for a certificate: instance, the hash of its key, the counter shown.
    pub(super) asked: Vec<(String, String, Option<u64>)>,
}

/// One stream of a node.
pub(super) struct Stream {
    pub(super) hello: Hello,
    pub(super) certificate: Shown,
    pub(super) to: mpsc::Sender<Result<ToNode, Status>>,
    heard: mpsc::Receiver<FromNode>,
    kept: VecDeque<from_node::Kind>,
}

impl Control {
    pub(super) async fn start(clock: &Clock) -> Self {
        let authority = Arc::new(Authority::generate(now(clock)).unwrap());
        Self::of(authority, ([127, 0, 0, 1], 0).into(), clock).await
    }

    async fn of(authority: Arc<Authority>, address: SocketAddr, clock: &Clock) -> Self {
        let tasks = Tasks::new("control");
        let (sender, streams) = mpsc::channel(16);
        let signer = signer(&authority, "spiffe://acme/control", clock);
        let mut control = Self {
            authority,
            script: Arc::default(),
            address,
            streams,
            signer,
            clock: clock.clone(),
            tasks,
            sender,
        };
        control.listen().await;
        control
    }

    async fn listen(&mut self) {
        let mut chain = self.signer.1.clone();
        chain.push(self.authority.certificate().clone());
        let live = tls::Live::new(chain, self.signer.0.to_der()).unwrap();
        let roots = [self.authority.certificate().clone()];
        let mut config = listener::Config::new(self.address);
        let clock = self.clock.clone();
        config.tls = Some(live.server(Some(Arc::new(move |chain| {
            certificate::verify(chain, &roots, At::Begun(now(&clock))).is_ok()
        }))));
        let bound = listener::bind(config).await.unwrap();
        self.address = bound.local_addr();
        let service = NodeServiceServer::new(Service {
            authority: Arc::clone(&self.authority),
            script: Arc::clone(&self.script),
            streams: self.sender.clone(),
            clock: self.clock.clone(),
        });
        bound.serve(service, &self.tasks);
    }

    /// Away, with all its streams.
    pub(super) async fn stop(&mut self) {
        self.tasks.drain(Duration::ZERO).await;
        while self.streams.try_recv().is_ok() {}
    }

    /// Back again, at the same address.
    pub(super) async fn again(&mut self) {
        self.tasks = Tasks::new("control");
        self.listen().await;
    }

    pub(super) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub(super) fn token(&self) -> JoinToken {
        JoinToken {
            address: self.address.to_string(),
            pin: self.authority.pin().to_string(),
            node: "prod".parse().unwrap(),
            secret: SECRET.to_owned(),
        }
    }

    /// The next stream that a node opens.
    pub(super) async fn stream(&mut self) -> Stream {
        let next = tokio::time::timeout(PATIENCE, self.streams.recv());
        next.await.expect("a stream in time").expect("a stream")
    }

    /// A slice of `document` for `prod`.
    pub(super) fn sign(&self, generation: u64, document: &str) -> Envelope {
        self.sign_as(&self.signer, "prod", generation, document)
    }

    pub(super) fn sign_as(
        &self,
        (key, chain): &(Key, Vec<CertificateDer<'static>>),
        node: &str,
        generation: u64,
        document: &str,
    ) -> Envelope {
        let (mesh, node) = ("acme".parse().unwrap(), node.parse().unwrap());
        let who = (&mesh, &node, Generation(generation));
        certificate::sign(who, document, now(&self.clock), key, chain).unwrap()
    }
}

/// A key and a chain that name `id`.
pub(super) fn signer(
    authority: &Authority,
    id: &str,
    clock: &Clock,
) -> (Key, Vec<CertificateDer<'static>>) {
    let key = Key::generate().unwrap();
    let csr = Csr::read(&key.request("control").unwrap()).unwrap();
    let leaf = Leaf {
        id: id.parse().unwrap(),
        instance: None,
        hosts: Vec::new(),
        begins: now(clock).minus(Duration::from_secs(60)),
        ends: now(clock).plus(Duration::from_secs(86_400)),
    };
    let chain = vec![authority.issue(&csr, &leaf).unwrap()];
    (key, chain)
}

pub(super) fn now(clock: &Clock) -> WallTime {
    WallTime(clock.wall_ms())
}

impl Stream {
    pub(super) async fn send(&self, kind: to_node::Kind) {
        let message = ToNode { kind: Some(kind) };
        self.to.send(Ok(message)).await.expect("the node listens");
    }

    pub(super) async fn welcome(&self, clock: &Clock) {
        self.welcome_every(60_000, clock).await;
    }

    /// With so many milliseconds between heartbeats, of which this control plane itself sends none.
    pub(super) async fn welcome_every(&self, heartbeat_ms: u32, clock: &Clock) {
        let welcome = Welcome {
            version: "test".to_owned(),
            now_ms: clock.wall_ms(),
            heartbeat_ms,
            report_ms: 100,
            roots: Vec::new(),
            ahead: false,
        };
        self.send(to_node::Kind::Welcome(welcome)).await;
    }

    /// As a control plane that was restored from a backup older than what the node has.
    pub(super) async fn welcome_ahead(&self, clock: &Clock) {
        let welcome = Welcome {
            version: "test".to_owned(),
            now_ms: clock.wall_ms(),
            heartbeat_ms: 60_000,
            report_ms: 100,
            roots: Vec::new(),
            ahead: true,
        };
        self.send(to_node::Kind::Welcome(welcome)).await;
    }

    pub(super) async fn slice(&self, nonce: u64, envelope: &Envelope) {
        self.raw_slice(nonce, serde_json::to_vec(envelope).unwrap())
            .await;
    }

    pub(super) async fn raw_slice(&self, nonce: u64, envelope: Vec<u8>) {
        self.send(to_node::Kind::Slice(Slice { nonce, envelope }))
            .await;
    }

    /// Waits for what `wanted` takes out; everything else stays for later.
    pub(super) async fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&from_node::Kind) -> Option<T>,
    ) -> T {
        if let Some(at) = self.kept.iter().position(|kind| wanted(kind).is_some()) {
            let kind = self.kept.remove(at).unwrap();
            return wanted(&kind).unwrap();
        }
        let wait = async {
            loop {
                let message = self.heard.recv().await.expect("the node goes on");
                let kind = message.kind.expect("a message of ours");
                if let Some(found) = wanted(&kind) {
                    return found;
                }
                self.kept.push_back(kind);
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("in time")
    }

    /// What became of a slice: its generation, or the codes of the problems.
    pub(super) async fn outcome(&mut self, nonce: u64) -> Result<u64, Vec<String>> {
        self.until(|kind| {
            if let from_node::Kind::Ack(ack) = kind
                && ack.nonce == nonce
            {
                return Some(Ok(ack.generation));
            }
            if let from_node::Kind::Nack(nack) = kind
                && nack.nonce == nonce
            {
                return Some(Err(codes(&nack.problems)));
            }
            None
        })
        .await
    }

    /// Ends once the node has ended it.
    pub(super) async fn closed(mut self) {
        let ended = async { while self.heard.recv().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("in time");
    }
}

fn codes(problems: &[Vec<u8>]) -> Vec<String> {
    let read =
        |bytes: &Vec<u8>| serde_json::from_slice::<wire::api::problem::Problem>(bytes).unwrap();
    problems.iter().map(|bytes| read(bytes).code).collect()
}

impl Script {
    fn minted(&mut self, rule: &str, now: WallTime) -> minted::Outcome {
        if let Some(said) = self.tokens.get(rule) {
            return said.clone();
        }
        self.minted += 1;
        let life = match self.grant_life.is_zero() {
            true => Duration::from_secs(86_400),
            false => self.grant_life,
        };
        minted::Outcome::Token(MintedToken {
            token: format!("canary-grant-{}", self.minted),
            expires_ms: now.plus(life).0,
            refresh_ms: match self.due_at_once {
                true => now.0,
                false => now.plus(Duration::from_secs(3_600)).0,
            },
        })
    }
}

struct Service {
    authority: Arc<Authority>,
    script: Arc<Mutex<Script>>,
    streams: mpsc::Sender<Stream>,
    clock: Clock,
}

impl Service {
    fn issue(
        &self,
        instance: &str,
        csr: &[u8],
        shown: Option<u64>,
    ) -> Result<Response<Enrolment>, Status> {
        let csr = read(csr);
        let mut script = self.script();
        let asked = (instance.to_owned(), csr.pin().hex(), shown);
        script.asked.push(asked);
        if let Some(reason) = script.refuse {
            return Err(refused(reason));
        }
        script.counter += 1;
        if script.lose > 0 {
            script.lose -= 1;
            return Err(Status::unavailable("the answer was lost"));
        }
        Ok(Response::new(self.enrolment(instance, &csr, &script)))
    }

    fn enrolment(&self, instance: &str, csr: &Csr, script: &Script) -> Enrolment {
        let hour = Duration::from_secs(3_600);
        let life = if script.life.is_zero() {
            hour
        } else {
            script.life
        };
        let begins = now(&self.clock).minus(script.backdate);
        let leaf = Leaf {
            id: "spiffe://acme/node/prod".parse().unwrap(),
            instance: Some(instance.to_owned()),
            hosts: Vec::new(),
            begins: WallTime(begins.seconds() * 1_000),
            ends: WallTime(begins.plus(life).seconds() * 1_000),
        };
        let issued = self.authority.issue(csr, &leaf).unwrap().to_vec();
        let ca = self.authority.certificate().to_vec();
        Enrolment {
            mesh: "acme".to_owned(),
            node: "prod".to_owned(),
            chain: vec![issued, ca.clone()],
            roots: vec![ca],
            not_after_ms: leaf.ends.0,
            counter: script.counter,
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn shown<T>(&self, request: &Request<T>) -> Result<Shown, Status> {
        let peer = request.extensions().get::<Peer>().expect("our listener");
        let roots = [self.authority.certificate().clone()];
        certificate::verify(&peer.certificates, &roots, At::Begun(now(&self.clock)))
            .map_err(|error| Status::unauthenticated(error.to_string()))
    }
}

fn read(csr: &[u8]) -> Csr {
    Csr::read(csr).unwrap()
}

fn refused(reason: NotAdmitted) -> Status {
    let mut status = Status::permission_denied(format!("because of {}", reason.as_str()));
    status
        .metadata_mut()
        .insert(METADATA, reason.as_str().parse().unwrap());
    status
}

#[async_trait::async_trait]
impl NodeService for Service {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<Enrolment>, Status> {
        let request = request.into_inner();
        match request.proof {
            Some(Proof::JoinToken(secret)) if secret == SECRET => {}
            Some(Proof::OidcToken(token)) => {
                let mut script = self.script();
                script.oidc.push(token);
                if script.oidc.len() < 3 {
                    return Err(Status::permission_denied("may not enrol node 'prod' yet"));
                }
            }
            _ => return Err(refused(NotAdmitted::UnknownToken)),
        }
        self.issue(&request.instance, &request.csr, None)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Enrolment>, Status> {
        self.shown(&request)?;
        let request = request.into_inner();
        self.issue(&request.instance, &request.csr, Some(request.counter))
    }

    async fn token(&self, request: Request<TokenRequest>) -> Result<Response<Tokens>, Status> {
        self.shown(&request)?;
        if self.script().mute_tokens {
            std::future::pending::<()>().await;
        }
        let mut script = self.script();
        let wanted = request.into_inner().wanted;
        let said = |wanted: &Wanted| match &wanted.kind {
            Some(Kind::Upstream(to) | Kind::Audience(to)) => {
                format!("{} {} {to}", wanted.rule, wanted.identity)
            }
            None => unreachable!("a token is for somebody"),
        };
        script.wanted.push(wanted.iter().map(said).collect());
        if script.no_tokens {
            return Err(Status::unavailable("nothing is minted now"));
        }
        let minted = wanted.iter().map(|wanted| Minted {
            outcome: Some(script.minted(&wanted.rule, now(&self.clock))),
        });
        let minted = minted.collect();
        let generation = script.judged;
        Ok(Response::new(Tokens { minted, generation }))
    }

    type ConnectStream = ReceiverStream<Result<ToNode, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromNode>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let certificate = self.shown(&request)?;
        if certificate.ends <= now(&self.clock) {
            return Err(Status::unauthenticated("the certificate has ended"));
        }
        if let Some(reason) = self.script().refuse_streams {
            return Err(refused(reason));
        }
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.kind);
        let Some(from_node::Kind::Hello(hello)) = first else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (to, outgoing) = mpsc::channel(64);
        let (said, heard) = mpsc::channel(1_024);
        let stream = Stream {
            hello,
            certificate,
            to,
            heard,
            kept: VecDeque::new(),
        };
        self.streams.send(stream).await.expect("the test goes on");
        let tasks = Tasks::new("inbound");
        let own = tasks.clone();
        tasks.spawn("inbound", async move {
            let _own = own;
            while let Ok(Some(message)) = inbound.message().await {
                if said.send(message).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
