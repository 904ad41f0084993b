//! A key of federation tokens: RS256 with 2048 bits, which is what foreign token services take, and its public half as a JWK.
//!
//! The library gives the public key as DER alone (`RSAPublicKey`, RFC 8017 A.1.1); its two numbers are read here.

use aws_lc_rs::{
    digest,
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use runtime::Secret;
use serde::Serialize;
use serde_json::{Value, json};

use super::Error;

const ALGORITHM: &str = "RS256";
const TYP: &str = "JWT";

/// A key of federation tokens.
pub(super) struct FederationKey {
    pair: KeyPair,
    kid: String,
    /// Modulus and exponent, as a JWK has them.
    n: String,
    e: String,
}

impl FederationKey {
    /// A new private key, PKCS #8. Takes long.
    pub(super) fn new_secret() -> Result<Secret<Vec<u8>>, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Crypto)?;
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Crypto)?;
        Ok(Secret::new(der.as_ref().to_vec()))
    }

    pub(super) fn of(secret: &Secret<Vec<u8>>) -> Result<Self, Error> {
        let pair = KeyPair::from_pkcs8(secret.expose()).map_err(|_| Error::Damaged)?;
        let (n, e) = numbers(pair.public_key().as_ref()).ok_or(Error::Damaged)?;
        let (n, e) = (URL.encode(n), URL.encode(e));
        // RFC 7638: the required members, in order.
        let jwk = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = URL.encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
        Ok(Self { pair, kid, n, e })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": ALGORITHM,
            "kid": self.kid,
            "n": self.n,
            "e": self.e,
        })
    }

    /// A compact JWS over `claims`.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<Secret, Error> {
        let header = json!({ "alg": ALGORITHM, "typ": TYP, "kid": self.kid });
        let claims = serde_json::to_vec(claims).map_err(|_| Error::Crypto)?;
        let mut token = format!("{}.{}", URL.encode(header.to_string()), URL.encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let (padding, random) = (&RSA_PKCS1_SHA256, SystemRandom::new());
        let signed = (self.pair).sign(padding, &random, token.as_bytes(), &mut signature);
        signed.map_err(|_| Error::Crypto)?;
        token.push('.');
        token.push_str(&URL.encode(signature));
        Ok(Secret::new(token))
    }
}

/// Modulus and exponent of a DER `RSAPublicKey`, without leading zeros.
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = element(der, 0x30)?;
    let (n, others) = element(sequence, 0x02)?;
    let (e, others) = element(others, 0x02)?;
    let whole = rest.is_empty() && others.is_empty();
    whole.then(|| (unsigned(n), unsigned(e)))
}

fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The content of a DER element of this kind, and what follows it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match usize::from(first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (length, rest) = rest
                .split_at_checked(long - 0x80)
                .filter(|(l, _)| l.len() <= 4)?;
            let shifted = length
                .iter()
                .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            (shifted, rest)
        }
    };
    rest.split_at_checked(length).filter(|_| found == kind)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;

    #[test]
    fn a_token_verifies_by_what_its_jwk_says() {
        let secret = FederationKey::new_secret().unwrap();
        let key = FederationKey::of(&secret).unwrap();
        let jwk = key.jwk();
        let number = |name: &str| URL.decode(jwk[name].as_str().unwrap()).unwrap();
        let public = RsaPublicKeyComponents {
            n: number("n"),
            e: number("e"),
        };
        assert_eq!(
            (public.n.len(), public.e.as_slice()),
            (256, [1, 0, 1].as_slice())
        );

        let token = key.sign(&json!({"a": 1})).unwrap();
        let (signed, signature) = token.expose().rsplit_once('.').unwrap();
        let signature = URL.decode(signature).unwrap();
        let verify =
            |text: &str| public.verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &signature);
        assert!(verify(signed).is_ok());
        assert!(verify(&format!("{signed}x")).is_err());
        let header = URL.decode(signed.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(
            header,
            json!({"alg": "RS256", "typ": "JWT", "kid": jwk["kid"]})
        );
        assert_eq!(FederationKey::of(&secret).unwrap().kid(), key.kid());
        assert!(FederationKey::of(&Secret::new(vec![0x30, 0x84])).is_err());
    }

    #[test]
    fn damaged_der_is_no_key() {
        assert_eq!(
            numbers(&[0x30, 6, 2, 1, 9, 2, 1, 3]),
            Some((&[9][..], &[3][..]))
        );
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x85, 0, 0, 0, 0, 1],
            &[0x30, 6, 2, 1, 9, 2, 1],
            &[0x30, 6, 2, 1, 9, 2, 1, 3, 0],
            &[0x31, 6, 2, 1, 9, 2, 1, 3],
            &[0x30, 3, 2, 1, 9],
        ] {
            assert_eq!(numbers(bad), None, "{bad:?}");
        }
    }
}
