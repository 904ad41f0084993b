//! One public key of an issuer, as `openidconnect` takes it.
//!
//! The library's own key does all the work but one: it has no P-521, which Kubernetes may sign by (ES512), so that is verified by
//! aws-lc-rs here. What a key set may hold and a token must never be verified by is left out when it is read: secret keys, private
//! ones, keys for encryption, RSA below 2048 bits (RFC 7518 3.3), curves without signatures.

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use openidconnect::{
    JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyId, JsonWebKeyUse, SignatureVerificationError,
    core::{CoreJsonWebKey, CoreJsonWebKeyType, CoreJsonWebKeyUse, CoreJwsSigningAlgorithm},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The shortest RSA modulus, in bits.
const MIN_RSA_BITS: usize = 2048;
/// The length of a coordinate on P-521, in bytes.
const P521: usize = 66;
/// The longest name of a key.
const MAX_KID: usize = 512;
/// What of a key is looked at.
const MEMBERS: [&str; 9] = ["kty", "use", "alg", "kid", "n", "e", "crv", "x", "y"];

/// A public key that signatures are verified by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Jwk {
    key: CoreJsonWebKey,
    /// The uncompressed point of a key on P-521.
    #[serde(skip)]
    p521: Option<Vec<u8>>,
    #[serde(skip)]
    published: Map<String, Value>,
}

impl Jwk {
    /// Reads one member of a key set; `None` when it is of no use here.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if members.contains_key("d") || members.contains_key("k") {
            return None;
        }
        if text("kid").is_some_and(|kid| kid.len() > MAX_KID) {
            return None;
        }
        let p521 = match (text("kty")?, text("crv")) {
            ("RSA", _) if bits(text("n")?)? >= MIN_RSA_BITS => None,
            ("EC", Some("P-256" | "P-384")) | ("OKP", Some("Ed25519")) => None,
            ("EC", Some("P-521")) => Some(point(text("x")?, text("y")?)?),
            _ => return None,
        };
        let known = members
            .iter()
            .filter(|(name, _)| MEMBERS.contains(&name.as_str()));
        let published: Map<_, _> = known.map(|(k, v)| (k.clone(), v.clone())).collect();
        let key: CoreJsonWebKey = serde_json::from_value(Value::Object(published.clone())).ok()?;
        let signs = key.key_use().is_none_or(JsonWebKeyUse::allows_signature);
        let signs = signs && !matches!(key.signing_alg(), JsonWebKeyAlgorithm::Unsupported);
        signs.then_some(Self {
            key,
            p521,
            published,
        })
    }

    pub(super) fn as_published(&self) -> &Map<String, Value> {
        &self.published
    }
}

/// The length of a big-endian number without its leading zeros.
fn bits(text: &str) -> Option<usize> {
    let bytes = URL.decode(text.trim_end_matches('=')).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let first = bytes.get(zeros)?;
    Some((bytes.len() - zeros) * 8 - first.leading_zeros() as usize)
}

fn point(x: &str, y: &str) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let bytes = URL.decode(coordinate).ok()?;
        // Some leave leading zeros out.
        point.resize(point.len() + P521.checked_sub(bytes.len())?, 0);
        point.extend(bytes);
    }
    Some(point)
}

impl JsonWebKey for Jwk {
    type KeyUse = CoreJsonWebKeyUse;
    type SigningAlgorithm = CoreJwsSigningAlgorithm;

    fn key_id(&self) -> Option<&JsonWebKeyId> {
        self.key.key_id()
    }

    fn key_type(&self) -> &CoreJsonWebKeyType {
        self.key.key_type()
    }

    fn key_use(&self) -> Option<&CoreJsonWebKeyUse> {
        self.key.key_use()
    }

    fn signing_alg(&self) -> JsonWebKeyAlgorithm<&CoreJwsSigningAlgorithm> {
        self.key.signing_alg()
    }

    fn new_symmetric(key: Vec<u8>) -> Self {
        Self {
            key: CoreJsonWebKey::new_symmetric(key),
            p521: None,
            published: Map::new(),
        }
    }

    fn verify_signature(
        &self,
        algorithm: &CoreJwsSigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureVerificationError> {
        let Some(point) = &self.p521 else {
            return self.key.verify_signature(algorithm, message, signature);
        };
        if *algorithm != CoreJwsSigningAlgorithm::EcdsaP521Sha512 {
            let why = "a key on P-521 is for ES512".to_owned();
            return Err(SignatureVerificationError::InvalidKey(why));
        }
        UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point)
            .verify(message, signature)
            .map_err(|_| SignatureVerificationError::CryptoError("bad signature".to_owned()))
    }

    fn hash_bytes(
        &self,
        bytes: &[u8],
        algorithm: &CoreJwsSigningAlgorithm,
    ) -> Result<Vec<u8>, String> {
        self.key.hash_bytes(bytes, algorithm)
    }
}
