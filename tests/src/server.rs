//! HTTP/1.1 over raw TCP, by hand, because a library would refuse to lie about lengths and ends.
//!
//! A [`Serve`] turns a request into an [`Answer`]; how the answer goes out (framing, pace, gates, cuts) is in its [`Delivery`].
//! Every request is in the [`Record`] before it is answered. The server can go away and come back on the same port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use runtime::Tasks;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub mod answer;
pub mod record;
pub mod request;
mod stream;

pub use answer::{Answer, Cut, Delivery, Framing};
pub use record::{Record, Recorded};
pub use request::Request;
use stream::Stream;

/// What answers the requests of a [`Server`].
pub trait Serve: Send + Sync + 'static {
    /// Decides at once; waiting is the delivery's job.
    fn answer(&self, request: &Request) -> Answer;

    /// For whoever must ask somebody else before it can answer.
    fn answer_later<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Answer> {
        Box::pin(std::future::ready(self.answer(request)))
    }
}

/// Where a [`Server`] listens, and whether by TLS.
#[derive(Clone)]
pub struct At {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl At {
    /// A free port of 127.0.0.1, plain.
    pub fn loopback() -> Self {
        Self::address(([127, 0, 0, 1], 0).into())
    }

    /// Exactly there, plain.
    pub fn address(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// The same place by TLS.
    pub fn tls(self, acceptor: TlsAcceptor) -> Self {
        Self {
            tls: Some(acceptor),
            ..self
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

/// A listener on a port of 127.0.0.1 that stays the same while the server comes and goes. Dropped, it leaves nothing.
pub struct Server {
    at: At,
    serve: Arc<dyn Serve>,
    record: Record,
    tasks: Tasks,
    running: Mutex<Option<Tasks>>,
}

impl Server {
    /// Listens on a free port.
    pub async fn start(name: &str, serve: Arc<dyn Serve>) -> Self {
        Self::start_at(name, At::loopback(), serve).await
    }

    /// Listens there.
    pub async fn start_at(name: &str, mut at: At, serve: Arc<dyn Serve>) -> Self {
        let listener = TcpListener::bind(at.address).await;
        let listener = listener.unwrap_or_else(|error| panic!("{name}: {}: {error}", at.address));
        at.address = listener.local_addr().unwrap();
        let server = Self {
            at,
            serve,
            record: Record::new(),
            tasks: Tasks::new(name),
            running: Mutex::new(None),
        };
        server.run(listener);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.at.address
    }

    /// Scheme and address.
    pub fn url(&self) -> String {
        format!("{}://{}", self.at.scheme(), self.at.address)
    }

    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Goes away: connections are cut, new ones refused.
    pub async fn stop(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(tasks) = running {
            tasks.drain(Duration::ZERO).await;
        }
    }

    /// Comes back on the same port.
    pub async fn resume(&self) {
        self.stop().await;
        let listener = TcpListener::bind(self.at.address).await.unwrap();
        self.run(listener);
    }

    fn run(&self, listener: TcpListener) {
        let tasks = self.tasks.child("listen");
        *self.running.lock().unwrap() = Some(tasks.clone());
        let (serve, record) = (Arc::clone(&self.serve), self.record.clone());
        let tls = self.at.tls.clone();
        // The loop holds its owner weakly by holding a child of it: dropping the server aborts both.
        let connections = tasks.clone();
        tasks.spawn("accept", async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    continue;
                };
                let (serve, record, tls) = (Arc::clone(&serve), record.clone(), tls.clone());
                connections.spawn("connection", async move {
                    // A client that hangs up is not the rig's concern: the record says how far it got.
                    let _ = connection(stream, tls, peer, &*serve, &record).await;
                });
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: SocketAddr,
    serve: &dyn Serve,
    record: &Record,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = match tls {
        Some(tls) => Stream::Tls(Box::new(tls.accept(stream).await?)),
        None => Stream::Plain(stream),
    };
    let mut stream = BufReader::new(stream);
    while let Some(request) = request::read(&mut stream, peer).await? {
        let recorded = record.begin(&request);
        let answer = serve.answer_later(&request).await;
        recorded.answered(answer.status);
        let head_only = request.method == "HEAD";
        let last = answer::write(stream.get_mut(), answer, head_only, &recorded).await?;
        recorded.finished();
        if last || request.asks_to_close() {
            break;
        }
    }
    Ok(())
}
