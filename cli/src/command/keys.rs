//! `regmesh keys rotate`: the mesh CA, with overlap.

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
    /// Make a new CA key: believed at once, signing after an overlap, so that no node is cut off
    Rotate,
}

/// What the control plane answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotated {
    signs_from: String,
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
            "a new CA is believed from now on; it signs from {}",
            rotated.signs_from
        )
    })?;
    Ok(Exit::Ok)
}
