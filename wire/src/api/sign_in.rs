//! Signing in at the control plane: an account's password or an issuer's device flow for a session token, and who a token says one is.
//!
//! The device flow (RFC 8628) is run by the control plane, which has the issuer's CA and client secret; whoever signs in sees a code and
//! an address, and asks until it is done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    assignment::Role,
    name::{IdentityName, IssuerName},
    schema,
    time::{WallTime, rfc3339},
};

/// The body of `POST /api/v1/sign-in`. Not `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The account.
    pub account: String,
    /// Its password.
    pub password: String,
}

/// A session. Not `Debug`: it holds a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The bearer token.
    pub token: String,
    /// When it ends.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: WallTime,
}

/// `GET /api/v1/sign-in`: how people may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Offered {
    /// Issuers whose device flow is run here.
    pub issuers: Vec<IssuerName>,
}

/// The body of `POST /api/v1/sign-in/device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceRequest {
    /// One of those that are offered.
    pub issuer: String,
}

/// A device flow that has begun. Not `Debug`: whoever has the id gets the session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// What to ask for the outcome with. A secret.
    pub id: String,
    /// What the person types at `verification_uri`.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// Seconds between two questions, at least.
    pub interval: u32,
    /// When it is too late.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: WallTime,
}

/// The person has not finished yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pending {
    /// Seconds until the next question, at least.
    pub interval: u32,
}

/// What a device flow ends with. Not `Debug`: it holds tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    /// The session's bearer token.
    pub token: String,
    /// When the session ends.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: WallTime,
    /// The issuer's token: what nodes take.
    pub id_token: String,
}

/// `GET /api/v1/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// As the audit log names it: `admin-token`, `account:NAME`, `issuer:NAME:SUBJECT`.
    pub who: String,
    /// Its mesh-wide roles.
    pub roles: Vec<Role>,
    /// The identities it may put into rules; of an administrator none is listed, it may use all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityName>,
    /// When the session or the issuer's token ends; absent for the admin token.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub expires_at: Option<WallTime>,
}
