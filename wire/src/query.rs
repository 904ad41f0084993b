//! Query strings: read within limits, and written so that they read back the same.
//!
//! A parameter that chooses what a request means (`digest`, `ns`, `from`, …) may be given once only: with two, a proxy in
//! front and this node could each believe another one. Source: WHATWG URL, `application/x-www-form-urlencoded`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest query read, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;
/// How many parameters are read.
pub const MAX_PARAMETERS: usize = 256;

/// What stays as it is in a value that we write: the unreserved characters, and `:` and `/`, which are legal in a query
/// and keep digests and names readable.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

/// Why a query is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Longer, or of more parameters, than is read.
    #[error(
        "the query is longer than {MAX_LENGTH} bytes or has more than {MAX_PARAMETERS} parameters"
    )]
    TooLong,
    /// Something percent-encoded is not UTF-8.
    #[error("the query is not UTF-8")]
    Utf8,
    /// A parameter that may be given once is there twice.
    #[error("the parameter '{0}' is given more than once")]
    Repeated(&'static str),
}

/// The decoded parameters of a query, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a query as it came, without its `?`; none at all is an empty one.
    ///
    /// # Errors
    /// When it is too long or not UTF-8.
    pub fn parse(raw: Option<&'a str>) -> Result<Self, QueryError> {
        let raw = raw.unwrap_or_default();
        if raw.len() > MAX_LENGTH {
            return Err(QueryError::TooLong);
        }
        let mut pairs = Vec::new();
        for part in raw.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() >= MAX_PARAMETERS {
                return Err(QueryError::TooLong);
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// Every parameter with its value, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// Every value of `key`, in order.
    pub fn all<'b>(&'b self, key: &'b str) -> impl Iterator<Item = &'b str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, value)| value.as_ref())
    }

    /// The first value of `key`.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_ref())
    }

    /// The only value of `key`; an empty one counts as none.
    ///
    /// # Errors
    /// When `key` is there more than once.
    pub fn one(&self, key: &'static str) -> Result<Option<&str>, QueryError> {
        let mut values = self.0.iter().filter(|(k, _)| k == key);
        let first = values.next().map(|(_, value)| value.as_ref());
        if values.next().is_some() {
            return Err(QueryError::Repeated(key));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced)
            .decode_utf8()
            .map_err(|_| QueryError::Utf8)?;
        return Ok(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| QueryError::Utf8)
}

/// Writes a query without its `?`, from pairs in order; empty when there are none.
#[must_use]
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.extend(utf8_percent_encode(key, KEPT));
        out.push('=');
        out.extend(utf8_percent_encode(&value, KEPT));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded_once() {
        let query = Query::parse(Some("a=1%2B2&b=x+y&&c&d=%2525&a=2&e=")).expect("a query");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1+2", "2"]);
        assert_eq!(query.first("b"), Some("x y"));
        assert_eq!(query.first("c"), Some(""));
        assert_eq!(query.first("d"), Some("%25"));
        assert_eq!(query.one("e"), Ok(None));
        assert_eq!(query.one("a"), Err(QueryError::Repeated("a")));
        assert_eq!(query.one("z"), Ok(None));
        assert_eq!(Query::parse(None), Ok(Query::default()));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(pairs in prop::collection::vec(("[ -~é]{1,10}", ".{0,20}"), 0..8)) {
            let text = write(pairs.iter().map(|(key, value)| (key.as_str(), Cow::Borrowed(value.as_str()))));
            let read = Query::parse(Some(&text)).expect("a query");
            let read: Vec<_> = read.0.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn whatever_arrives_is_read_or_refused(raw in ".{0,200}") {
            let _ = Query::parse(Some(&raw));
        }
    }
}
