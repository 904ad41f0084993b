//! A token taken apart before anything of it is believed: which issuer it names, and what can be refused without a signature.
//!
//! Of the header only `alg` and `kid` are looked at here, both as hints; embedded keys and pointers to keys (`jwk`, `jku`, `x5c`,
//! `x5u`) have no member to be read into. A claim that stands there twice makes the token none, so that no two readers of it can
//! disagree. Times may have fractions; `exp` must be there, `iat` too, `nbf` may be.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use wire::time::WallTime;

use super::wrong::Wrong;
use crate::authenticate::access_token::LEEWAY;

/// A JWT of which nothing is believed.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) header: Header,
    pub(super) claims: Arc<Map<String, Value>>,
}

/// What of a header is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

/// When a token counts, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    exp: f64,
    nbf: Option<f64>,
    iat: f64,
}

impl Unverified {
    /// Takes a compact JWS apart; `None` when it is none.
    pub(super) fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&URL.decode(claims).ok()?).ok()?;
        Some(Self {
            header: serde_json::from_slice(&URL.decode(header).ok()?).ok()?,
            claims: Arc::new(claims.0),
        })
    }

    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Its audiences; one that is no text is none of ours and shows as an empty one.
    pub(super) fn audiences(&self) -> impl Iterator<Item = &str> {
        let elements = match self.claims.get("aud") {
            Some(Value::Array(elements)) => elements.as_slice(),
            Some(single) => std::slice::from_ref(single),
            None => &[],
        };
        elements.iter().map(|one| one.as_str().unwrap_or_default())
    }

    pub(super) fn times(&self) -> Result<Times, Wrong> {
        let optional = |name: &str| match self.claims.get(name) {
            Some(value) => value.as_f64().map(Some).ok_or(Wrong::Time),
            None => Ok(None),
        };
        let required = |name: &str| optional(name)?.ok_or(Wrong::Time);
        Ok(Times {
            exp: required("exp")?,
            nbf: optional("nbf")?,
            iat: required("iat")?,
        })
    }
}

impl Times {
    /// Whether it counts at `now`, with 60 s of leeway.
    pub(super) fn check(&self, now: WallTime) -> Result<(), Wrong> {
        let (now, leeway) = (now.seconds() as f64, LEEWAY.as_secs_f64());
        let late = now + leeway;
        if now - leeway >= self.exp {
            Err(Wrong::Over)
        } else if self.iat > late || self.nbf.is_some_and(|nbf| nbf > late) {
            Err(Wrong::Ahead)
        } else {
            Ok(())
        }
    }

    pub(super) fn end(&self) -> WallTime {
        // Saturates, as casts of floating-point numbers do.
        WallTime((self.exp.floor() * 1000.0) as i64)
    }
}

/// An object without doubled members.
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in which no member stands twice")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Claims, A::Error> {
        let mut claims = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if claims.insert(name, value).is_some() {
                return Err(de::Error::custom("a member stands there twice"));
            }
        }
        Ok(Claims(claims))
    }
}
