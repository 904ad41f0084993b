//! An OCI client that believes nothing: every body it accepts hashes to its digest and has the length that was promised.
//!
//! It does the token dance, follows no redirect and speaks to one login server. What a test wants to see raw it gets by
//! [`Client::send`]; a body that was cut is kept as far as it came.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;
use wire::digest::{Algorithm, Digest, Hasher};
use wire::media_type::ACCEPT_MANIFESTS;

mod push;
mod token;

/// How long an answer may be silent before a test fails instead of hanging: longer than any limit of a node's own.
const SILENCE: Duration = Duration::from_secs(60);

/// Talks to one registry. Tokens are kept per scope, as real clients do.
pub struct Client {
    http: reqwest::Client,
    base: String,
    account: Option<(String, String)>,
    headers: HeaderMap,
    tokens: Mutex<HashMap<String, String>>,
}

/// An answer with as much of its body as came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Why the body ended early, if it did.
    pub cut: Option<reqwest::Error>,
}

/// A pulled image: everything of it was there and hashed.
#[derive(Debug)]
pub struct Pulled {
    /// Of what the reference named.
    pub digest: Digest,
    /// Of the answer by the reference: `Age`, `Warning`, `Cache-Status`, ….
    pub headers: HeaderMap,
    pub blobs: Vec<Digest>,
}

impl Client {
    /// A client without an account, for `http://HOST:PORT`.
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without a proxy always builds");
        Self {
            http,
            base: base.into(),
            account: None,
            headers: HeaderMap::new(),
            tokens: Mutex::default(),
        }
    }

    /// Over another HTTP client, which trusts whom it does.
    pub fn over(mut self, http: reqwest::Client) -> Self {
        self.http = http;
        self
    }

    pub fn with_account(mut self, user: &str, password: &str) -> Self {
        self.account = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Shows the account by Basic with every request, unasked: where anonymous may read, nobody is ever challenged.
    pub fn showing(mut self) -> Self {
        let basic = self.basic().expect("a client with an account");
        let value = HeaderValue::from_str(&basic).expect("base64");
        self.headers.insert("authorization", value);
        self
    }

    /// Sent with every request.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a test's header value");
        self.headers.insert(name, value);
        self
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request with the token dance and the body still to come.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Bytes>,
    ) -> Result<Response> {
        let scope = token::scope(&method, path);
        let known = self.tokens.lock().unwrap().get(&scope).cloned();
        let shown = known.map(|token| format!("Bearer {token}"));
        let answer = self
            .attempt(&method, path, headers, body.clone(), shown)
            .await?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        match self.authorise(&answer, &scope).await? {
            Some(shown) => {
                self.attempt(&method, path, headers, body, Some(shown))
                    .await
            }
            None => Ok(answer),
        }
    }

    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Bytes>,
        authorization: Option<String>,
    ) -> Result<Response> {
        // Locations of uploads may be absolute.
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{path}", self.base),
        };
        let mut request = self
            .http
            .request(method.clone(), url)
            .headers(self.headers.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        Ok(request.send().await?)
    }

    /// One request and its whole answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Bytes>,
    ) -> Result<Reply> {
        let answer = self.open(method, path, headers, body).await?;
        Ok(Reply::read(answer).await)
    }

    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn head(&self, path: &str) -> Result<Reply> {
        self.send(Method::HEAD, path, &[], None).await
    }

    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// GET of a manifest by tag or digest, whatever the answer.
    pub async fn get_manifest(
        &self,
        repository: &str,
        reference: impl std::fmt::Display,
    ) -> Result<Reply> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send(Method::GET, &path, &[("accept", ACCEPT_MANIFESTS)], None)
            .await
    }

    pub async fn head_manifest(
        &self,
        repository: &str,
        reference: impl std::fmt::Display,
    ) -> Result<Reply> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send(Method::HEAD, &path, &[("accept", ACCEPT_MANIFESTS)], None)
            .await
    }

    pub async fn get_blob(&self, repository: &str, digest: &Digest) -> Result<Reply> {
        self.get(&format!("/v2/{repository}/blobs/{digest}")).await
    }

    /// `range` is the header's value.
    pub async fn get_range(&self, repository: &str, digest: &Digest, range: &str) -> Result<Reply> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.send(Method::GET, &path, &[("range", range)], None)
            .await
    }

    /// A manifest that is there and true.
    pub async fn manifest(
        &self,
        repository: &str,
        reference: impl std::fmt::Display,
    ) -> Result<(Digest, Reply)> {
        let reply = self.get_manifest(repository, &reference).await?;
        let digest = reply
            .verified()
            .with_context(|| format!("{repository}:{reference}"))?;
        let asked: Option<Digest> = reference.to_string().parse().ok();
        ensure!(
            asked.is_none_or(|asked| asked == digest),
            "asked for {reference}, got {digest}"
        );
        Ok((digest, reply))
    }

    /// A whole blob, hashed as it comes and not kept; its size.
    pub async fn blob(&self, repository: &str, digest: &Digest) -> Result<u64> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let mut answer = self.open(Method::GET, &path, &[], None).await?;
        if answer.status() != 200 {
            anyhow::bail!("{path}: {:?}", Reply::read(answer).await);
        }
        let promised = answer.content_length();
        let mut hasher = Hasher::new(digest.algorithm());
        while let Some(chunk) = answer.chunk().await.with_context(|| path.clone())? {
            hasher.update(&chunk);
        }
        let size = hasher.length();
        ensure!(
            promised == Some(size),
            "{path}: {promised:?} promised, {size} came"
        );
        let computed = hasher.finish();
        ensure!(computed == *digest, "{path}: the body hashes to {computed}");
        Ok(size)
    }

    /// Pulls as a client of that architecture does: reference, platform manifest, config and layers.
    pub async fn pull(
        &self,
        repository: &str,
        reference: impl std::fmt::Display,
        architecture: &str,
    ) -> Result<Pulled> {
        let (digest, top) = self.manifest(repository, &reference).await?;
        let manifest = match child(&top.json()?, architecture) {
            Some(child) => self.manifest(repository, child).await?.1.json()?,
            None => top.json()?,
        };
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let mut blobs = Vec::new();
        for descriptor in std::iter::once(&manifest["config"]).chain(layers) {
            let digest: Digest = descriptor["digest"]
                .as_str()
                .context("no digest")?
                .parse()?;
            let size = self.blob(repository, &digest).await?;
            ensure!(descriptor["size"] == size, "{descriptor} has {size} bytes");
            blobs.push(digest);
        }
        Ok(Pulled {
            digest,
            headers: top.headers,
            blobs,
        })
    }

    /// All tags, page by page.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let mut path = format!("/v2/{repository}/tags/list");
        let mut tags = Vec::new();
        for _ in 0..1000 {
            let reply = self.get(&path).await?;
            ensure!(reply.status == 200, "{path}: {reply:?}");
            let page = reply.json()?["tags"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            tags.extend(page.iter().filter_map(Value::as_str).map(str::to_owned));
            match reply.next_page() {
                Some(next) => path = next,
                None => return Ok(tags),
            }
        }
        anyhow::bail!("a list of tags without an end at {path}")
    }

    /// The descriptors of what refers to `subject`, and the answer.
    pub async fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<(Vec<Value>, Reply)> {
        let reply = self
            .get(&format!("/v2/{repository}/referrers/{subject}"))
            .await?;
        ensure!(reply.status == 200, "referrers: {reply:?}");
        let listed = reply.json()?["manifests"].as_array().cloned();
        Ok((listed.context("no list of manifests")?, reply))
    }
}

impl Reply {
    pub async fn read(mut answer: Response) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        let cut = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        Self {
            status,
            headers,
            body: body.into(),
            cut,
        }
    }

    /// The first value of a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All values of a header, joined as HTTP allows.
    pub fn header_all(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }

    /// The code of the first error of a spec-shaped body; empty when it is none.
    pub fn code(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The digest of a 200 whose body came whole and is what its headers say.
    pub fn verified(&self) -> Result<Digest> {
        ensure!(
            self.status == 200 && self.cut.is_none(),
            "no whole answer: {self:?}"
        );
        let named: Option<Digest> = self
            .header("docker-content-digest")
            .and_then(|d| d.parse().ok());
        let named = named.with_context(|| format!("no Docker-Content-Digest: {self:?}"))?;
        let computed = Digest::of(named.algorithm(), &self.body);
        ensure!(computed == named, "named {named}, is {computed}");
        let length = self.header("content-length").and_then(|l| l.parse().ok());
        ensure!(
            length == Some(self.body.len()),
            "length {length:?}, is {}",
            self.body.len()
        );
        Ok(named)
    }

    /// The SHA-256 of what came.
    pub fn digest(&self) -> Digest {
        Digest::of(Algorithm::Sha256, &self.body)
    }

    /// The path and query of `Link: <…>; rel="next"`.
    pub fn next_page(&self) -> Option<String> {
        let (target, _) = self.header("link")?.strip_prefix('<')?.split_once('>')?;
        Some(target.to_owned())
    }
}

/// The child of an index for linux on that architecture; `None` when it is no index.
fn child(manifest: &Value, architecture: &str) -> Option<String> {
    let children = manifest["manifests"].as_array()?;
    let platform = |child: &&Value| child["platform"]["architecture"] == architecture;
    let found = children.iter().find(platform)?;
    found["digest"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
