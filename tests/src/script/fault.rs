//! One thing that is wrong with an answer. Faults compose: each changes what the ones before it left.

use std::time::Duration;

use crate::gzip::gzip;
use crate::server::{Answer, Cut, Framing};
use crate::{Content, Gate};

#[derive(Clone, Debug)]
pub enum Fault {
    /// Another status, with the error body of that code.
    Status(u16),
    /// The whole answer.
    Answer(Box<Answer>),
    Header(&'static str, String),
    NoHeader(&'static str),
    /// Other bytes under the same headers.
    Body(Content),
    /// One wrong bit, the length right. Beyond the end: in the last byte.
    FlipBit(u64),
    /// After so many bytes of the body; the length was promised.
    Cut(u64, Cut),
    /// The connection ends before any byte of an answer.
    NoAnswer(Cut),
    /// Bytes after the promised length.
    Longer(&'static [u8]),
    NoLength,
    Chunked,
    ChunkedWithoutEnd,
    Delay(Duration),
    /// So many bytes, then so long a pause.
    Drip(usize, Duration),
    /// Waits before the body's byte at that offset until the gate opens.
    HoldAt(u64, Gate),
    /// Waits before the head.
    Hold(Gate),
    /// Never says anything more after so many bytes.
    StallAt(u64),
    /// Never answers at all.
    Hang,
    Redirect(u16, String),
    /// 401 with this `WWW-Authenticate`.
    Challenge(String),
    /// 429, with `Retry-After` if given.
    TooMany(Option<String>),
    /// `Content-Encoding: gzip` although nobody asked.
    Gzip,
    /// 200 with the whole body where a range was asked.
    IgnoreRange,
    /// A page of HTML with 200, as captive portals send.
    Html,
    /// A body without an end and without a length.
    Endless,
}

impl Fault {
    pub(crate) fn apply(&self, mut answer: Answer) -> Answer {
        match self {
            Self::Status(status) => answer = Answer::error(*status, code(*status)),
            Self::Answer(whole) => answer = (**whole).clone(),
            Self::Header(name, value) => answer.set(name, value),
            Self::NoHeader(name) => answer.remove(name),
            Self::Body(content) => answer.body = content.clone(),
            Self::FlipBit(_) if answer.body.is_empty() => {}
            Self::FlipBit(offset) => {
                let last = answer.body.len() - 1;
                answer.body = answer.body.flipped(last.min(*offset));
            }
            Self::Redirect(status, location) => {
                answer = Answer::empty(*status).with("location", location);
            }
            Self::Challenge(challenge) => {
                answer = Answer::error(401, "UNAUTHORIZED").with("www-authenticate", challenge);
            }
            Self::TooMany(retry_after) => {
                answer = Answer::error(429, "TOOMANYREQUESTS");
                if let Some(value) = retry_after {
                    answer.set("retry-after", value);
                }
            }
            Self::Html => {
                answer = Answer::new(200, "<html><body>Please sign in</body></html>")
                    .with("content-type", "text/html");
            }
            Self::Gzip => {
                answer.body = gzip(&answer.body.to_bytes()).into();
                answer.set("content-encoding", "gzip");
            }
            // Decided before the honest answer was made.
            Self::IgnoreRange => {}
            Self::Longer(garbage) => {
                answer.delivery.framing = Framing::Declared(answer.body.len());
                answer.body = [&answer.body.to_bytes()[..], garbage].concat().into();
            }
            Self::NoLength => answer.delivery.framing = Framing::UntilClose,
            Self::Chunked => answer.delivery.framing = Framing::Chunked,
            Self::ChunkedWithoutEnd => answer.delivery.framing = Framing::ChunkedWithoutEnd,
            Self::Endless => {
                answer.body = Content::endless();
                answer.delivery.framing = Framing::UntilClose;
            }
            Self::Cut(after, cut) => answer.delivery.cut = Some((*after, *cut)),
            Self::NoAnswer(cut) => answer.delivery.silent = Some(*cut),
            Self::Delay(delay) => answer.delivery.delay = *delay,
            Self::Drip(bytes, pause) => answer.delivery.drip = Some((*bytes, *pause)),
            Self::HoldAt(at, gate) => answer.delivery.gates.push((Some(*at), gate.clone())),
            Self::Hold(gate) => answer.delivery.gates.push((None, gate.clone())),
            Self::StallAt(at) => answer.delivery.gates.push((Some(*at), Gate::closed())),
            Self::Hang => answer.delivery.gates.push((None, Gate::closed())),
        }
        answer
    }
}

fn code(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        405 => "UNSUPPORTED",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    }
}
