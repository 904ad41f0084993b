//! `regmesh login --docker`: refresh tokens of nodes into docker's configuration, for whoever signs in.
//!
//! A node is named as the topology does, which asks the control plane where it is and whom to trust for it, or by its login server, which
//! asks nobody. The proof is shown to each node by itself; what comes back is worth something there alone.

use anyhow::Context;
use runtime::{clock::Clock, secret::Secret};
use url::Url;
use wire::{api::resource::Resource, name::NodeName};

use super::{SignIn, device, password, pick, signed_in};
use crate::{
    args::Global,
    client::{Client, NOTHING},
    docker_config::DockerConfig,
    exit::Exit,
    fault::Code,
    login, output,
    registry::{Proof, Registry},
    unverified,
};

/// How long a kept token must last to be shown, in seconds.
const AHEAD: i64 = 30;

/// Logs docker in at each of the servers.
///
/// # Errors
/// When a node does not take the proof, or docker's configuration cannot be written; what was done before stays.
pub(super) async fn run(sign_in: &SignIn, global: &Global) -> anyhow::Result<Exit> {
    let mut config = DockerConfig::read(&DockerConfig::place()?)?;
    let mut found = Vec::new();
    for server in &sign_in.docker {
        found.push(find(server, global).await?);
    }
    let proof = proof(sign_in, global).await?;
    for registry in found {
        let token = registry.refresh_token(&proof).await?;
        let kept = config.keep(&registry.server, &token).await?;
        let text = format!("docker is logged in to {}; kept in {kept}", registry.server);
        output::words(global, &text);
    }
    Ok(Exit::Ok)
}

async fn find(server: &str, global: &Global) -> anyhow::Result<Registry> {
    let ca_pem = global.ca_pem()?;
    let Ok(node) = server.parse::<NodeName>() else {
        return Registry::find(server, ca_pem).await;
    };
    let (address, client) = (login::address(global)?, Client::new(global)?);
    let path = format!("/api/v1/nodes/{node}");
    let resource: Option<Resource> = client.find(&path, NOTHING).await.with_context(|| {
        format!("where node {node} is cannot be asked; name its login server instead")
    })?;
    let resource =
        resource.with_context(|| Code::NotFound.says(format!("there is no node {node}")))?;
    let endpoint = resource.spec.get("endpoint").and_then(|e| e.as_str());
    let endpoint =
        endpoint.with_context(|| Code::NotFound.says(format!("node {node} has no endpoint")))?;
    let own = resource.spec.get("tls").is_none();
    let trusted = match own && endpoint.starts_with("https:") {
        true => Some(authorities(global, &address, ca_pem).await?),
        false => ca_pem,
    };
    Registry::find(endpoint, trusted).await
}

/// The mesh's CA certificates beside those that a flag names.
async fn authorities(
    global: &Global,
    address: &Url,
    ca_pem: Option<Vec<u8>>,
) -> anyhow::Result<Vec<u8>> {
    let client = Client::at(global, address.clone(), None)?;
    let own = client.text("/api/v1/ca", "application/x-pem-file").await?;
    let mut all = ca_pem.unwrap_or_default();
    all.push(b'\n');
    all.extend_from_slice(own.as_bytes());
    Ok(all)
}

/// What to show the nodes: what the flags name; else an issuer's token at hand; else one that a person signs in for now.
async fn proof(sign_in: &SignIn, global: &Global) -> anyhow::Result<Proof> {
    if let Some(account) = &sign_in.account {
        return Ok(Proof::Password(
            account.clone(),
            password(sign_in, account)?,
        ));
    }
    if let Some(path) = &sign_in.oidc_token_file {
        return Ok(Proof::Token(login::read(path)?));
    }
    let address = login::address(global)?;
    if sign_in.issuer.is_none() {
        let given = login::given(global, &address)?;
        if let Some(token) = given.filter(|token| unverified::claims(token.expose()).is_some()) {
            return Ok(Proof::Token(token));
        }
        let kept = login::kept(&address)?.and_then(|login| login.id_token);
        let now = Clock::system().wall_ms() / 1_000;
        if let Some(token) = kept.filter(|token| lasts(token, now)) {
            return Ok(Proof::Token(Secret::new(token)));
        }
    }
    let issuer = pick(sign_in, &device::offered(global, &address).await?)?;
    let issuer = issuer.context(Code::NoToken.says("name an account with --account, or a file with an issuer's token with --oidc-token-file: nobody signs in with an issuer here"))?;
    let signed = signed_in(global, &address, &issuer).await?;
    Ok(Proof::Token(Secret::new(signed.id_token)))
}

fn lasts(token: &str, now: i64) -> bool {
    let claims = unverified::claims(token);
    let ends = claims.as_ref().and_then(unverified::ends);
    ends.is_some_and(|ends| ends > now + AHEAD)
}
