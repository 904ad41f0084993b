//! Where a secret is; never what it is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A reference to a secret, as credential sets, accounts and webhooks hold it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretRef {
    /// An environment variable of the node's process.
    Env(String),
    /// A file on the node, read again when it changes; one trailing newline is not part of the secret.
    File(PathBuf),
    /// A secret's URL in Azure Key Vault.
    KeyVault(String),
}
