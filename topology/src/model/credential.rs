//! A credential set: where a user name and a password for one registry are.

use wire::{name::IdentityName, secret_ref::SecretRef};

/// A credential set, by reference only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The registry it is for; `docker.io` for all of its aliases.
    pub login_server: String,
    /// Where the user name is.
    pub username: SecretRef,
    /// Where the password is.
    pub password: SecretRef,
    /// The Azure identity that reads the vault, if not the machine's own.
    pub identity: Option<IdentityName>,
}
