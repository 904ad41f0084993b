//! The client of the control plane's API: one method per kind of request, problems turned into errors that say what to do.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{Method, StatusCode};
use runtime::{egress, secret::Secret};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;
use wire::{api::problem::Problem, generation::Generation};

use crate::{args::Global, fault::Code, login, output};

/// The API of one control plane.
pub struct Client {
    http: egress::Client,
    base: Url,
    token: Option<Secret<String>>,
}

/// Names and values behind the `?` of a path.
pub type Query<'a> = &'a [(&'a str, String)];

/// No query.
pub const NOTHING: Query<'static> = &[];

impl Client {
    /// The client that flags, environment and kept login make.
    ///
    /// # Errors
    /// When the address is no URL, or a token or CA file cannot be read.
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        let base = login::address(global)?;
        let token = login::token(global, &base)?;
        Self::at(global, base, token)
    }

    /// A client at `base` with this token.
    ///
    /// # Errors
    /// When a CA file cannot be read.
    pub fn at(global: &Global, base: Url, token: Option<Secret<String>>) -> anyhow::Result<Self> {
        let options = egress::Options {
            ca_pem: global.ca_pem()?,
            policy: egress::Policy::naming(base.host_str()),
            read_timeout: Duration::from_secs(90),
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..egress::Options::default()
        };
        if token.is_some() && base.scheme() == "http" && !is_loopback(&base) {
            let text = format!(
                "warning: {base} is plain http beyond this machine: whoever sees the way sees the token"
            );
            output::words(global, &text);
        }
        Ok(Self {
            http: options.build()?,
            base,
            token,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// `GET`.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or answers something else.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
    ) -> anyhow::Result<T> {
        read(self.ask(Method::GET, path, query, None, None).await?)
    }

    /// `GET`, where not being there is an answer.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or answers something else.
    pub async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
    ) -> anyhow::Result<Option<T>> {
        match self.ask(Method::GET, path, query, None, None).await {
            Ok(body) => read(body).map(Some),
            Err(error) if is(&error, 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Any method with a body, and an answer.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or answers something else.
    pub async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: &B,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        read(self.ask(method, path, query, Some(body), None).await?)
    }

    /// `PUT` or `PATCH` of a resource, on top of the generation it was read from.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or answers something else.
    pub async fn change<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        on: Generation,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        read(
            self.ask(method, path, NOTHING, Some(body), Some(on))
                .await?,
        )
    }

    /// A request whose answer says nothing more than that it was done.
    ///
    /// # Errors
    /// When it cannot be asked, or refuses.
    pub async fn tell(&self, method: Method, path: &str, query: Query<'_>) -> anyhow::Result<()> {
        self.ask(method, path, query, None, None).await.map(drop)
    }

    /// `GET` of a text in another form than JSON.
    ///
    /// # Errors
    /// When it cannot be asked, or refuses.
    pub async fn text(&self, path: &str, accept: &str) -> anyhow::Result<String> {
        let request = self.request(Method::GET, path, NOTHING)?;
        let body = self
            .answer(request.header(http::header::ACCEPT, accept))
            .await?;
        Ok(String::from_utf8(body.to_vec())?)
    }

    /// Server-sent events after `last`, each as its JSON.
    ///
    /// # Errors
    /// When it cannot be asked, or refuses; and in the stream, when it breaks.
    pub async fn events<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
        last: u64,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<T>> + use<T>> {
        let request = self.request(Method::GET, path, query)?;
        let request = request.header(http::header::ACCEPT, "text/event-stream");
        let request = request.header("last-event-id", last.to_string());
        let response = request
            .send()
            .await
            .with_context(|| Code::ControlUnreachable.says(self.unreachable()))?;
        if response.status() != StatusCode::OK {
            let (status, body) = (response.status(), response.bytes().await?);
            return Err(refusal(&self.base, status, &body));
        }
        let lines = Lines {
            pending: Vec::new(),
        };
        let chunks = response.bytes_stream();
        Ok(chunks
            .scan(lines, |lines, chunk| {
                let read: Vec<anyhow::Result<T>> = match chunk {
                    Ok(chunk) => lines
                        .take(&chunk)
                        .iter()
                        .map(|data| read_slice(data))
                        .collect(),
                    Err(error) => vec![Err(anyhow::Error::new(error)
                        .context(Code::StreamEnded.says("the stream of events broke")))],
                };
                std::future::ready(Some(futures_util::stream::iter(read)))
            })
            .flatten())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<Vec<u8>>,
        on: Option<Generation>,
    ) -> anyhow::Result<Bytes> {
        let patch = method == Method::PATCH;
        let mut request = self.request(method, path, query)?;
        if let Some(body) = body {
            let kind = if patch {
                "application/merge-patch+json"
            } else {
                "application/json"
            };
            request = request.header(http::header::CONTENT_TYPE, kind).body(body);
        }
        if let Some(on) = on {
            request = request.header(http::header::IF_MATCH, format!("\"{on}\""));
        }
        self.answer(request).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
    ) -> anyhow::Result<reqwest::RequestBuilder> {
        let mut url = self.base.join(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, &url)?;
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        })
    }

    /// `POST` without a body, of something that may not be done yet: then what is said instead, which comes with status 202.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or answers something else.
    pub async fn outcome<T: DeserializeOwned, P: DeserializeOwned>(
        &self,
        path: &str,
    ) -> anyhow::Result<Result<T, P>> {
        let request = self.request(Method::POST, path, NOTHING)?;
        match self.answered(request).await? {
            (StatusCode::ACCEPTED, body) => read(body).map(Err),
            (_, body) => read(body).map(Ok),
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Bytes> {
        Ok(self.answered(request).await?.1)
    }

    async fn answered(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = request
            .send()
            .await
            .with_context(|| Code::ControlUnreachable.says(self.unreachable()))?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .with_context(|| Code::ControlUnreachable.says(self.unreachable()))?;
        if status.is_success() {
            return Ok((status, body));
        }
        let error = refusal(&self.base, status, &body);
        Err(if is(&error, 401) {
            error.context(self.stranger())
        } else {
            error
        })
    }

    fn unreachable(&self) -> String {
        format!(
            "the control plane at {} does not answer; start one with `regmesh up FILE` or `regmesh control`, or say where it is with --control or REGMESH_CONTROL",
            self.base
        )
    }

    fn stranger(&self) -> String {
        let what = if self.token.is_some() {
            "did not accept the token"
        } else {
            "wants a token"
        };
        format!(
            "the control plane at {} {what}; name one with --token-file or REGMESH_TOKEN, or sign in with `regmesh login`",
            self.base
        )
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Whether an error is the API's answer with this status.
#[must_use]
pub fn is(error: &anyhow::Error, status: u16) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Problem>())
        .any(|problem| problem.status == status)
}

fn read<T: DeserializeOwned>(body: Bytes) -> anyhow::Result<T> {
    read_slice(&body)
}

fn read_slice<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let told = if error.is_data() {
            Code::UnknownAnswer.says("the control plane's answer is not what this release of regmesh understands; use the release that it is of")
        } else {
            Code::NotAControlPlane.says("the answer is no JSON, so not of a control plane of regmesh; say where one is with --control or REGMESH_CONTROL")
        };
        anyhow::Error::new(error).context(told)
    })
}

fn refusal(base: &Url, status: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => anyhow::Error::new(problem),
        Err(_) => {
            let text = format!(
                "what answers with {status} at {base} is no control plane of regmesh; say where one is with --control or REGMESH_CONTROL"
            );
            Code::NotAControlPlane.error(text)
        }
    }
}

/// Data lines of server-sent events out of chunks that end anywhere.
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn take(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        self.pending.extend_from_slice(chunk);
        let mut found = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                found.push(data.trim_ascii().to_vec());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_chunks_end() {
        let text = b"id: 1\ndata: {\"a\":1}\n\n: beat\n\nid: 2\ndata:{\"a\":2}\n\n";
        for cut in 0..text.len() {
            let mut lines = Lines {
                pending: Vec::new(),
            };
            let mut found = lines.take(&text[..cut]);
            found.extend(lines.take(&text[cut..]));
            assert_eq!(found, [b"{\"a\":1}".to_vec(), b"{\"a\":2}".to_vec()]);
        }
    }

    #[test]
    fn a_problem_is_known_by_its_status() {
        let body = br#"{"type":"about:blank","status":404,"title":"Not Found","detail":"no rule 'x'","code":"not-found"}"#;
        let base: Url = "http://127.0.0.1:7080".parse().unwrap();
        let error = refusal(&base, StatusCode::NOT_FOUND, body).context("more");
        assert!(is(&error, 404) && !is(&error, 409));
    }

    #[test]
    fn what_is_no_control_plane_is_told_apart_from_a_newer_one() {
        let base: Url = "http://127.0.0.1:7080".parse().unwrap();
        let other = refusal(&base, StatusCode::UNAUTHORIZED, b"<html>");
        assert!(!is(&other, 401));
        for (error, code) in [
            (other, "not-a-control-plane"),
            (
                read_slice::<u8>(b"<html>").unwrap_err(),
                "not-a-control-plane",
            ),
            (read_slice::<u8>(b"{}").unwrap_err(), "unknown-answer"),
        ] {
            assert_eq!(crate::fault::code(&error), code);
        }
    }
}
