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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn bytes(first: u64, last: u64) -> Part {
        Part::Bytes(Span { first, last })
    }

    #[test]
    fn a_range_means_these_bytes_of_ten() {
        let cases = [
            ("bytes=0-0", Some(bytes(0, 0))),
            ("bytes=2-4", Some(bytes(2, 4))),
            ("bytes=2-", Some(bytes(2, 9))),
            ("bytes=2-99", Some(bytes(2, 9))),
            ("bytes=9-9", Some(bytes(9, 9))),
            ("bytes=-3", Some(bytes(7, 9))),
            ("bytes=-99", Some(bytes(0, 9))),
            ("Bytes = 2-4 ", Some(bytes(2, 4))),
            ("bytes=10-", Some(Part::Unsatisfiable)),
            ("bytes=10-20", Some(Part::Unsatisfiable)),
            ("bytes=-0", Some(Part::Unsatisfiable)),
            // Answered with the whole.
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=1--2", None),
            ("bytes=99999999999999999999-", None),
            ("items=0-1", None),
            ("0-1", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                ByteRange::parse(text).map(|range| range.of(10)),
                wanted,
                "{text}"
            );
        }
        assert_eq!(ByteRange::From(0).of(0), Part::Unsatisfiable);
        assert_eq!(
            ByteRange::Last(u64::MAX).of(u64::MAX),
            bytes(0, u64::MAX - 1)
        );
    }

    #[test]
    fn a_content_range_is_exact_or_refused() {
        for text in [
            "bytes 0-99/100",
            "bytes 5-5/6",
            "bytes 0-99/*",
            "bytes */100",
            "bytes */0",
        ] {
            let range: ContentRange = text.parse().expect(text);
            assert_eq!(range.to_string(), text);
        }
        for bad in [
            "",
            "bytes",
            "bytes 0-99",
            "bytes 5-4/10",
            "bytes 0-100/100",
            "bytes */*",
            "bytes -5/10",
            "octets 0-1/2",
            "bytes 0-1/-2",
        ] {
            assert_eq!(bad.parse::<ContentRange>(), Err(RangeError), "{bad}");
        }
    }

    #[test]
    fn an_upload_has_forms_of_its_own() {
        let span = Span {
            first: 100,
            last: 199,
        };
        for text in [
            "100-199",
            " 100-199 ",
            "bytes 100-199/*",
            "bytes 100-199/1000",
        ] {
            assert_eq!(parse_upload(text), Ok(span), "{text}");
        }
        for bad in [
            "",
            "100",
            "199-100",
            "bytes=100-199",
            "bytes */5",
            "-5",
            "5-",
            "a-b",
        ] {
            assert_eq!(parse_upload(bad), Err(RangeError), "{bad}");
        }
        assert_eq!(span.length(), 100);
        assert_eq!(upload_progress(100), "0-99");
        assert_eq!(upload_progress(0), "0-0");
    }

    proptest! {
        #[test]
        fn no_range_leaves_the_content(text in "(bytes=)?[0-9,-]{0,30}", length in any::<u64>()) {
            if let Some(Part::Bytes(span)) = ByteRange::parse(&text).map(|range| range.of(length)) {
                prop_assert!(span.first <= span.last && span.last < length);
                prop_assert!(span.length() <= length);
            }
        }

        #[test]
        fn ranges_read_back(a in any::<u64>(), b in any::<u64>()) {
            let (a, b) = (a.min(b), a.max(b));
            for range in [ByteRange::FromTo(a, b), ByteRange::From(a), ByteRange::Last(b)] {
                prop_assert_eq!(ByteRange::parse(&range.to_string()), Some(range));
            }
            let span = Span::new(a, b).expect("a is not after b");
            let length = b.checked_add(1);
            let range = ContentRange::Part { span, length };
            prop_assert_eq!(range.to_string().parse::<ContentRange>(), Ok(range));
        }

        #[test]
        fn whatever_arrives_is_a_range_or_none(text in ".{0,60}") {
            let _ = ByteRange::parse(&text);
            let _ = text.parse::<ContentRange>();
            let _ = parse_upload(&text);
        }
    }
}
