//! Signing in at the control plane: an account's password for a session token, and who a token says one is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    assignment::Role,
    name::IdentityName,
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

/// `GET /api/v1/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// As the audit log names it: `admin-token`, `account:NAME`.
    pub who: String,
    /// Its mesh-wide roles.
    pub roles: Vec<Role>,
    /// The identities it may put into rules; of an administrator none is listed, it may use all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityName>,
    /// When the session ends; absent for the admin token.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::Time>")]
    pub expires_at: Option<WallTime>,
}
