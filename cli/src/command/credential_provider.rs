//! `regmesh credential-provider`: the kubelet's exec protocol. The pod's service account token in, a token of the image's registry out.
//!
//! A registry is named by whoever writes the image into a pod, so a pod's token goes to the one that it is made for (its `aud`), or to
//! those that `--registry` names, and to no other: a kubelet whose `matchImages` are too wide gives nothing away. What comes back is a
//! refresh token, good as a password, that ends with the pod's token; the kubelet keeps it a minute less. Source:
//! `reference/protocols.md` 5.1.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use anyhow::Context;
use clap::Args;
use runtime::{clock::Clock, secret::Secret};
use serde::{Deserialize, Serialize};

use crate::{
    args::Global,
    exit::Exit,
    fault::Code,
    registry::{Proof, Registry, TOKEN_USER},
    unverified,
};

/// The version of the protocol that is spoken.
const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
/// The longest request read, in bytes.
const LONGEST: u64 = 1 << 20;
/// What is kept for so many seconds less than it lasts.
const MARGIN: i64 = 60;
/// The longest that the kubelet is told to keep anything, in seconds.
const MOST: i64 = 3_600;

/// `regmesh credential-provider`
#[derive(Debug, Clone, Args)]
pub struct CredentialProvider {
    /// A registry that pods' tokens may be shown to whatever their audience (may be repeated); without it: the one that is their audience
    #[arg(
        long,
        env = "REGMESH_REGISTRIES",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub registry: Vec<String>,
}

/// What the kubelet asks. Not `Debug`: it holds a token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    api_version: String,
    kind: String,
    image: String,
    #[serde(default)]
    service_account_token: String,
}

/// What it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: &'static str,
    kind: &'static str,
    cache_key_type: &'static str,
    cache_duration: String,
    auth: BTreeMap<String, Auth>,
}

#[derive(Serialize)]
struct Auth {
    username: &'static str,
    password: String,
}

/// Answers the request on standard input.
///
/// # Errors
/// Why there is no credential.
pub async fn run(provider: &CredentialProvider, global: &Global) -> anyhow::Result<Exit> {
    let mut request = Vec::new();
    io::stdin().take(LONGEST).read_to_end(&mut request)?;
    let ca_pem = global.ca_pem()?;
    let now = Clock::system().wall_ms() / 1_000;
    let response = answer(provider, &request, ca_pem, now).await?;
    let mut out = io::stdout().lock();
    out.write_all(&response)
        .and_then(|()| out.flush())
        .context(Code::FileUnwritable.says("the answer cannot be written"))?;
    Ok(Exit::Ok)
}

/// The answer to a request, at `now` in seconds since 1970.
async fn answer(
    provider: &CredentialProvider,
    request: &[u8],
    ca_pem: Option<Vec<u8>>,
    now: i64,
) -> anyhow::Result<Vec<u8>> {
    let request: Request = serde_json::from_slice(request)
        .context(Code::InvalidFile.says("standard input holds no request of a kubelet"))?;
    anyhow::ensure!(
        request.api_version == VERSION && request.kind == "CredentialProviderRequest",
        Code::InvalidFile.says(format!(
            "the kubelet speaks {} {}, and this is {VERSION}: set apiVersion in its configuration",
            wire::oci_error::clean(&request.api_version),
            wire::oci_error::clean(&request.kind)
        ))
    );
    let server = server(&request.image)?;
    let token = Secret::new(request.service_account_token);
    let keep = keep(provider, &token, server, now)?;
    let registry = Registry::find(server, ca_pem).await?;
    let password = registry.refresh_token(&Proof::Token(token)).await?;
    let auth = Auth {
        username: TOKEN_USER,
        password: password.expose().clone(),
    };
    let response = Response {
        api_version: VERSION,
        kind: "CredentialProviderResponse",
        cache_key_type: "Registry",
        cache_duration: format!("{keep}s"),
        auth: [(server.to_owned(), auth)].into(),
    };
    Ok(serde_json::to_vec(&response)?)
}

/// For how many seconds what the token is traded for may be kept, when it may be shown to `server`.
fn keep(
    provider: &CredentialProvider,
    token: &Secret<String>,
    server: &str,
    now: i64,
) -> anyhow::Result<i64> {
    anyhow::ensure!(!token.expose().is_empty(), Code::InvalidFile.says("the kubelet gave no service account token: set tokenAttributes with serviceAccountTokenAudience in its configuration"));
    let claims = unverified::claims(token.expose());
    let claims = claims.context(Code::InvalidFile.says("the service account token is no JWT"))?;
    let named = provider.registry.iter().any(|known| known == server);
    anyhow::ensure!(named || (provider.registry.is_empty() && unverified::is_for(&claims, server)), Code::InvalidFile.says(format!("the pod's token is not for {server}: make that its serviceAccountTokenAudience, or name the registry with --registry")));
    let ends = unverified::ends(&claims)
        .context(Code::InvalidFile.says("the service account token has no end"))?;
    anyhow::ensure!(
        ends > now,
        Code::InvalidFile.says("the service account token has ended")
    );
    Ok((ends - now - MARGIN).clamp(0, MOST))
}

/// The registry in an image's name.
fn server(image: &str) -> anyhow::Result<&str> {
    let host = image.split_once('/').map(|(host, _)| host);
    let is_one = |host: &&str| host.contains('.') || host.contains(':') || *host == "localhost";
    host.filter(is_one).with_context(|| {
        let image = wire::oci_error::clean(image);
        Code::InvalidFile.says(format!("the image '{image}' names no registry, so it is Docker Hub's, which takes no token of a pod"))
    })
}

#[cfg(test)]
mod tests;
