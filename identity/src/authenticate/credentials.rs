//! The `Authorization` header: Basic or Bearer, one of them, well-formed.
//!
//! What the secret in it is, and whether it is right, is left to `authenticate`. Several lines are refused rather than one of them
//! picked, because a proxy may have picked another.

use base64::{Engine, alphabet, engine};
use runtime::Secret;

use crate::error::Refused;

/// The longest `Authorization` header looked at, in bytes.
pub const MAX_HEADER: usize = 64 * 1024;

/// Clients differ in padding, which carries nothing here.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// What an `Authorization` header holds.
#[derive(Debug)]
pub enum Credentials {
    /// A user name and a secret.
    Basic {
        /// Who they say they are.
        user: String,
        /// A password, or a token.
        secret: Secret,
    },
    /// A token.
    Bearer(Secret),
}

impl Credentials {
    /// Reads the values of all `Authorization` lines; `None` when there is none.
    ///
    /// # Errors
    /// When there are several, or the only one is not Basic or Bearer, well-formed.
    pub fn parse<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, Refused> {
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() || value.len() > MAX_HEADER {
            return Err(Refused::Malformed);
        }
        let value = std::str::from_utf8(value).map_err(|_| Refused::Malformed)?;
        let (scheme, rest) = value.trim().split_once(' ').ok_or(Refused::Malformed)?;
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest).map(Some).ok_or(Refused::Malformed)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Some(Self::Bearer(Secret::from(rest))))
        } else {
            Err(Refused::Scheme)
        }
    }
}

fn basic(text: &str) -> Option<Credentials> {
    let decoded = Secret::new(BASE64.decode(text).ok()?);
    let (user, secret) = std::str::from_utf8(decoded.expose())
        .ok()?
        .split_once(':')?;
    Some(Credentials::Basic {
        user: user.to_owned(),
        secret: Secret::from(secret),
    })
}
