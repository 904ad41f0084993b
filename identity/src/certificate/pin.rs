//! The pin of a CA: SHA-256 of its public key (SubjectPublicKeyInfo), which a re-issued certificate of the same key keeps.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, chain};

/// A CA's pin, written `sha256:HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// The text is not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a pin: sha256: and 64 hex digits")]
pub struct NotAPin;

impl Pin {
    /// The pin of the key in a certificate.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        Ok(Self::of_key(&chain::public_key(certificate)?))
    }

    /// The pin of a public key: DER of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_key(spki: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, spki);
        Self(hash.as_ref().try_into().expect("SHA-256 is 32 bytes"))
    }

    /// The hash alone, lower-case hex.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The certificate of `chain` whose key this is: what a node that knows nothing but the pin may take as its root.
    #[must_use]
    pub fn find<'c>(
        &self,
        chain: &'c [CertificateDer<'static>],
    ) -> Option<&'c CertificateDer<'static>> {
        chain
            .iter()
            .find(|certificate| Self::of(certificate).is_ok_and(|pin| pin == *self))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let digits = text.strip_prefix("sha256:").ok_or(NotAPin)?;
        let bytes = hex::decode(digits).map_err(|_| NotAPin)?;
        Ok(Self(bytes.try_into().map_err(|_| NotAPin)?))
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
