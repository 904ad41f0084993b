//! One connection from its handshake to its end.
//!
//! The loop polls hyper, then looks at the pulse: whatever happened, the deadline that follows from it is armed in the same turn. An
//! idle connection and a draining owner end in a goodbye (`Connection: close`, GOAWAY), every other deadline in a cut, because a
//! client that does not read would not read a goodbye either.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt};

use super::body::Tracked;
use super::io_watch::Watched;
use super::pulse::{Cause, Pulse};
use super::{BoxError, Config, Counts, Peer, ambiguity};
use crate::tasks::Tasks;
use crate::tls;

/// HTTP/2 as measured in `reference/dependencies.md` 4.1; the number of streams bounds what one client can make us buffer.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const FRAME: u32 = 256 << 10;
const SEND_BUFFER: usize = 1 << 20;
const STREAMS: u32 = 128;
/// Finds HTTP/2 peers that vanished in the middle of a request.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// The most that is read or written at once over HTTP/1.1; headers are measured separately.
const BUFFER: usize = 64 << 10;

pub(super) struct Connection {
    pub(super) config: Arc<Config>,
    pub(super) counts: Arc<Counts>,
    pub(super) tasks: Tasks,
    pub(super) address: SocketAddr,
    pub(super) number: u64,
}

type Answer<B> = Response<Either<Tracked<B>, Full<Bytes>>>;

impl Connection {
    pub(super) async fn serve<S, B>(self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let pulse = Pulse::new(&self.config.clock);
        let Some(server) = self.config.tls.clone() else {
            let peer = self.peer(Arc::default(), false);
            return self
                .drive(Watched::both(stream, &pulse), &pulse, peer, service)
                .await;
        };
        match self
            .shake_hands(&server, Watched::writes(stream, &pulse))
            .await
        {
            Some(stream) => {
                let peer = self.peer(known_chain(&server, &stream), true);
                self.drive(Watched::reads(stream, &pulse), &pulse, peer, service)
                    .await;
            }
            None => tracing::debug!(client = %self.address, "no TLS handshake"),
        }
    }

    fn peer(&self, certificates: Arc<[CertificateDer<'static>]>, tls: bool) -> Peer {
        Peer {
            address: self.address,
            certificates,
            connection: self.number,
            tls,
        }
    }

    async fn shake_hands(
        &self,
        server: &tls::Server,
        stream: Watched<TcpStream>,
    ) -> Option<TlsStream<Watched<TcpStream>>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&server.config));
        let handshake = acceptor.accept_with(stream, |session| {
            session.set_buffer_limit(Some(tls::BUFFER_LIMIT))
        });
        let in_time = self
            .config
            .clock
            .timeout(self.config.first_byte_deadline, handshake);
        tokio::select! {
            biased;
            () = self.tasks.token().cancelled_owned() => None,
            done = in_time => match done {
                Ok(stream) => stream.ok(),
                Err(_) => {
                    self.counts.cut.fetch_add(1, Ordering::Relaxed);
                    None
                }
            }
        }
    }

    async fn drive<I, S, B>(self, stream: I, pulse: &Pulse, peer: Peer, service: S)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let requests = Requests {
            peer,
            pulse: pulse.clone(),
            counts: Arc::clone(&self.counts),
            max_header_bytes: self.config.max_header_bytes,
        };
        let service = service_fn(move |request| requests.clone().answer(request, service.clone()));
        let builder = builder(&self.config, self.tasks.clone());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut asked_to_end = pin!(self.tasks.token().cancelled_owned());
        let mut timer: Option<Timer> = None;
        let mut closing = false;
        let cut = poll_fn(|cx| {
            loop {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                let due = pulse.due(&self.config);
                let now = self.config.clock.now();
                let overdue = due.filter(|(at, _)| *at <= now).map(|(_, cause)| cause);
                let goodbye = !closing
                    && (overdue == Some(Cause::Idle) || asked_to_end.as_mut().poll(cx).is_ready());
                if goodbye {
                    closing = true;
                    pulse.closing();
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                if let Some(cause) = overdue {
                    return Poll::Ready(Some(cause));
                }
                let Some((at, _)) = due else {
                    timer = None;
                    return Poll::Pending;
                };
                if timer.as_ref().is_none_or(|timer| timer.at > at) {
                    timer = Some(Timer::new(&self.config, at, at - now));
                }
                if !timer
                    .as_mut()
                    .is_some_and(|timer| timer.sleep.as_mut().poll(cx).is_ready())
                {
                    return Poll::Pending;
                }
                timer = None;
            }
        })
        .await;
        if let Some(cause) = cut.filter(|cause| *cause != Cause::Closing) {
            self.counts.cut.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(client = %self.address, ?cause, "connection cut");
        }
    }
}

/// A sleep and its end. It may end before the deadline that counts by now, never after it.
struct Timer {
    at: Instant,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timer {
    fn new(config: &Config, at: Instant, remaining: Duration) -> Self {
        let clock = config.clock.clone();
        let sleep = Box::pin(async move { clock.sleep(remaining).await });
        Self { at, sleep }
    }
}

fn known_chain(
    server: &tls::Server,
    stream: &TlsStream<Watched<TcpStream>>,
) -> Arc<[CertificateDer<'static>]> {
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let known = !shown.is_empty() && server.trust.as_ref().is_some_and(|trust| trust(shown));
    if known {
        Arc::from(shown)
    } else {
        Arc::default()
    }
}

fn builder(config: &Config, tasks: Tasks) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(BUFFER.max(2 * config.max_header_bytes));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    builder
}

/// HTTP/2 runs each stream as a task; it too has the listener's owner.
#[derive(Clone)]
struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("stream", future);
    }
}

/// What every request of a connection gets.
#[derive(Clone)]
struct Requests {
    peer: Peer,
    pulse: Pulse,
    counts: Arc<Counts>,
    max_header_bytes: usize,
}

impl Requests {
    async fn answer<S, B>(
        self,
        request: Request<Incoming>,
        service: S,
    ) -> Result<Answer<B>, BoxError>
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<BoxError>,
    {
        let in_flight = self.pulse.request(request.version() == Version::HTTP_2);
        let (mut parts, body) = request.into_parts();
        if let Some((status, reason)) = ambiguity::refusal(&parts, self.max_header_bytes) {
            self.counts.ambiguous.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(client = %self.peer.address, reason, "request refused");
            return Ok(refuse(status, reason, parts.version).map(Either::Right));
        }
        parts.extensions.insert(self.peer);
        let answer = service.oneshot(Request::from_parts(parts, body)).await;
        let answer = answer.map_err(Into::into)?;
        Ok(answer.map(|body| Either::Left(Tracked::new(body, in_flight))))
    }
}

fn refuse(status: StatusCode, reason: &'static str, version: Version) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(reason.as_bytes())));
    *response.status_mut() = status;
    if version != Version::HTTP_2 {
        // What follows on this connection may be the other reading of the same bytes.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
