//! The form of a token request: at most 64 KiB within 10 s, chunked or not.
//!
//! The media type may have parameters (containerd 2 sends a charset). Text that is not UTF-8 is read with replacements, which
//! make it a wrong secret and nothing worse.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{HeaderMap, header};
use runtime::Clock;
use url::form_urlencoded;

use super::Refusal;

/// The longest form read, in bytes.
pub(super) const MAX_FORM: usize = 64 * 1024;
/// How many of its fields are read.
pub(super) const MAX_FIELDS: usize = 256;
/// How long a form may take to arrive.
const FORM_DEADLINE: Duration = Duration::from_secs(10);

/// Reads a form's body, chunked or not.
pub(super) async fn read(clock: &Clock, headers: &HeaderMap, body: Body) -> Result<Form, Refusal> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = essence
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::MediaType);
    }
    let read = clock.timeout(FORM_DEADLINE, to_bytes(body, MAX_FORM));
    match read.await {
        Ok(Ok(bytes)) => Form::parse(&bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(Refusal::TooLong(MAX_FORM)),
        Ok(Err(_)) => Err(Refusal::Request("the form did not arrive whole".to_owned())),
        Err(_) => Err(Refusal::Late),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// A form's fields. Not `Debug`: there are secrets in it.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields: Vec<_> = form_urlencoded::parse(bytes)
            .into_owned()
            .take(MAX_FIELDS + 1)
            .collect();
        if fields.len() > MAX_FIELDS {
            return Err(Refusal::Request(format!(
                "the form has more than {MAX_FIELDS} fields"
            )));
        }
        Ok(Self(fields))
    }

    /// Every value of a field, in order.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a field.
    pub(super) fn first(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a field that has to be there.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        let missing = || Refusal::Request(format!("the field {name} is missing"));
        self.first(name).ok_or_else(missing)
    }
}
