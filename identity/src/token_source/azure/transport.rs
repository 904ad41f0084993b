//! How Azure's crates reach the network: by a client of ours, which follows no redirect, obeys no proxy of the environment and goes only
//! where its policy lets it.
//!
//! Answers are read whole, to 256 KiB. The last one without success is kept, because the crates' errors hold bodies that must not be
//! shown, or say nothing of who was away. A connection that cannot be made is told as a kind of error that the crates do not try again:
//! who asks tries later, and the reason is known at once. One address may be stood in for: the crates insist on https where loopback is
//! spoken to in plain, and the address of IMDS is a constant of theirs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use azure_core::{
    Error, Result,
    error::ErrorKind,
    http::{
        AsyncRawResponse, Body, HttpClient, Method, Request,
        headers::{HeaderName, HeaderValue, Headers},
    },
};
use bytes::{Bytes, BytesMut};
use runtime::{Clock, egress};
use url::Url;

use crate::{authenticator::retry_after, token_source::judge::Answer};

/// The longest answer read.
const MAX_BODY: usize = 256 * 1024;

/// A client for one conversation; made anew for the next one.
pub(crate) struct Transport {
    client: egress::Client,
    clock: Clock,
    instead: Option<Instead>,
    seen: Mutex<Option<Seen>>,
}

/// Requests to `from`'s origin go to `to`'s.
#[derive(Debug, Clone)]
pub(crate) struct Instead {
    pub(crate) from: Url,
    pub(crate) to: Url,
}

/// What was seen last that was no success.
#[derive(Clone)]
pub(crate) enum Seen {
    /// An answer.
    Answer(Answer),
    /// None: no connection, no permission to make one, too long an answer.
    Silence(String),
}

impl Transport {
    pub(crate) fn new(client: egress::Client, clock: Clock, instead: Option<Instead>) -> Self {
        Self {
            client,
            clock,
            instead,
            seen: Mutex::default(),
        }
    }

    /// What was seen last, if it was no success.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.lock().clone()
    }

    fn at(&self, url: &Url) -> Url {
        let instead = self.instead.as_ref();
        let Some(instead) = instead.filter(|instead| instead.from.origin() == url.origin()) else {
            return url.clone();
        };
        let mut there = instead.to.clone();
        there.set_path(url.path());
        there.set_query(url.query());
        there
    }

    async fn send(&self, request: &Request) -> std::result::Result<(u16, Headers, Bytes), String> {
        let url = self.at(request.url());
        let method = method(request.method()).ok_or("a method that is not sent")?;
        let begun = self.client.request(method, &url);
        let mut begun = begun.map_err(|refused| refused.to_string())?;
        for (name, value) in request.headers().iter() {
            begun = begun.header(name.as_str(), value.as_str());
        }
        match request.body() {
            Body::Bytes(bytes) if bytes.is_empty() => {}
            Body::Bytes(bytes) => begun = begun.body(bytes.clone()),
            Body::SeekableStream(_) => return Err("a body that is a stream is not sent".to_owned()),
        }
        let mut response = begun.send().await.map_err(cause)?;
        let (status, headers) = (response.status().as_u16(), headers(response.headers()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(cause)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(format!("its answer is longer than {MAX_BODY} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, headers, body.freeze()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        match self.send(request).await {
            Ok((status, headers, body)) => {
                let after = headers.get_optional_str(&HeaderName::from_static("retry-after"));
                let answer = Answer {
                    status,
                    retry_after: after.and_then(|v| retry_after::parse(v, self.clock.wall_ms())),
                    body: body.clone(),
                };
                let failed = !(200..300).contains(&status);
                *self.lock() = failed.then_some(Seen::Answer(answer));
                Ok(AsyncRawResponse::from_bytes(status.into(), headers, body))
            }
            Err(why) => {
                *self.lock() = Some(Seen::Silence(why));
                // Of this kind, because it is not tried again; what happened is in `seen`.
                Err(Error::with_message(ErrorKind::Other, "no answer"))
            }
        }
    }
}

/// The innermost cause, without the URL: its query may name an identity.
pub(crate) fn cause(error: reqwest::Error) -> String {
    if let Some(refused) = egress::refused(&error) {
        return refused.to_string();
    }
    let error = error.without_url();
    let mut at: &dyn std::error::Error = &error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// The two that tokens and secrets are read by.
fn method(method: Method) -> Option<http::Method> {
    let known = [
        (Method::Get, http::Method::GET),
        (Method::Post, http::Method::POST),
    ];
    let found = known.into_iter().find(|(theirs, _)| *theirs == method);
    found.map(|(_, ours)| ours)
}

fn headers(of: &http::HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in of {
        if let Ok(value) = value.to_str() {
            let name = HeaderName::from(name.as_str().to_owned());
            headers.insert(name, HeaderValue::from(value.to_owned()));
        }
    }
    headers
}
