//! A private key of the mesh: ECDSA P-256, kept as PKCS #8.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SigningKey};
use runtime::Secret;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Error, Pin};

/// A private key. Its `Debug` shows the public half's hash.
pub struct Key(pub(super) KeyPair);

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
        pair.map(Self)
            .map_err(|error| Error::Crypto(error.to_string()))
    }

    /// The key in a PEM text.
    ///
    /// # Errors
    /// When it holds no P-256 key.
    pub fn from_pem(pem: &Secret<String>) -> Result<Self, Error> {
        let algorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
        // What the library says of a bad key might quote it.
        KeyPair::from_pkcs8_pem_and_sign_algo(pem.expose(), algorithm)
            .map(Self)
            .map_err(|_| Error::Unusable {
                what: "private key",
                why: "no ECDSA P-256 key in PKCS #8".to_owned(),
            })
    }

    /// As PEM (PKCS #8).
    #[must_use]
    pub fn to_pem(&self) -> Secret<String> {
        Secret::new(self.0.serialize_pem())
    }

    /// As TLS takes it.
    #[must_use]
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    /// A certificate request for it (PKCS #10, DER). `name` is for people: what is issued is the CA's to say.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn request(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.serialize_request(&self.0);
        made.map(|made| made.der().to_vec())
            .map_err(|error| Error::Crypto(error.to_string()))
    }

    /// The hash of its public half.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::of_key(&self.0.subject_public_key_info())
    }

    /// Signs (ECDSA with SHA-256, DER).
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = self.0.sign(message);
        signed.map_err(|error| Error::Crypto(error.to_string()))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.pin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_pem_and_shows_nothing_of_it() {
        let key = Key::generate().unwrap();
        let again = Key::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.pin(), key.pin());
        assert!(format!("{key:?}").starts_with("Key(sha256:"));
        let bad = Key::from_pem(&Secret::from(
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
        ));
        assert!(!format!("{bad:?}").contains("c2VjcmV0"));
    }
}
