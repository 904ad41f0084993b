//! One HTTP/2 connection under TLS to another process of ours, for gRPC over it.
//!
//! A `Channel` is one connection and never opens another: when it breaks, its calls and streams fail, and the owner, who knows how
//! long to wait and which certificate to show, connects again. tonic's own channel would hide both. Pings every 20 s, also while
//! nothing is under way, find a peer that vanished. With the generated client: `Client::with_origin(channel.clone(), channel.origin())`.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::clock::Clock;
use crate::tasks::Tasks;
use crate::tls;

/// How connections are made and watched.
#[derive(Debug, Clone)]
pub struct Config {
    /// For name, TCP, TLS and HTTP/2 together.
    pub connect: Duration,
    /// How often a ping is sent, and how long its answer may take.
    pub keep_alive: Duration,
    /// The time that `connect` is measured in.
    pub clock: Clock,
}

impl Config {
    /// Ten seconds to connect, a ping every twenty.
    pub fn new(clock: &Clock) -> Self {
        Self {
            connect: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            clock: clock.clone(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no `HOST:PORT`.
    #[error("'{0}' is not HOST:PORT")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Somebody answers, and is not who was wanted or does not want us.
    #[error("no TLS connection to {address}")]
    Tls {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// What answers does not speak HTTP/2.
    #[error("no HTTP/2 connection to {address}")]
    Http {
        /// Where.
        address: String,
        /// Why not.
        source: hyper::Error,
    },
    /// The time was over first.
    #[error("{address} did not answer in time")]
    Elapsed {
        /// Where.
        address: String,
    },
}

/// A connection. Clones share it; it ends with its last clone and stream, or with its owner.
#[derive(Debug)]
pub struct Channel<B> {
    requests: http2::SendRequest<B>,
    origin: Uri,
}

impl<B> Clone for Channel<B> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            origin: self.origin.clone(),
        }
    }
}

impl Config {
    /// Connects to `address` (`HOST:PORT`). The connection runs as a task of `tasks` and is cut when that is cancelled.
    pub async fn connect<B>(
        &self,
        address: &str,
        tls: &tls::Client,
        tasks: &Tasks,
    ) -> Result<Channel<B>, Error>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let connected = self
            .clock
            .timeout(self.connect, self.open(address, tls, tasks));
        connected.await.unwrap_or_else(|_| {
            let address = address.to_owned();
            Err(Error::Elapsed { address })
        })
    }

    async fn open<B>(
        &self,
        address: &str,
        tls: &tls::Client,
        tasks: &Tasks,
    ) -> Result<Channel<B>, Error>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (name, origin) = parse(address)?;
        let address = || address.to_owned();
        let stream = TcpStream::connect(address()).await;
        let stream = stream.map_err(|source| Error::Connect {
            address: address(),
            source,
        })?;
        // Small messages must not wait for a delayed ACK. It fails only on a socket that is already gone.
        let _ = stream.set_nodelay(true);
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|source| Error::Tls {
            address: address(),
            source,
        })?;
        let mut builder = http2::Builder::new(Streams(tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .keep_alive_while_idle(true);
        let (requests, connection) =
            builder
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|source| Error::Http {
                    address: address(),
                    source,
                })?;
        let token = tasks.token();
        tasks.spawn("channel", async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                // Calls and streams see the error themselves.
                ended = connection => drop(ended),
            }
        });
        Ok(Channel { requests, origin })
    }
}

fn parse(address: &str) -> Result<(ServerName<'static>, Uri), Error> {
    let wrong = || Error::Address(address.to_owned());
    let origin: Uri = format!("https://{address}").parse().map_err(|_| wrong())?;
    let authority = origin.authority().filter(|it| it.port().is_some());
    let host = authority.ok_or_else(wrong)?.host();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
    Ok((name, origin))
}

impl<B> Channel<B> {
    /// What requests on it are addressed to: `https://HOST:PORT`.
    pub fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// Whether it is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

impl<B> Service<Request<B>> for Channel<B>
where
    B: Body + Send + 'static,
{
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.requests.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}

/// HTTP/2 runs the bodies of requests as tasks; they too have an owner.
#[derive(Clone)]
struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("channel-stream", future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener;
    use axum::Router;
    use axum::routing::get;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use std::net::SocketAddr;

    type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

    fn self_signed() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        (vec![made.cert.der().clone()], key.into())
    }

    fn copy((chain, key): &Pair) -> Pair {
        (chain.clone(), key.clone_key())
    }

    fn only(leaf: CertificateDer<'static>) -> tls::Judge {
        Arc::new(move |chain| {
            let known = chain.first() == Some(&leaf);
            known
                .then_some(())
                .ok_or_else(|| "not the one I know".to_owned())
        })
    }

    async fn server(live: &tls::Live, known: &Pair, tasks: &Tasks) -> SocketAddr {
        let leaf = known.0[0].clone();
        let mut config = listener::Config::new(([127, 0, 0, 1], 0).into());
        config.tls = Some(live.server(Some(Arc::new(move |chain| chain[0] == leaf))));
        let bound = listener::bind(config).await.unwrap();
        let addr = bound.local_addr();
        let count = |request: axum::extract::Request| async move {
            let peer = request.extensions().get::<listener::Peer>().unwrap();
            format!("{} {:?}", peer.certificates.len(), request.version())
        };
        bound.serve(Router::new().route("/", get(count)), tasks);
        addr
    }

    async fn shown(channel: &mut Channel<Full<Bytes>>) -> String {
        let request = Request::get(channel.origin())
            .body(Full::default())
            .unwrap();
        let answer = channel.call(request).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_channel_shows_its_certificate_and_believes_its_judge_alone() {
        let (tasks, clock) = (Tasks::new("test"), Clock::system());
        let (own, known) = (self_signed(), self_signed());
        let (chain, key) = copy(&own);
        let live = tls::Live::new(chain, key).unwrap();
        let address = server(&live, &known, &tasks).await.to_string();
        let config = Config::new(&clock);
        let judge = only(own.0[0].clone());

        let client = tls::Client::new(Arc::clone(&judge), Some(copy(&known))).unwrap();
        let mut channel = config.connect(&address, &client, &tasks).await.unwrap();
        assert_eq!(shown(&mut channel).await, "1 HTTP/2.0");
        let stranger = tls::Client::new(Arc::clone(&judge), None).unwrap();
        let mut nobody = config.connect(&address, &stranger, &tasks).await.unwrap();
        assert_eq!(shown(&mut nobody).await, "0 HTTP/2.0");

        let (chain, key) = self_signed();
        live.swap(chain, key).unwrap();
        let refused = config
            .connect::<Full<Bytes>>(&address, &client, &tasks)
            .await;
        let Err(Error::Tls { source, .. }) = refused else {
            unreachable!("another certificate was believed")
        };
        assert!(
            source.to_string().contains("not the one I know"),
            "{source}"
        );
        assert_eq!(
            shown(&mut channel).await,
            "1 HTTP/2.0",
            "what stands, stands"
        );
    }

    #[tokio::test]
    async fn a_channel_ends_with_its_owner_and_a_wrong_pair_is_refused() {
        let (tasks, clock) = (Tasks::new("test"), Clock::system());
        let own = self_signed();
        let (chain, key) = copy(&own);
        let live = tls::Live::new(chain, key).unwrap();
        let address = server(&live, &own, &tasks).await.to_string();
        let client = tls::Client::new(only(own.0[0].clone()), None).unwrap();
        let owner = Tasks::new("owner");
        let mut channel: Channel<Full<Bytes>> = Config::new(&clock)
            .connect(&address, &client, &owner)
            .await
            .unwrap();
        assert!(!channel.is_closed());
        assert!(owner.drain(Duration::from_secs(5)).await);
        let request = Request::get(channel.origin())
            .body(Full::default())
            .unwrap();
        assert!(channel.call(request).await.is_err());
        assert!(live.swap(own.0.clone(), self_signed().1).is_err());
    }

    #[tokio::test]
    async fn a_silent_server_and_a_wrong_address_are_told_apart() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let (tasks, mut config) = (Tasks::new("test"), Config::new(&Clock::system()));
        config.connect = Duration::from_millis(50);
        let client = tls::Client::new(only(self_signed().0[0].clone()), None).unwrap();
        let silent = config
            .connect::<Full<Bytes>>(&address, &client, &tasks)
            .await;
        assert!(matches!(silent, Err(Error::Elapsed { .. })));
        for wrong in ["", "host", "a b:1", "https://x:1"] {
            let wrong = config.connect::<Full<Bytes>>(wrong, &client, &tasks).await;
            assert!(matches!(wrong, Err(Error::Address(_))));
        }
    }
}
