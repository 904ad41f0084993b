//! The mesh's CA for clients to trust, and what an operator does to the control plane itself: a new CA, going on after a restore.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use identity::certificate;
use schemars::JsonSchema;
use serde::Serialize;
use wire::{
    api::{mesh::Published, problem::Problem},
    generation::Generation,
    schema,
    time::{WallTime, rfc3339},
};

use super::{Api, call::Call, json};
use crate::{ca, issuer, signing_key};

/// New keys.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rotated {
    /// When they begin to sign; they are believed and published from now on.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    signs_from: WallTime,
    /// The id of the new key of rule grants; left out where the last one does not sign yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_key: Option<String>,
    /// The id of the new key of federation tokens; left out where the last one does not sign yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    federation_key: Option<String>,
}

/// The issuer's keys after a revocation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revoked {
    /// What tells it to the nodes.
    generation: Generation,
    /// The id of the one key of rule grants.
    grant_key: String,
    /// The id of the one key of federation tokens.
    federation_key: String,
    /// The ids of the keys that nobody is to believe any more.
    revoked: Vec<String>,
}

/// Of certificates as text.
pub(super) const PEM: &str = "application/x-pem-file";

/// `GET /api/v1/ca`
pub(super) async fn authorities(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let pem = certificate::to_pem(&api.ca.roots());
    Ok(([(header::CONTENT_TYPE, PEM)], pem).into_response())
}

/// `POST /api/v1/keys:rotate`: the CA and the issuer's keys. One of them may be new already, when a rotation broke off between them.
pub(super) async fn rotate(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let who = &call.caller.who;
    let authority = match api.ca.rotate(who).await {
        Err(error) if !matches!(error, ca::Error::Rotating(_)) => return Err(error.into()),
        rotated => rotated,
    };
    let issuer = api.issuer.rotate(who).await;
    let rotated = match (authority, issuer) {
        (authority, Ok(keys)) => Rotated {
            signs_from: authority.map_or(keys.signs_from, |from| from.max(keys.signs_from)),
            grant_key: Some(keys.grant),
            federation_key: Some(keys.federation),
        },
        (Ok(signs_from), Err(signing_key::Error::Rotating(_))) => Rotated {
            signs_from,
            grant_key: None,
            federation_key: None,
        },
        (Err(rotating), Err(signing_key::Error::Rotating(_))) => return Err(rotating.into()),
        (_, Err(error)) => return Err(error.into()),
    };
    Ok(json(200, &rotated))
}

/// `POST /api/v1/keys:revoke`: the issuer's keys. Not the CA, without which no node could be told of another.
pub(super) async fn revoke(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let issuer::Revoked { keys, generation } = api.issuer.revoke(&call.caller.who).await?;
    let revoked = Revoked {
        generation,
        grant_key: keys.grant,
        federation_key: keys.federation,
        revoked: keys.revoked,
    };
    Ok(json(200, &revoked))
}

/// `POST /api/v1/recover`
pub(super) async fn recover(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let generation = api.nodes.recover(&call.caller.who).await?;
    Ok(json(200, &Published { generation }))
}
