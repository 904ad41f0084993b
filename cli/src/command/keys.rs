//! `regmesh keys rotate`: the mesh CA and the issuer's keys, with overlap; after a leak the issuer's alone, without.

use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    output,
};

/// What to do with keys.
#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// Make new keys of the CA and of the issuer: believed at once, signing after an overlap, so that no node is cut off
    Rotate(Rotate),
}

/// `regmesh keys rotate`
#[derive(Debug, Clone, Args)]
pub struct Rotate {
    /// After a leak: drop the issuer's keys at once, so that nothing they signed is believed, and sign by new ones; not the CA's
    #[arg(long)]
    pub revoke: bool,
    /// Do not ask; needed where nobody can be asked
    #[arg(short, long, requires = "revoke")]
    pub yes: bool,
}

/// What the control plane answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotated {
    signs_from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    federation_key: Option<String>,
}

/// What the control plane answers when keys are revoked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    generation: u64,
    grant_key: String,
    federation_key: String,
    revoked: Vec<String>,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(keys: Keys, global: &Global) -> anyhow::Result<Exit> {
    let Keys::Rotate(rotate) = keys;
    if rotate.revoke {
        return revoke(rotate.yes, global).await;
    }
    let client = Client::new(global)?;
    let rotated: Rotated = client
        .send(
            Method::POST,
            "/api/v1/keys:rotate",
            NOTHING,
            &serde_json::json!({}),
        )
        .await?;
    output::object(global, &rotated, || {
        format!(
            "a new CA and new keys of the issuer are believed from now on; they sign from {}",
            rotated.signs_from
        )
    })?;
    if rotated.federation_key.is_some() {
        output::words(
            global,
            "where `regmesh export issuer` put its files, put them anew before that",
        );
    }
    Ok(Exit::Ok)
}

async fn revoke(yes: bool, global: &Global) -> anyhow::Result<Exit> {
    super::agree(
        yes,
        "drop every key of the issuer: foreign services believe no federation token until they have the new keys",
    )?;
    let client = Client::new(global)?;
    let path = "/api/v1/keys:revoke";
    let empty = serde_json::json!({});
    let revoked: Revoked = client.send(Method::POST, path, NOTHING, &empty).await?;
    output::object(global, &revoked, || {
        let (gone, generation) = (revoked.revoked.len(), revoked.generation);
        format!("{gone} keys of the issuer are dropped; generation {generation} tells the nodes")
    })?;
    output::words(
        global,
        "where `regmesh export issuer` put its files, put them anew now; `regmesh status` shows which nodes have the generation",
    );
    Ok(Exit::Ok)
}
