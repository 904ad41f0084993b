//! `Range` and `Content-Range`, of reads and of uploads.
//!
//! One range per answer: several are answered with the whole, as is what cannot be parsed (RFC 9110 14.2 lets a server
//! ignore either). Uploads have forms of their own, without a unit and without a length. Source: RFC 9110 14; OCI
//! distribution-spec 1.1.1, "Pushing a blob in chunks".

use std::{fmt, str::FromStr};

/// What a `Range` header asks for, before the length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteRange {
    /// `a-b`, both inclusive, `a <= b`.
    FromTo(u64, u64),
    /// `a-`: from there to the end.
    From(u64),
    /// `-n`: the last `n` bytes.
    Last(u64),
}

/// What part of some content of known length is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// These bytes.
    Bytes(Span),
    /// There are none: 416.
    Unsatisfiable,
}

/// Bytes from `first` to `last`, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, never before `first`.
    pub last: u64,
}

impl Span {
    /// A span, unless it would end before it begins.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// How many bytes it has; at least one.
    #[must_use]
    pub fn length(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

impl ByteRange {
    /// Reads a `Range` header. `None` means: answer with the whole (no bytes unit, several ranges, or not a range).
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        match (first, last) {
            ("", n) => number(n).map(Self::Last),
            (a, "") => number(a).map(Self::From),
            (a, b) => {
                let (a, b) = (number(a)?, number(b)?);
                (a <= b).then_some(Self::FromTo(a, b))
            }
        }
    }

    /// Which bytes of a content of `length` bytes it means; an end beyond the content is the content's end.
    #[must_use]
    pub fn of(self, length: u64) -> Part {
        let Some(end) = length.checked_sub(1) else {
            return Part::Unsatisfiable;
        };
        let span = match self {
            Self::FromTo(a, b) => Span::new(a, b.min(end)),
            Self::From(a) => Span::new(a, end),
            Self::Last(n) => Span::new(length.saturating_sub(n), end),
        };
        span.map_or(Part::Unsatisfiable, Part::Bytes)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromTo(a, b) => write!(f, "bytes={a}-{b}"),
            Self::From(a) => write!(f, "bytes={a}-"),
            Self::Last(n) => write!(f, "bytes=-{n}"),
        }
    }
}

/// The `Content-Range` of a 206 or a 416.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentRange {
    /// `bytes a-b/length`, or `bytes a-b/*` when the length is not known.
    Part {
        /// The bytes that follow.
        span: Span,
        /// The length of the whole, if known; then `span` lies inside.
        length: Option<u64>,
    },
    /// `bytes */length`: nothing of it could be sent.
    Unsatisfied {
        /// The length of the whole.
        length: u64,
    },
}

/// The text is not a range of the wanted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid range")]
pub struct RangeError;

impl FromStr for ContentRange {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        parse_content_range(text).ok_or(RangeError)
    }
}

fn parse_content_range(text: &str) -> Option<ContentRange> {
    let (unit, rest) = text.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, length) = rest.trim().split_once('/')?;
    if range == "*" {
        return number(length).map(|length| ContentRange::Unsatisfied { length });
    }
    let span = span(range)?;
    let length = if length == "*" {
        None
    } else {
        Some(number(length)?)
    };
    length
        .is_none_or(|length| span.last < length)
        .then_some(ContentRange::Part { span, length })
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part {
                span,
                length: Some(length),
            } => write!(f, "bytes {}-{}/{length}", span.first, span.last),
            Self::Part { span, length: None } => write!(f, "bytes {}-{}/*", span.first, span.last),
            Self::Unsatisfied { length } => write!(f, "bytes */{length}"),
        }
    }
}

/// Reads the `Content-Range` of an upload's chunk: `0-99`, as the distribution-spec has it; `bytes 0-99/*` is taken too.
///
/// # Errors
/// When it is neither.
pub fn parse_upload(value: &str) -> Result<Span, RangeError> {
    let value = value.trim();
    if let Some(found) = span(value) {
        return Ok(found);
    }
    match value.parse()? {
        ContentRange::Part { span, .. } => Ok(span),
        ContentRange::Unsatisfied { .. } => Err(RangeError),
    }
}

/// The `Range` header of an upload that holds `length` bytes: `0-99`. Of an empty one it is `0-0`, as every registry says.
#[must_use]
pub fn upload_progress(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn span(text: &str) -> Option<Span> {
    let (first, last) = text.split_once('-')?;
    Span::new(number(first)?, number(last)?)
}

/// Digits only: `u64::from_str` would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
