//! An answer's headers, as the rest of `remote` reads them.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use identity::authenticator::Authorization;
use reqwest::Response;
use wire::{cache_status, challenge::Challenge};

/// The last answer to a question, of whatever status.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether it came from where a redirect led.
    pub(super) elsewhere: bool,
    pub(super) authorization: Option<Authorization>,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text; one that is not printable is none.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Whether a node says that the fault lies with it or further up.
    pub(super) fn failed_at_a_node(&self) -> bool {
        self.headers().contains_key(super::send::FAILED)
    }

    pub(super) fn challenges(&self) -> Vec<Challenge> {
        let lines = self.headers().get_all(header::WWW_AUTHENTICATE);
        Challenge::parse(lines.iter().filter_map(|line| line.to_str().ok()))
    }

    pub(super) fn token_was_cached(&self) -> bool {
        self.authorization.as_ref().is_some_and(|a| a.cached)
    }

    /// An `Age`, in seconds.
    pub(super) fn age(&self) -> u64 {
        let age = self.header(header::AGE);
        age.and_then(cache_status::parse_age)
            .map_or(0, |age: Duration| age.as_secs())
    }

    /// The upstream's `Cache-Status`, all lines as one.
    pub(super) fn cache_status(&self) -> Option<String> {
        let lines = self.headers().get_all("cache-status");
        let lines: Vec<&str> = lines.iter().filter_map(|line| line.to_str().ok()).collect();
        let joined = lines.join(", ");
        (!joined.is_empty() && joined.len() <= cache_status::MAX_UPSTREAM).then_some(joined)
    }

    /// The text of the upstream's first 299 `Warning`.
    pub(super) fn warning(&self) -> Option<String> {
        let lines = self.headers().get_all(header::WARNING);
        let lines = lines.iter().filter_map(|line| line.to_str().ok());
        cache_status::warnings(lines).into_iter().next()
    }
}
