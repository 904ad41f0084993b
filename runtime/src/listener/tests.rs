//! The listener over real sockets: what it closes, what it lets through, how it ends.
//!
//! Deadlines run on a manual clock where nothing but the clock decides; a client sees the result as the end of its stream.

use super::*;
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::Request as AxumRequest;
use axum::routing::get;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(30);

struct Rig {
    addr: SocketAddr,
    clock: Clock,
    counts: Arc<Counts>,
    tasks: Tasks,
}

async fn rig(router: Router, change: impl FnOnce(&mut Config)) -> Rig {
    let clock = Clock::manual(0);
    let mut config = Config::new(([127, 0, 0, 1], 0).into());
    config.clock = clock.clone();
    change(&mut config);
    let bound = bind(config).await.unwrap();
    let (addr, counts) = (bound.local_addr(), bound.counts());
    let tasks = Tasks::new("test");
    bound.serve(router, &tasks);
    Rig {
        addr,
        clock,
        counts,
        tasks,
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

impl Rig {
    async fn connect(&self) -> TcpStream {
        let before = self.counts.accepted() + self.counts.refused();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        eventually(|| self.counts.accepted() + self.counts.refused() > before).await;
        stream
    }

    /// Moves the clock until the server closes the stream; returns how far it moved. That is never less than the deadline, and
    /// on a busy machine more, because the clock goes on while the server is slow to look at it.
    async fn closed_after(&self, stream: &mut TcpStream) -> Duration {
        let (step, limit) = (Duration::from_secs(1), Duration::from_secs(1_000));
        let mut moved = Duration::ZERO;
        loop {
            let mut rest = [0; 1024];
            match tokio::time::timeout(Duration::from_millis(20), stream.read(&mut rest)).await {
                Ok(Ok(0) | Err(_)) => return moved,
                Ok(Ok(_)) => {}
                Err(_) => {
                    assert!(moved < limit, "still open after {moved:?}");
                    self.clock.advance(step);
                    moved += step;
                }
            }
        }
    }
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    unreachable!("the condition never came true");
}

async fn all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(LONG, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    text
}

async fn some(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let count = tokio::time::timeout(LONG, stream.read(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_and_knows_its_peer() {
    let router = Router::new().route(
        "/",
        get(|request: AxumRequest| async move {
            let peer = request.extensions().get::<Peer>().unwrap();
            format!("{} {} {}", peer.address, peer.connection, peer.tls)
        }),
    );
    let rig = rig(router, |_| {}).await;
    let mut stream = rig.connect().await;
    stream.write_all(GET_AND_CLOSE).await.unwrap();
    let answer = all(&mut stream).await;
    let expected = format!("\r\n\r\n{} 1 false", stream.local_addr().unwrap());
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(&expected),
        "{answer}"
    );
    eventually(|| rig.counts.open() == 0).await;
}

#[tokio::test]
async fn a_connection_without_a_byte_is_closed_at_its_deadline() {
    let rig = rig(hello(), |_| {}).await;
    let mut stream = rig.connect().await;
    let after = rig.closed_after(&mut stream).await;
    assert!(after >= Duration::from_secs(10), "{after:?}");
    assert_eq!(rig.counts.cut(), 1);
}

#[tokio::test]
async fn half_a_header_is_closed_at_its_deadline() {
    for part in [&b"P"[..], b"GET / HTTP/1.1\r\nHost: a\r\nX-Sl"] {
        let rig = rig(hello(), |config| {
            config.header_timeout = Duration::from_secs(4);
            // Far beyond what the clock is moved: only the one deadline can close it.
            config.first_byte_deadline = Duration::from_secs(100_000);
            config.keep_alive = Duration::from_secs(100_000);
        })
        .await;
        let mut stream = rig.connect().await;
        stream.write_all(part).await.unwrap();
        let after = rig.closed_after(&mut stream).await;
        assert!(after >= Duration::from_secs(4), "{after:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_kept_and_then_let_go_gently() {
    let rig = rig(hello(), |_| {}).await;
    let mut stream = rig.connect().await;
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(some(&mut stream).await.ends_with("hello"));
        rig.clock.advance(Duration::from_secs(60));
    }
    let after = rig.closed_after(&mut stream).await;
    assert!(after >= Duration::from_secs(14), "{after:?}");
    assert_eq!(rig.counts.cut(), 0);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_one_that_reads_is_not() {
    let router = Router::new().route("/", get(|| async { vec![0_u8; 64 << 20] }));
    let rig = rig(router, |_| {}).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(rig.addr).await.unwrap();
    stream.write_all(GET).await.unwrap();
    // More than the buffers of both sockets hold, so that each turn lets the server write.
    let mut bytes = vec![0; 12 << 20];
    for _ in 0..4 {
        stream.read_exact(&mut bytes).await.unwrap();
        rig.clock.advance(Duration::from_secs(50));
    }
    assert_eq!(rig.counts.cut(), 0, "it reads");
    // Now it does not: each turn of the clock is seen by the server alone.
    for _ in 0..2_000 {
        rig.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        if rig.counts.cut() == 1 {
            return;
        }
    }
    unreachable!("a client that reads nothing is kept for ever");
}

#[tokio::test]
async fn an_http_2_client_that_opens_no_window_is_cut() {
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let router = Router::new().route(
        "/",
        get(|| async move {
            let chunks =
                futures_util::stream::repeat_with(move || Ok::<_, io::Error>(chunk.clone()));
            AxumBody::from_stream(chunks)
        }),
    );
    let rig = rig(router, |_| {}).await;
    let stream = hyper_util::rt::TokioIo::new(rig.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, stream)
        .await
        .unwrap();
    rig.tasks.spawn("client", connection);
    let request = Request::get(format!("http://{}/", rig.addr))
        .body(AxumBody::empty())
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    // The body is held and never asked for, so the stream's window stays shut while the socket is free.
    for _ in 0..2_000 {
        rig.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        if rig.counts.cut() == 1 {
            return;
        }
    }
    unreachable!("a client that opens no window is kept for ever");
}

#[tokio::test]
async fn ambiguous_requests_never_reach_the_service() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: AxumRequest| async move {
        record.lock().unwrap().push(request.uri().to_string());
    });
    let rig = rig(router, |_| {}).await;
    for head in [
        "GET /none HTTP/1.1\r\n\r\n",
        "GET /two HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://b/absolute HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /lengths HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "GET /space HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        let mut stream = rig.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

/// hyper hides the length, so the request itself goes through as chunked; what matters is that nothing after it is read.
#[tokio::test]
async fn after_a_length_beside_a_coding_the_connection_ends() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: AxumRequest| async move {
        record.lock().unwrap().push(request.uri().to_string());
    });
    let rig = rig(router, |_| {}).await;
    let mut stream = rig.connect().await;
    let smuggled = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(smuggled.as_bytes()).await.unwrap();
    all(&mut stream).await;
    assert!(!seen.lock().unwrap().contains(&"/b".to_owned()));
}

#[tokio::test]
async fn large_headers_are_refused() {
    let rig = rig(hello(), |_| {}).await;
    let mut stream = rig.connect().await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(40 << 10)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(all(&mut stream).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn beyond_a_cap_connections_are_closed_as_they_come() {
    let rig = rig(hello(), |config| config.max_per_address = 1).await;
    let mut first = rig.connect().await;
    let mut second = rig.connect().await;
    assert!(matches!(second.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert_eq!((rig.counts.open(), rig.counts.refused()), (1, 1));
    first.write_all(GET_AND_CLOSE).await.unwrap();
    assert!(all(&mut first).await.ends_with("hello"));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_closes_the_rest() {
    let (send, receive) = mpsc::channel::<Result<Bytes, io::Error>>(1);
    let body = Arc::new(Mutex::new(Some(receive)));
    let router = Router::new()
        .route(
            "/slow",
            get(move || async move {
                let receive = body.lock().unwrap().take().unwrap();
                AxumBody::from_stream(tokio_stream::wrappers::ReceiverStream::new(receive))
            }),
        )
        .merge(hello());
    let rig = rig(router, |config| config.clock = Clock::system()).await;
    let (mut silent, mut idle, mut busy) = (
        rig.connect().await,
        rig.connect().await,
        rig.connect().await,
    );
    idle.write_all(GET).await.unwrap();
    some(&mut idle).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    send.send(Ok(Bytes::from_static(b"first "))).await.unwrap();
    assert!(some(&mut busy).await.contains("200 OK"));

    let draining = tokio::join!(rig.tasks.drain(LONG), async {
        assert_eq!(all(&mut silent).await, "");
        assert_eq!(all(&mut idle).await, "");
        send.send(Ok(Bytes::from_static(b"last"))).await.unwrap();
        drop(send);
        all(&mut busy).await
    });
    let (in_time, rest) = draining;
    assert!(in_time);
    assert!(
        rest.contains("last") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    assert!(TcpStream::connect(rig.addr).await.is_err());
}

#[tokio::test]
async fn a_drain_cuts_at_its_deadline_what_does_not_end() {
    let (arrived, mut arrivals) = mpsc::channel(1);
    let never = move || async move {
        arrived.send(()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/", get(never));
    let rig = rig(router, |config| config.clock = Clock::system()).await;
    let mut stream = rig.connect().await;
    stream.write_all(GET).await.unwrap();
    arrivals.recv().await.unwrap();
    assert!(!rig.tasks.drain(Duration::from_millis(50)).await);
    assert_eq!(all(&mut stream).await, "");
    assert_eq!(rig.counts.open(), 0);
}
