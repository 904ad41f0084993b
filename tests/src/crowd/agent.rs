//! One light node: joins with a token, then keeps a stream, with a node's own pauses after each loss.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use identity::certificate::{At, Key, Pin, verify};
use runtime::{channel, tls};
use rustls_pki_types::CertificateDer;
use tonic::body::Body;
use wire::generation::Generation;
use wire::join_token::JoinToken;
use wire::name::{MeshName, NodeName};
use wire::node_service::enrol_request::Proof;
use wire::node_service::node_service_client::NodeServiceClient;
use wire::node_service::{EnrolRequest, MAX_MESSAGE};
use wire::time::WallTime;

use super::Shared;
use crate::Chance;

mod stream;

use stream::Lost;

/// A stream that stood for so long begins the pauses anew, as in `node::agent`.
const STABLE: Duration = Duration::from_secs(10);

type Client = NodeServiceClient<channel::Channel<Body>>;

pub(super) struct Member {
    index: usize,
    mesh: MeshName,
    node: NodeName,
    instance: String,
    address: String,
    key: Key,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    held: Held,
    reports: u64,
}

/// What is in force here.
struct Held {
    generation: Generation,
    document: Option<String>,
    digest: String,
}

impl Member {
    /// Enrols with a token.
    pub(super) async fn join(index: usize, token: &str, shared: &Shared) -> Result<Self> {
        let parsed: JoinToken = token.parse()?;
        let pin: Pin = parsed.pin.parse()?;
        let now = WallTime(shared.clock.wall_ms());
        let judge: tls::Judge = Arc::new(move |chain| {
            let root = pin.find(chain).ok_or("no CA of that pin")?.clone();
            believed(chain, &[root], now)
        });
        let mut client = open(&parsed.address, tls::Client::new(judge, None)?, shared).await?;
        let (key, instance) = (Key::generate()?, uuid::Uuid::now_v7().to_string());
        let request = EnrolRequest {
            proof: Some(Proof::JoinToken(token.to_owned())),
            node: parsed.node.to_string(),
            instance: instance.clone(),
            csr: key.request(parsed.node.as_str())?,
        };
        let enrolment = client.enrol(request).await?.into_inner();
        let certificates =
            |list: Vec<Vec<u8>>| list.into_iter().map(CertificateDer::from).collect();
        Ok(Self {
            index,
            mesh: enrolment.mesh.parse()?,
            node: parsed.node,
            instance,
            address: parsed.address,
            key,
            chain: certificates(enrolment.chain),
            roots: certificates(enrolment.roots),
            held: Held {
                generation: Generation(0),
                document: None,
                digest: String::new(),
            },
            reports: 0,
        })
    }

    /// Keeps a stream, for ever.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let mut chance = Chance::new(self.index as u64);
        let mut attempt = 0;
        loop {
            let Lost { stood, why } = self.stream(&shared).await;
            shared.tally.lose(self.index, why);
            if stood >= STABLE {
                attempt = 0;
            }
            let random = chance.below(1 << 32) as f64 / (1_u64 << 32) as f64;
            let pause = shared.config.backoff.delay(attempt, random);
            attempt += 1;
            shared.clock.sleep(pause).await;
        }
    }

    /// A connection under its certificate.
    async fn client(&self, shared: &Shared) -> Result<Client> {
        let (roots, now) = (self.roots.clone(), WallTime(shared.clock.wall_ms()));
        let judge: tls::Judge = Arc::new(move |chain| believed(chain, &roots, now));
        let own = (self.chain.clone(), self.key.to_der());
        open(&self.address, tls::Client::new(judge, Some(own))?, shared).await
    }
}

async fn open(address: &str, tls: tls::Client, shared: &Shared) -> Result<Client> {
    let config = channel::Config::new(&shared.clock);
    let channel = config.connect(address, &tls, &shared.tasks).await;
    let channel = channel.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        anyhow!("{error}: {}", cause.unwrap_or_default())
    })?;
    let origin = channel.origin();
    Ok(NodeServiceClient::with_origin(channel, origin).max_decoding_message_size(MAX_MESSAGE))
}

fn believed(
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    now: WallTime,
) -> Result<(), String> {
    let shown = verify(chain, roots, At::Valid(now)).map_err(|error| error.to_string())?;
    let control = shown.id.is_control().then_some(());
    control
        .context("no control plane")
        .map_err(|error| error.to_string())
}
