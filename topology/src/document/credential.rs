//! `credentials` and `accounts`: where secrets are.

use super::{Secret, Text};
use crate::read::section::section;

section! {
    /// A credential set: a user name and a password for one registry, by reference.
    Credential = "a credential set" {
        /// The registry it is for, `HOST[:PORT]`.
        login_server: Text = "loginServer", required;
        /// Where the user name is.
        username: Option<Secret> = "username", required;
        /// Where the password is.
        password: Option<Secret> = "password", required;
        /// The `azure` identity that reads the vault; default: the machine's own.
        identity: Text = "identity";
    }
}

section! {
    /// A local account, for first steps and robots.
    Account = "an account" {
        /// Where its password is.
        password: Option<Secret> = "password", required;
    }
}
