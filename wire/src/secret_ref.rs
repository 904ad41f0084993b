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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_topology_has_it() {
        for (reference, text) in [
            (SecretRef::Env("A".into()), r#"{"env":"A"}"#),
            (SecretRef::File("/run/s".into()), r#"{"file":"/run/s"}"#),
            (
                SecretRef::KeyVault("https://v.example/s".into()),
                r#"{"keyVault":"https://v.example/s"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&reference).expect("JSON"), text);
            assert_eq!(
                serde_json::from_str::<SecretRef>(text).expect("a reference"),
                reference
            );
        }
    }
}
