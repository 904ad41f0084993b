//! The discovery document, as strict OpenID libraries want it: there is an `authorization_endpoint`, and nothing answers there.
//!
//! Only the keys of federation tokens are in the JWKS that it points at. Source: `reference/protocols.md` 5.3.

use serde_json::{Value, json};

/// The discovery document of the issuer at `url`, which is named exactly as given.
pub(super) fn document(url: &str) -> Value {
    let base = url.trim_end_matches('/');
    json!({
        "issuer": url,
        "authorization_endpoint": format!("{base}/authorize"),
        "jwks_uri": format!("{base}/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "regmesh"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_is_named_exactly_and_its_endpoints_are_below_it() {
        for (url, keys) in [
            ("https://c.example", "https://c.example/keys"),
            ("https://c.example/", "https://c.example/keys"),
            ("https://id.example/mesh", "https://id.example/mesh/keys"),
        ] {
            let document = document(url);
            assert_eq!(document["issuer"], url);
            assert_eq!(document["jwks_uri"], keys);
        }
    }
}
