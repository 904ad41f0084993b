//! `issuers`: OIDC issuers whose tokens nodes accept.

use super::{Secret, Text, value::OneOrMany};
use crate::{place::At, read::section::section};

section! {
    /// An OIDC issuer.
    Issuer = "an issuer" {
        /// Its URL, exactly as its tokens name it.
        url: Text = "url", required;
        /// Audiences taken; default: the node's own login server.
        audience: Option<OneOrMany> = "audience";
        /// Signature algorithms taken; default RS256 and ES256.
        algorithms: Vec<At<String>> = "algorithms";
        /// Where its keys are, instead of discovery.
        jwks_uri: Text = "jwksUri";
        /// A file with its keys, instead of discovery.
        jwks: Text = "jwks";
        /// CA file for its TLS.
        ca: Text = "ca";
        /// File with a bearer token for its discovery (in-cluster issuers).
        discovery_token: Option<Secret> = "discoveryToken";
        /// Client id: lets people sign in from the CLI and the console.
        client_id: Text = "clientId";
        /// Where the client secret is.
        client_secret: Option<Secret> = "clientSecret";
    }
}
