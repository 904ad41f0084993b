//! The token service of one registry: a proof of who somebody is, for a refresh token that docker and the kubelet can keep.
//!
//! TLS is a must beyond this machine; on loopback plain http is taken where nothing speaks TLS, as docker does it. Which of the two is found
//! out before any secret moves. No redirect is followed, an answer is read to 64 KiB.

use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use runtime::{clock::Clock, egress, secret::Secret};
use serde::Deserialize;
use url::Url;
use wire::oci_error::Said;

use crate::fault::Code;

/// The user name that stands beside a token.
pub const TOKEN_USER: &str = "00000000-0000-0000-0000-000000000000";
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer read, in bytes.
const ANSWER: usize = 64 << 10;

/// A registry that was found.
#[derive(Debug)]
pub struct Registry {
    /// `HOST[:PORT]`, as clients name it.
    pub server: String,
    base: Url,
    http: egress::Client,
    clock: Clock,
}

/// What stands for somebody.
pub enum Proof {
    /// An account.
    Password(String, Secret<String>),
    /// A token of an issuer.
    Token(Secret<String>),
}

#[derive(Deserialize)]
struct Given {
    refresh_token: Option<String>,
}

impl Registry {
    /// Finds the registry at `HOST[:PORT]` or a URL, trusting `ca_pem` beside the platform's authorities.
    ///
    /// # Errors
    /// When that is no registry's address, or it cannot be reached.
    pub async fn find(text: &str, ca_pem: Option<Vec<u8>>) -> anyhow::Result<Self> {
        let written = text.trim_end_matches('/');
        let (given, rest) = match written.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, written),
        };
        let whole = format!("{}://{rest}", given.unwrap_or("https"));
        let base = Url::parse(&whole).ok().filter(|url| is_bare(url, rest));
        let base = base.with_context(|| {
            Code::InvalidAddress.says(format!(
                "'{text}' is no login server; write it like registry.example:5000"
            ))
        })?;
        let local = is_loopback(&base);
        anyhow::ensure!(
            base.scheme() == "https" || local,
            Code::InvalidAddress.says(format!(
                "{base} is plain http beyond this machine: no token is sent there"
            ))
        );
        let options = egress::Options {
            ca_pem,
            policy: egress::Policy::naming(base.host_str()),
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..egress::Options::default()
        };
        // Of a URL, as its login server is written: without the scheme's own port.
        let host = base.host_str().unwrap_or_default();
        let server = match (given, base.port()) {
            (None, _) => rest.to_owned(),
            (Some(_), None) => host.to_owned(),
            (Some(_), Some(port)) => format!("{host}:{port}"),
        };
        let mut found = Self {
            server,
            base,
            http: options.build()?,
            clock: Clock::system(),
        };
        if given.is_none() && local && found.probe().await.is_err() {
            found.base = format!("http://{rest}").parse()?;
        }
        found.probe().await?;
        Ok(found)
    }

    /// A refresh token for whoever the proof shows.
    ///
    /// # Errors
    /// When the registry does not take it, or cannot be asked.
    pub async fn refresh_token(&self, proof: &Proof) -> anyhow::Result<Secret<String>> {
        let service = ("service", self.server.as_str());
        let (path, form) = match proof {
            Proof::Password(account, password) => {
                let form = vec![
                    ("grant_type", "password"),
                    ("username", account),
                    ("password", password.expose()),
                    ("access_type", "offline"),
                    ("client_id", "regmesh"),
                    service,
                ];
                ("oauth2/token", form)
            }
            Proof::Token(token) => {
                let form = vec![
                    ("grant_type", "access_token"),
                    ("access_token", token.expose()),
                    service,
                ];
                ("oauth2/exchange", form)
            }
        };
        let request = self.http.request(Method::POST, &self.base.join(path)?)?;
        let (status, body) = self.ask(request.form(&form)).await?;
        if status != StatusCode::OK {
            let (server, said) = (&self.server, Said::parse(&body));
            anyhow::bail!(Code::RegistryRefused.says(format!(
                "{server} does not give a token: {} {said}",
                status.as_u16()
            )));
        }
        let given: Option<Given> = serde_json::from_slice(&body).ok();
        let token = given.and_then(|given| given.refresh_token);
        let token = token.with_context(|| Code::RegistryRefused.says(format!(
                "{} gave no refresh token: either whoever this is has no role there, or it is no node of regmesh",
                self.server
            )))?;
        Ok(Secret::new(token))
    }

    /// Whether anybody answers.
    async fn probe(&self) -> anyhow::Result<()> {
        let request = self.http.request(Method::GET, &self.base.join("v2/")?)?;
        self.ask(request).await.map(drop)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let whole = async {
            let mut response = request.send().await?;
            let (status, mut body) = (response.status(), Vec::new());
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > ANSWER {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((status, body))
        };
        let asked = self.clock.timeout(PATIENCE, whole).await;
        let answer = asked.with_context(|| {
            Code::RegistryUnreachable.says(format!("{} does not answer in time", self.server))
        })?;
        answer.map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            Code::RegistryUnreachable.error(format!("{} cannot be reached: {cause}", self.server))
        })
    }
}

/// Whether a URL is nothing but `rest`, a host and perhaps a port.
fn is_bare(url: &Url, rest: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    let port = rest.strip_prefix(host);
    let port = port.is_some_and(|port| {
        let number = port.strip_prefix(':').unwrap_or("1");
        (port.is_empty() || port.starts_with(':')) && number.parse::<u16>().is_ok()
    });
    matches!(url.scheme(), "http" | "https") && !host.is_empty() && port
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
