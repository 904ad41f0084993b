//! Our own accept loop: HTTP/1.1 and HTTP/2, with or without TLS, over any tower service.
//!
//! It exists because `axum::serve` gives a silent client for ever (`reference/faults.md` 8.5-8.6): here every connection has a
//! deadline for its first byte, its headers, its idleness and its reading of what we write, and there is a cap on connections in all
//! and per address. A transfer that moves has no limit. Requests whose target is ambiguous are refused before the service sees them
//! (`ambiguity`). How long a request's body may take to arrive is the service's affair: only it knows what it waits for.
//!
//! Draining is `Tasks::drain` on the owner: no more accepts, idle connections close, requests in flight finish, the rest is cut at
//! the deadline.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use crate::clock::Clock;
use crate::tasks::Tasks;
use crate::tls;

mod admission;
mod ambiguity;
mod body;
mod connection;
mod io_watch;
mod pulse;

use admission::Admission;
use connection::Connection;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Where to listen and what one client may cost.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// TLS, or plain text without.
    pub tls: Option<tls::Server>,
    /// Connections in all; more are closed as they come.
    pub max_connections: usize,
    /// Connections of one IPv4 address or IPv6 /64.
    pub max_per_address: usize,
    /// From accept to the first byte of a request, a TLS handshake included.
    pub first_byte_deadline: Duration,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    pub keep_alive: Duration,
    /// How long a client may not read a single byte of what we want to write.
    pub write_stall: Duration,
    /// All of a request's headers together.
    pub max_header_bytes: usize,
    /// The time these deadlines are measured in.
    pub clock: Clock,
}

impl Config {
    /// The defaults of a node on `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            tls: None,
            max_connections: 8_192,
            max_per_address: 2_048,
            first_byte_deadline: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write_stall: Duration::from_secs(60),
            max_header_bytes: 32 << 10,
            clock: Clock::system(),
        }
    }
}

/// Who is at the other end; an extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address; an IPv4 client of an IPv6 socket shows as IPv4.
    pub address: SocketAddr,
    /// The client's chain, the leaf first, when `tls::Config::trust` knows it; else empty.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Tells connections of this listener apart.
    pub connection: u64,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What a listener has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    ambiguous: AtomicU64,
}

impl Counts {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections served or being served.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed on arrival because of a cap.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections cut at one of their deadlines.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Requests answered 400 or 431 before the service saw them.
    pub fn ambiguous(&self) -> u64 {
        self.ambiguous.load(Ordering::Relaxed)
    }
}

/// A socket that listens and is not yet served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local_addr: SocketAddr,
    config: Config,
    counts: Arc<Counts>,
}

/// Opens the socket. Clients may connect from now on and wait for [`Bound::serve`].
pub async fn bind(config: Config) -> io::Result<Bound> {
    let listener = TcpListener::bind(config.addr).await?;
    Ok(Bound {
        local_addr: listener.local_addr()?,
        listener,
        config,
        counts: Arc::default(),
    })
}

impl Bound {
    /// The address, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counts, which live on beside the running listener.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Starts serving as tasks of `tasks`; ends when that is cancelled.
    pub fn serve<S, B>(self, service: S, tasks: &Tasks)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let owner = tasks.clone();
        tasks.spawn("listen", self.accept_all(service, owner));
    }

    async fn accept_all<S, B>(self, service: S, tasks: Tasks)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let token = tasks.token();
        let admission = Admission::new(self.config.max_connections, self.config.max_per_address);
        let config = Arc::new(self.config);
        let mut connections = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = token.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error, &config.clock).await;
                    continue;
                }
            };
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let Some(place) = admission.admit(address.ip(), &self.counts) else {
                continue;
            };
            connections += 1;
            prepare(&stream);
            let connection = Connection {
                config: Arc::clone(&config),
                counts: Arc::clone(&self.counts),
                tasks: tasks.clone(),
                address,
                number: connections,
            };
            let service = service.clone();
            tasks.spawn("connection", async move {
                let _place = place;
                connection.serve(stream, service).await;
            });
        }
    }
}

fn prepare(stream: &TcpStream) {
    // Without it small answers wait for the client's delayed ACK. It fails only on a socket that is already gone.
    let _ = stream.set_nodelay(true);
}

/// A connection that broke before we took it costs nothing; out of descriptors or memory, only time helps.
async fn pause_after(error: &io::Error, clock: &Clock) {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    if matches!(
        kind,
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted
    ) {
        return;
    }
    tracing::warn!(
        error = error as &dyn StdError,
        "cannot accept connections; trying again shortly"
    );
    clock.sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests;
