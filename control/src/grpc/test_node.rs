//! For tests: a node of the generated stubs, which holds a certificate and nothing else.
//!
//! It stands at the other end of the rim and, like the rim, knows gRPC; `test_mesh` has the control plane that it calls.

use std::sync::Arc;

use identity::certificate::{At, Key, Pin, SpiffeId, verify};
use runtime::{Clock, Tasks, channel, tls};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::{
    join_token::JoinToken,
    name::NodeName,
    node_service::{
        EnrolRequest, Enrolment, FromNode, Hello, MAX_MESSAGE, RenewRequest, enrol_request::Proof,
        from_node, node_service_client::NodeServiceClient,
    },
    time::WallTime,
};

use crate::test_mesh::Control;

mod line;

pub(crate) use line::Line;

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
