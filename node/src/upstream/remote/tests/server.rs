//! A server that answers by script: one request per connection, every byte of the answer the script's.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// The how manieth request it is at this server, from 0.
    pub(super) number: usize,
    pub(super) at: SocketAddr,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The last part of the path.
    pub(super) fn last(&self) -> &str {
        let path = self.target.split('?').next().unwrap();
        path.rsplit('/').next().unwrap()
    }

    pub(super) fn brief(&self) -> String {
        format!("{} {}", self.method, self.last())
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A proper answer; HEAD gets its headers.
    Proper {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes, then FIN.
    Raw(String),
    /// These bytes, then silence.
    Hold(String),
}

impl Reply {
    pub(super) fn new(status: u16, body: &str) -> Self {
        Self::Proper {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    pub(super) fn status(status: u16) -> Self {
        Self::new(status, "")
    }

    pub(super) fn ok(content_type: &str, body: &str) -> Self {
        Self::new(200, body).and("Content-Type", content_type)
    }

    pub(super) fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).and("Location", location)
    }

    pub(super) fn and(mut self, name: &str, value: &str) -> Self {
        if let Self::Proper { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn bytes(&self, method: &str) -> Vec<u8> {
        match self {
            Self::Raw(text) | Self::Hold(text) => text.clone().into_bytes(),
            Self::Proper {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
                let mut bytes = head.into_bytes();
                if method != "HEAD" {
                    bytes.extend_from_slice(body);
                }
                bytes
            }
        }
    }
}

/// A content with ranges, as a good server sends it.
pub(super) fn ranged(seen: &Seen, content: &str) -> Reply {
    let Some(range) = seen.header("range") else {
        return Reply::ok("application/octet-stream", content);
    };
    let (start, end) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let start: usize = start.parse().unwrap();
    let last = content.len() - 1;
    let end = if end.is_empty() {
        last
    } else {
        end.parse::<usize>().unwrap().min(last)
    };
    let part = &content[start..=end];
    let stated = format!("bytes {start}-{end}/{}", content.len());
    Reply::new(206, part).and("Content-Range", &stated)
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) async fn start(
        tasks: &Tasks,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, all): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        let owner = tasks.clone();
        tasks.spawn("server", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, all) = (Arc::clone(&script), Arc::clone(&all));
                owner.spawn("connection", serve(stream, script, all, address));
            }
        });
        Self { address, seen }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Script>,
    all: Arc<Mutex<Vec<Seen>>>,
    at: SocketAddr,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 || head.len() > 32 * 1024 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let headers = lines.filter_map(|line| line.split_once(": "));
    let seen = {
        let mut all = all.lock().unwrap();
        let seen = Seen {
            method: first.next().unwrap().to_owned(),
            target: first.next().unwrap().to_owned(),
            headers: headers
                .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
                .collect(),
            number: all.len(),
            at,
        };
        all.push(seen.clone());
        seen
    };
    let reply = script(&seen);
    if stream.write_all(&reply.bytes(&seen.method)).await.is_err() {
        return;
    }
    if matches!(reply, Reply::Hold(_)) {
        // Until the other side gives up.
        let mut rest = [0];
        let _ = stream.read(&mut rest).await;
    }
    let _ = stream.shutdown().await;
}
