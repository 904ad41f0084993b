//! For tests: a control plane over memory on loopback, and nodes of the generated stubs that hold a certificate and nothing else.

use std::{sync::Arc, time::Duration};

use identity::certificate::{At, Key, Pin, SpiffeId, verify};
use runtime::{Clock, Tasks, channel, tls};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::{
    api::{
        resource::{Apply, File},
        slice::Envelope,
    },
    generation::Generation,
    join_token::JoinToken,
    name::NodeName,
    node_service::{
        Ack, EnrolRequest, Enrolment, FromNode, Hello, MAX_MESSAGE, Nack, RenewRequest, Slice,
        ToNode, Welcome, enrol_request::Proof, from_node, node_service_client::NodeServiceClient,
        to_node,
    },
    time::WallTime,
};

use crate::{
    ca::{self, Ca, Signer},
    distribute::{self, Distribute, Rhythm},
    enrol::Enrol,
    grpc,
    publish::Publisher,
    seal::Seal,
    state::{State, memory::Memory},
};

pub(crate) const WHO: &str = "admin-token";
const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Control {
    pub(crate) clock: Clock,
    pub(crate) state: Arc<dyn State>,
    pub(crate) tasks: Tasks,
    pub(crate) publisher: Publisher,
    pub(crate) enrol: Arc<Enrol>,
    pub(crate) distribute: Distribute,
    pub(crate) ca: Arc<Ca>,
    pub(crate) address: String,
    seal: Arc<Seal>,
    rhythm: Rhythm,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Control {
    pub(crate) async fn new() -> Self {
        Self::with(
            Clock::system(),
            Rhythm {
                heartbeat: Duration::from_secs(2),
                report: Duration::from_secs(2),
            },
        )
        .await
    }

    pub(crate) async fn with(clock: Clock, rhythm: Rhythm) -> Self {
        tls::install_crypto();
        let state = Arc::new(Memory::new(clock.clone()));
        Self::over(state, Arc::new(Seal::generate().unwrap()), clock, rhythm).await
    }

    /// Another control plane over the same state.
    pub(crate) async fn beside(&self) -> Self {
        let (state, seal) = (Arc::clone(&self.state), Arc::clone(&self.seal));
        Self::over(state, seal, self.clock.clone(), self.rhythm).await
    }

    pub(crate) async fn over(
        state: Arc<dyn State>,
        seal: Arc<Seal>,
        clock: Clock,
        rhythm: Rhythm,
    ) -> Self {
        let tasks = Tasks::new("control");
        let ca = Ca::open(
            Arc::clone(&state),
            Arc::clone(&seal),
            clock.clone(),
            ca::Config::default(),
        )
        .await
        .unwrap();
        let ca = Arc::new(ca);
        let publisher = Publisher::build(Arc::clone(&state), clock.clone(), &tasks)
            .await
            .unwrap();
        let signer =
            Arc::new(Signer::new(Arc::clone(&ca), None, WallTime(clock.wall_ms())).unwrap());
        // Its deadlines are the machine's, so that a test may move the other clock.
        let bound = grpc::bind(([127, 0, 0, 1], 0).into(), &ca, &signer, &clock)
            .await
            .unwrap();
        let address = bound.local_addr().to_string();
        let enrol = Enrol::build(
            publisher.clone(),
            Arc::clone(&state),
            Arc::clone(&ca),
            clock.clone(),
            address.clone(),
        );
        let enrol = Arc::new(enrol.await.unwrap());
        let config = distribute::Config {
            rhythm,
            publisher: publisher.clone(),
            enrol: Arc::clone(&enrol),
            signer,
            state: Arc::clone(&state),
        };
        let distribute = config.build(clock.clone(), &tasks).await.unwrap();
        bound.serve(
            grpc::service(Arc::clone(&enrol), distribute.clone(), clock.clone()),
            &tasks,
        );
        Self {
            clock,
            state,
            tasks,
            publisher,
            enrol,
            distribute,
            ca,
            address,
            seal,
            rhythm,
        }
    }

    /// Applies a topology of these nodes, with something in it that `text` changes.
    pub(crate) async fn apply(&self, nodes: &[&str], text: &str) -> Generation {
        let nodes: String = nodes
            .iter()
            .enumerate()
            .map(|(n, name)| {
                format!(
                    "  {name}: {{endpoint: 'http://127.0.0.1:{}', labels: {{text: '{text}'}}}}\n",
                    5000 + n
                )
            })
            .collect();
        let apply = Apply {
            files: vec![File {
                name: "t.yaml".into(),
                text: format!("version: 1\nmesh: acme\nnodes:\n{nodes}"),
            }],
            dry_run: false,
            prune: true,
        };
        self.publisher
            .apply(&apply, WHO, None)
            .await
            .unwrap()
            .generation
    }

    pub(crate) async fn token(&self, node: &str, uses: u32) -> String {
        let node = node.parse().unwrap();
        self.enrol
            .join_token(&node, Duration::ZERO, uses, WHO)
            .await
            .unwrap()
            .token
    }

    /// A node that has joined by the network.
    pub(crate) async fn joined(&self, node: &str) -> Node {
        let token = self.token(node, 1).await;
        Node::join(self, &token, node).await.unwrap()
    }

    pub(crate) async fn events(&self, kind: &str) -> Vec<String> {
        let part = crate::state::Part {
            limit: 10_000,
            ..Default::default()
        };
        let events = self.state.events(part).await.unwrap();
        events
            .into_iter()
            .filter(|event| event.kind == kind)
            .map(|event| event.text)
            .collect()
    }

    pub(crate) async fn refusals(&self) -> Vec<String> {
        let part = crate::state::Part {
            limit: 10_000,
            ..Default::default()
        };
        let audit = self.state.audit(part).await.unwrap();
        audit
            .into_iter()
            .filter_map(|entry| entry.refused)
            .collect()
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    for _ in 0..4_000 {
        if so().await {
            return;
        }
        clock.sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// What a node keeps.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) instance: String,
    pub(crate) key: Key,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) counter: u64,
    pub(crate) tasks: Tasks,
}

type Client = NodeServiceClient<channel::Channel<tonic::body::Body>>;

async fn client(address: &str, tls: tls::Client, tasks: &Tasks) -> Result<Client, channel::Error> {
    let channel = channel::Config::new(&Clock::system())
        .connect(address, &tls, tasks)
        .await?;
    let origin = channel.origin();
    Ok(NodeServiceClient::with_origin(channel, origin).max_decoding_message_size(MAX_MESSAGE))
}

/// A client that knows a pin and nothing else.
async fn stranger(address: &str, pin: Pin, tasks: &Tasks) -> Client {
    let judge: tls::Judge = Arc::new(move |chain| {
        let root = pin.find(chain).ok_or("no CA of that pin")?.clone();
        let shown = verify(
            chain,
            &[root],
            At::Valid(WallTime(Clock::system().wall_ms())),
        );
        let shown = shown.map_err(|error| error.to_string())?;
        shown
            .id
            .is_control()
            .then_some(())
            .ok_or_else(|| "no control plane".to_owned())
    });
    client(address, tls::Client::new(judge, None).unwrap(), tasks)
        .await
        .unwrap()
}

impl Node {
    pub(crate) async fn join(control: &Control, token: &str, node: &str) -> Result<Self, Status> {
        let tasks = Tasks::new("node");
        let parsed: JoinToken = token.parse().unwrap();
        let mut client = stranger(&control.address, parsed.pin.parse().unwrap(), &tasks).await;
        let (key, instance) = (Key::generate().unwrap(), uuid::Uuid::now_v7().to_string());
        let request = EnrolRequest {
            proof: Some(Proof::JoinToken(token.to_owned())),
            node: node.to_owned(),
            instance: instance.clone(),
            csr: key.request(node).unwrap(),
        };
        let enrolment = client.enrol(request).await?.into_inner();
        let mut node = Self {
            name: node.parse().unwrap(),
            instance,
            key,
            chain: Vec::new(),
            roots: Vec::new(),
            counter: 0,
            tasks,
        };
        node.take(enrolment);
        Ok(node)
    }

    pub(crate) fn take(&mut self, enrolment: Enrolment) {
        self.chain = enrolment
            .chain
            .into_iter()
            .map(CertificateDer::from)
            .collect();
        self.roots = enrolment
            .roots
            .into_iter()
            .map(CertificateDer::from)
            .collect();
        self.counter = enrolment.counter;
    }

    pub(crate) async fn client(&self, address: &str) -> Client {
        let roots = self.roots.clone();
        let judge: tls::Judge = Arc::new(move |chain| {
            let now = At::Valid(WallTime(Clock::system().wall_ms()));
            let shown = verify(chain, &roots, now).map_err(|error| error.to_string())?;
            matches!(shown.id, SpiffeId::Control { .. })
                .then_some(())
                .ok_or_else(|| "no control plane".to_owned())
        });
        let own = (self.chain.clone(), self.key.to_der());
        client(
            address,
            tls::Client::new(judge, Some(own)).unwrap(),
            &self.tasks,
        )
        .await
        .unwrap()
    }

    pub(crate) async fn renew(&mut self, address: &str) -> Result<(), Status> {
        let key = Key::generate().unwrap();
        let request = RenewRequest {
            instance: self.instance.clone(),
            csr: key.request("x").unwrap(),
            counter: self.counter,
        };
        let enrolment = self
            .client(address)
            .await
            .renew(request)
            .await?
            .into_inner();
        self.key = key;
        self.take(enrolment);
        Ok(())
    }

    /// A stream that begins with a generation in force.
    pub(crate) async fn connect(
        &self,
        address: &str,
        generation: u64,
        document: &str,
    ) -> Result<Line, Status> {
        let hello = Hello {
            instance: self.instance.clone(),
            version: "test".into(),
            generation,
            document_digest: if generation == 0 {
                Vec::new()
            } else {
                hex::decode(identity::certificate::document_digest(document)).unwrap()
            },
            now_ms: Clock::system().wall_ms(),
        };
        self.connect_with(address, hello).await
    }

    pub(crate) async fn connect_with(&self, address: &str, hello: Hello) -> Result<Line, Status> {
        let (out, receiver) = mpsc::channel(64);
        out.try_send(FromNode {
            kind: Some(from_node::Kind::Hello(hello)),
        })
        .unwrap();
        let mut client = self.client(address).await;
        let inc = client
            .connect(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        Ok(Line {
            out,
            inc,
            node: self.name.clone(),
            roots: self.roots.clone(),
        })
    }
}

/// An open stream, seen from its node.
pub(crate) struct Line {
    pub(crate) out: mpsc::Sender<FromNode>,
    inc: Streaming<ToNode>,
    node: NodeName,
    roots: Vec<CertificateDer<'static>>,
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
        let document = identity::certificate::open(&envelope, &self.node, held, &self.roots, now)
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
