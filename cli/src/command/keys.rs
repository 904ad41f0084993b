//! `regmesh keys rotate`: the mesh CA and the issuer's keys, with overlap.

use clap::Subcommand;
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
    Rotate,
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

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(keys: Keys, global: &Global) -> anyhow::Result<Exit> {
    let Keys::Rotate = keys;
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
