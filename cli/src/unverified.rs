//! What a token says of itself, believed by nobody: for what this machine does with it, such as how long it is worth showing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// The longest token looked at, in bytes.
const LONGEST: usize = 64 << 10;

/// The claims of a JWT; `None` when the text is none.
#[must_use]
pub fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// When it ends, in seconds since 1970.
#[must_use]
pub fn ends(claims: &Map<String, Value>) -> Option<i64> {
    claims.get("exp").and_then(Value::as_i64)
}

/// Whether it is for `audience`.
#[must_use]
pub fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A token that says this, signed by nobody.
    pub(crate) fn token(claims: &Value) -> String {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("e30.{payload}.c2lnbmF0dXJl")
    }

    #[test]
    fn a_token_is_read_and_anything_else_is_none() {
        let read = claims(&token(&json!({"exp": 7, "aud": ["a", "b"]}))).unwrap();
        assert_eq!(ends(&read), Some(7));
        assert!(is_for(&read, "b") && !is_for(&read, "c"));
        for bad in ["", "a.b", "a.b.c", "a.e30.c.d", "regmesh-session.v1.e30.AA"] {
            assert!(claims(bad).is_none(), "{bad}");
        }
    }
}
