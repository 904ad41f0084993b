//! An answer, and every wrong way to send it.
//!
//! The head always tells a plausible story; the delivery decides whether the body keeps it.

use std::io;
use std::time::Duration;

use runtime::Clock;
use tokio::io::AsyncWriteExt;

use crate::server::record::Recorded;
use crate::server::stream::Stream;
use crate::{Content, Gate};

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// In order; no `Content-Length`, which follows from the framing.
    pub headers: Vec<(String, String)>,
    pub body: Content,
    pub delivery: Delivery,
}

/// How an answer goes out. The default is honest.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    pub framing: Framing,
    /// Before the first byte of the head.
    pub delay: Duration,
    /// Gates, each before the body's byte at that offset; at `None` before the head.
    pub gates: Vec<(Option<u64>, Gate)>,
    /// So many bytes, then so long a pause.
    pub drip: Option<(usize, Duration)>,
    /// After so many bytes of the body, in this way.
    pub cut: Option<(u64, Cut)>,
    /// Before any byte: the connection just ends.
    pub silent: Option<Cut>,
}

/// How the body's end is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, true.
    #[default]
    Length,
    /// `Content-Length`, this one.
    Declared(u64),
    Chunked,
    /// Chunks, but never the last one: the connection closes instead.
    ChunkedWithoutEnd,
    /// No length: the end of the connection is the end of the body.
    UntilClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Fin,
    Reset,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Content>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::default(),
        }
    }

    pub fn empty(status: u16) -> Self {
        Self::new(status, Vec::new())
    }

    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status, value.to_string()).with("content-type", "application/json")
    }

    /// The error body of the distribution-spec.
    pub fn error(status: u16, code: &str) -> Self {
        let error = serde_json::json!({"code": code, "message": "as scripted"});
        Self::json(status, &serde_json::json!({"errors": [error]}))
    }

    /// Sets a header, in place of the one there was.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    fn head(&self, head_only: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.delivery.framing {
            _ if matches!(self.status, 204 | 304) => {}
            Framing::Length => head.push_str(&format!("content-length: {}\r\n", self.body.len())),
            Framing::Declared(length) => head.push_str(&format!("content-length: {length}\r\n")),
            Framing::Chunked | Framing::ChunkedWithoutEnd if head_only => {}
            Framing::Chunked | Framing::ChunkedWithoutEnd => {
                head.push_str("transfer-encoding: chunked\r\n");
            }
            Framing::UntilClose => head.push_str("connection: close\r\n"),
        }
        head.push_str("\r\n");
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        _ => "As Scripted",
    }
}

/// Sends it; `true` when the connection must not be used again.
pub(super) async fn write(
    stream: &mut Stream,
    answer: Answer,
    head_only: bool,
    recorded: &Recorded,
) -> io::Result<bool> {
    let clock = Clock::system();
    if answer.delivery.delay > Duration::ZERO {
        clock.sleep(answer.delivery.delay).await;
    }
    for (_, gate) in answer.delivery.gates.iter().filter(|(at, _)| at.is_none()) {
        gate.pass().await;
    }
    if let Some(cut) = answer.delivery.silent {
        return end(stream, cut);
    }
    stream.write_all(answer.head(head_only).as_bytes()).await?;
    stream.flush().await?;
    if head_only || matches!(answer.status, 204 | 304) {
        return Ok(answer.delivery.framing == Framing::UntilClose);
    }
    body(stream, &answer, recorded, &clock).await
}

async fn body(
    stream: &mut Stream,
    answer: &Answer,
    recorded: &Recorded,
    clock: &Clock,
) -> io::Result<bool> {
    let delivery = &answer.delivery;
    let chunked = matches!(
        delivery.framing,
        Framing::Chunked | Framing::ChunkedWithoutEnd
    );
    let mut offset = 0;
    loop {
        for (_, gate) in delivery.gates.iter().filter(|(at, _)| *at == Some(offset)) {
            gate.pass().await;
        }
        if let Some((_, cut)) = delivery.cut.filter(|(at, _)| *at <= offset) {
            return end(stream, cut);
        }
        if offset == answer.body.len() {
            break;
        }
        let mut chunk = answer.body.chunk(offset);
        chunk.truncate(room(delivery, offset).min(chunk.len()));
        if chunked {
            let size = format!("{:x}\r\n", chunk.len());
            stream.write_all(size.as_bytes()).await?;
        }
        stream.write_all(&chunk).await?;
        if chunked {
            stream.write_all(b"\r\n").await?;
        }
        offset += chunk.len() as u64;
        recorded.sent(chunk.len() as u64);
        if let Some((_, pause)) = delivery.drip {
            clock.sleep(pause).await;
        }
    }
    if delivery.framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.flush().await?;
    match delivery.framing {
        Framing::Length | Framing::Chunked => Ok(false),
        Framing::Declared(_) | Framing::ChunkedWithoutEnd | Framing::UntilClose => Ok(true),
    }
}

/// How many bytes may go out before something else happens.
fn room(delivery: &Delivery, offset: u64) -> usize {
    let gates = delivery.gates.iter().filter_map(|(at, _)| *at);
    let cut = delivery.cut.map(|(at, _)| at);
    let next = gates.chain(cut).filter(|at| *at > offset).min();
    let room = next.map_or(u64::MAX, |at| at - offset);
    let drip = delivery.drip.map_or(usize::MAX, |(bytes, _)| bytes);
    usize::try_from(room).unwrap_or(usize::MAX).min(drip)
}

fn end(stream: &mut Stream, cut: Cut) -> io::Result<bool> {
    if cut == Cut::Reset {
        stream.will_reset()?;
    }
    Ok(true)
}
