//! What an issuer says about itself, and how anything is fetched from one.
//!
//! Our own discovery, because the library's demands an `authorization_endpoint`, which Kubernetes and GitHub do not have. The issuer
//! must be the very one that was asked for (a trailing slash counts). Its keys may be on another host, but only where the internet can
//! reach or the topology says: an answer cannot turn us against our own network. No redirect is followed, a body is read to 256 KiB,
//! and the token of an in-cluster issuer goes to the origins that the topology names, never where a document points. CA and token are
//! read again each time. Source: OpenID Connect Discovery 1.0; `reference/protocols.md` 5.1, 5.2; `reference/faults.md` T49.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use runtime::{
    Clock,
    egress::{self, Client, Options, Policy},
};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Host, Url};
use wire::{oci_error::clean, secret_ref::SecretRef};

use super::{Away, MAX_BYTES};
use crate::secret::Secrets;

/// How long one look at an issuer may take, all its requests together.
pub const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(5);

/// Where an issuer is, and what the way to it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its URL, exact.
    pub url: String,
    /// Where its keys are, when the topology says so and discovery is not used.
    pub keys: Option<Keys>,
    /// CA file trusted beside the platform's.
    pub ca: Option<PathBuf>,
    /// File with a bearer token for its documents.
    pub token: Option<PathBuf>,
}

/// Where the topology says that an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// At a URL.
    Uri(String),
    /// In a file.
    File(PathBuf),
}

/// What of a discovery document is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// The issuer: exactly the one that was asked.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where clients get tokens.
    pub token_endpoint: Option<String>,
    /// Where people who sign in on a device begin (RFC 8628).
    pub device_authorization_endpoint: Option<String>,
    /// What clients may ask to be told of people.
    #[serde(default)]
    pub scopes_supported: Vec<String>,
    /// How clients may show their secret; by Basic when nothing is said.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
}

/// An answer of status 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Place {
    /// The issuer's discovery document, asked for now.
    ///
    /// # Errors
    /// When it cannot be had within [`PATIENCE`], or is another issuer's.
    pub async fn discover(&self, clock: &Clock) -> Result<Document, Away> {
        let asked = async { self.document(&self.client().await?).await };
        in_time(clock, &self.url, asked).await
    }

    /// The issuer's key set as it is published now.
    pub(super) async fn keys(&self, clock: &Clock) -> Result<Answer, Away> {
        in_time(clock, &self.url, self.key_set()).await
    }

    async fn key_set(&self) -> Result<Answer, Away> {
        let client = self.client().await?;
        let at = match &self.keys {
            Some(Keys::Uri(uri)) => url(uri)?,
            Some(Keys::File(_)) => return Err(Away::new("its keys are in a file")),
            None => self.pointed_at(&self.document(&client).await?)?,
        };
        self.get(&client, &at).await
    }

    async fn document(&self, client: &Client) -> Result<Document, Away> {
        // A trailing slash is part of the issuer's name, but not doubled on the way (Discovery 1.0, 4.1).
        let bare = self.url.strip_suffix('/').unwrap_or(&self.url);
        let at = url(&format!("{bare}/.well-known/openid-configuration"))?;
        let answer = self.get(client, &at).await?;
        let document: Document = json(&at, &answer.body)?;
        if document.issuer != self.url {
            let other = clean(&document.issuer);
            return Err(Away::new(format!(
                "{} says that it is the issuer '{other}': `url` must be exactly that",
                shown(&at)
            )));
        }
        Ok(document)
    }

    /// A document may name any host, but not a way that is less safe than its own.
    fn pointed_at(&self, document: &Document) -> Result<Url, Away> {
        let at = url(&document.jwks_uri)?;
        if self.url.starts_with("https:") && at.scheme() != "https" {
            let at = clean(&document.jwks_uri);
            return Err(Away::new(format!(
                "its jwks_uri '{at}' is not https, and the issuer is"
            )));
        }
        Ok(at)
    }

    /// A client for this issuer alone; connects to loopback and private addresses of the declared hosts and of no others.
    async fn client(&self) -> Result<Client, Away> {
        let ca_pem = match &self.ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let hosts = self
            .declared()
            .filter_map(|url| Some(url.host_str()?.to_owned()));
        let options = Options {
            ca_pem,
            policy: Policy::naming(hosts),
            connect_timeout: SILENCE,
            read_timeout: SILENCE,
            ..Options::default()
        };
        options
            .build()
            .map_err(|error| Away::new(error.to_string()))
    }

    fn declared(&self) -> impl Iterator<Item = Url> {
        let keys = match &self.keys {
            Some(Keys::Uri(uri)) => Some(uri.as_str()),
            Some(Keys::File(_)) | None => None,
        };
        [Some(self.url.as_str()), keys]
            .into_iter()
            .flatten()
            .filter_map(|text| Url::parse(text).ok())
    }

    async fn get(&self, client: &Client, at: &Url) -> Result<Answer, Away> {
        let request = client
            .request(Method::GET, at)
            .map_err(|refused| Away::new(refused.to_string()))?;
        let request = request.header(header::ACCEPT, "application/json");
        let request = match self.bearer_for(at).await? {
            Some(bearer) => request.header(header::AUTHORIZATION, bearer),
            None => request,
        };
        let response = request.send().await.map_err(|error| lost(at, error))?;
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            let what = match response.status().is_redirection() {
                true => "a redirect, and none is followed",
                false => "which is not 200",
            };
            return Err(Away::new(format!(
                "{} answered {status}, {what}",
                shown(at)
            )));
        }
        let headers = response.headers().clone();
        let body = bounded(at, response).await?;
        Ok(Answer { headers, body })
    }

    /// The token for its documents, where the topology itself names the origin.
    async fn bearer_for(&self, at: &Url) -> Result<Option<HeaderValue>, Away> {
        let Some(path) = &self.token else {
            return Ok(None);
        };
        if !self.declared().any(|url| url.origin() == at.origin()) {
            return Ok(None);
        }
        if at.scheme() != "https" && !is_loopback(at) {
            let at = shown(at);
            return Err(Away::new(format!(
                "{at} is plain http, where no token is sent"
            )));
        }
        let reference = SecretRef::File(path.clone());
        let token = Secrets::new(|_| None).read(&reference).await;
        let token = token.map_err(|error| Away::new(error.to_string()))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
        let mut bearer =
            bearer.map_err(|_| Away::new(format!("file {}: holds no token", path.display())))?;
        bearer.set_sensitive(true);
        Ok(Some(bearer))
    }
}

async fn in_time<T>(
    clock: &Clock,
    whom: &str,
    asked: impl Future<Output = Result<T, Away>>,
) -> Result<T, Away> {
    let late = |_| {
        let seconds = PATIENCE.as_secs();
        Err(Away::new(format!(
            "{} gave no answer within {seconds} s",
            clean(whom)
        )))
    };
    clock.timeout(PATIENCE, asked).await.unwrap_or_else(late)
}

async fn bounded(at: &Url, mut response: reqwest::Response) -> Result<Bytes, Away> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(at, error))? {
        if body.len() + chunk.len() > MAX_BYTES {
            let at = shown(at);
            return Err(Away::new(format!("{at} sent more than {MAX_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A file of the operator's, within the limit.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, Away> {
    use tokio::io::AsyncReadExt;
    let failed = |error: std::io::Error| Away::new(format!("file {}: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    file.take(most)
        .read_to_end(&mut bytes)
        .await
        .map_err(failed)?;
    Ok(bytes)
}

fn json<T: DeserializeOwned>(at: &Url, body: &[u8]) -> Result<T, Away> {
    serde_json::from_slice(body)
        .map_err(|_| Away::new(format!("{} sent no discovery document", shown(at))))
}

fn url(text: &str) -> Result<Url, Away> {
    Url::parse(text).map_err(|_| Away::new(format!("'{}' is not a URL", clean(text))))
}

fn is_loopback(at: &Url) -> bool {
    match at.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Without user information and query, which may be anything.
fn shown(at: &Url) -> String {
    let host = at.host_str().unwrap_or_default();
    let port = at.port().map(|port| format!(":{port}")).unwrap_or_default();
    clean(&format!("{}://{host}{port}{}", at.scheme(), at.path()))
}

/// Why there is no answer: the innermost cause, which is the one that says something.
fn lost(at: &Url, error: reqwest::Error) -> Away {
    if let Some(refused) = egress::refused(&error) {
        return Away::new(format!(
            "{refused}; if its keys are there, say so with `jwksUri`"
        ));
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Away::new(format!("{}: {}", shown(at), clean(&cause.to_string())))
}
