//! Public keys: whether one of them signed a token, and what it says.
//!
//! The one place where a JWS of ours is taken apart. ES256 and the expected `typ`, whatever the header asks for; `kid` picks among
//! the keys held here, and a stranger's costs a lookup; a key in the header is never read; any `crit` refuses. Times, issuer and
//! audience are left to the caller. Source: RFC 7515; `reference/protocols.md` 5.2; `reference/faults.md` T50.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{ALGORITHM, Invalid, MAX_TOKEN};

/// Length of an uncompressed P-256 point: a mark and two coordinates.
const POINT: usize = 65;

/// Public keys by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Public(pub(super) BTreeMap<String, Vec<u8>>);

/// A token that one of the keys signed.
#[derive(Debug)]
pub struct Signed<C> {
    /// Which key.
    pub key: String,
    /// What it says.
    pub claims: C,
}

/// What of a header is looked at. Doubled members are an error; embedded keys are unknown members and so ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    crit: Option<Value>,
}

impl Public {
    /// Keys as uncompressed points, by id.
    #[must_use]
    pub fn new(points: BTreeMap<String, Vec<u8>>) -> Self {
        Self(points)
    }

    /// Keys as slices carry them: uncompressed points in base64url without padding, by id. What is none is passed over: it opens
    /// nothing.
    #[must_use]
    pub fn read(texts: &BTreeMap<String, String>) -> Self {
        let point = |text: &String| {
            let point = URL.decode(text).ok()?;
            (point.len() == POINT && point.first() == Some(&4)).then_some(point)
        };
        let keys = texts
            .iter()
            .filter_map(|(id, text)| Some((id.clone(), point(text)?)));
        Self(keys.collect())
    }

    /// The same as slices carry them: what [`Public::read`] reads.
    #[must_use]
    pub fn write(&self) -> BTreeMap<String, String> {
        let keys = self.0.iter();
        keys.map(|(id, point)| (id.clone(), URL.encode(point)))
            .collect()
    }

    /// Whether the key of this id is among them.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// The claims of a token of `typ` that one of these keys signed.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn verify<C: DeserializeOwned>(
        &self,
        typ: &str,
        token: &str,
    ) -> Result<Signed<C>, Invalid> {
        if token.len() > MAX_TOKEN {
            return Err(Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(Invalid)?;
        let header: Header = json(header)?;
        if header.alg != ALGORITHM || header.typ != typ || header.crit.is_some() {
            return Err(Invalid);
        }
        let public = self.0.get(&header.kid).ok_or(Invalid)?;
        let signature = URL.decode(signature).map_err(|_| Invalid)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Invalid)?;
        Ok(Signed {
            key: header.kid,
            claims: json(claims)?,
        })
    }
}

/// The `typ` that a compact JWS says it has; `None` when the text is none. Nothing is verified: it only says whom to ask.
#[must_use]
pub fn typ(token: &str) -> Option<Typ> {
    if token.len() > MAX_TOKEN || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return None;
    }
    let header: Map<String, Value> = json(token.split('.').next()?).ok()?;
    let typ = header.get("typ").and_then(Value::as_str);
    Some(Typ(typ.unwrap_or_default().to_owned()))
}

/// What a token says it is. Media types are compared as RFC 7515 says: in any case, with or without `application/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typ(String);

impl Typ {
    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, typ: &str) -> bool {
        let shown = self.0.to_ascii_lowercase();
        shown.strip_prefix("application/").unwrap_or(&shown) == typ
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Result<T, Invalid> {
    let bytes = URL.decode(part).map_err(|_| Invalid)?;
    serde_json::from_slice(&bytes).map_err(|_| Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_slice_that_is_none_opens_nothing() {
        let point = |bytes: &[u8]| URL.encode(bytes);
        let mut good = [7; 65];
        good[0] = 4;
        let texts = [
            ("good", point(&good)),
            ("short", point(&good[..64])),
            ("compressed", point(&[2; 33])),
            ("marked", point(&[7; 65])),
            ("text", "?".to_owned()),
            ("empty", String::new()),
        ];
        let texts = texts.map(|(id, text)| (id.to_owned(), text)).into();
        let keys = Public::read(&texts);
        assert!(keys.has("good"));
        assert_eq!(keys.0.len(), 1);
        assert_eq!(Public::read(&keys.write()), keys);
    }

    #[test]
    fn a_token_says_what_it_is_and_other_texts_say_nothing() {
        let of = |header: &str| format!("{}.e30.x", URL.encode(header));
        let cases = [
            (of(r#"{"typ":"at+jwt","alg":"none"}"#), Some(true)),
            (of(r#"{"typ":"Application/AT+JWT"}"#), Some(true)),
            (of(r#"{"typ":"JWT"}"#), Some(false)),
            (of("{}"), Some(false)),
            (of("[]"), None),
            ("a.b.c".to_owned(), None),
            ("hunter2".to_owned(), None),
            (of("{}") + ".more", None),
            (String::new(), None),
        ];
        for (token, expected) in cases {
            let is = typ(&token).map(|typ| typ.is("at+jwt"));
            assert_eq!(is, expected, "{token}");
        }
    }
}
