//! Tokens by hand: any header, any claims, any signature, because a library would refuse to make the wrong ones.
//!
//! Keys sign what they are told to; [`Wrong`] lists the ways in which a token must not be believed (T50). Verifying is by hand too,
//! since an emulator that used our own code to judge our own tokens would be no oracle.

use std::fmt;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use runtime::Clock;
use serde_json::{Value, json};

mod wrong;

pub use wrong::Wrong;

/// A key pair with the name it is published under.
pub struct Key {
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

/// A token taken apart; nothing of it is believed yet.
#[derive(Debug, Clone)]
pub struct Parts {
    pub header: Value,
    pub claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.alg(), self.kid)
    }
}

impl Key {
    /// RS256, 2048 bits.
    pub fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("keys can be made");
        Self {
            kid: kid.to_owned(),
            pair: Pair::Rsa(pair),
        }
    }

    /// ES256.
    pub fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self {
            kid: kid.to_owned(),
            pair: Pair::P256(pair.expect("keys can be made")),
        }
    }

    pub fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
        }
    }

    /// As a JWKS lists it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                let (n, e) = (public.modulus(), public.exponent());
                json!({
                    "kty": "RSA",
                    "n": number(n.big_endian_without_leading_zero()),
                    "e": number(e.big_endian_without_leading_zero()),
                })
            }
            Pair::P256(pair) => {
                // Uncompressed: 4, x, y.
                let point = pair.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..65]);
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                json!({"kty": "EC", "crv": "P-256", "x": number(x), "y": number(y)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.alg());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public half as PEM: what an algorithm-confused verifier takes as the secret of an HMAC.
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::P256(pair) => pair.public_key().as_der(),
        }
        .expect("public keys have a form");
        let lines = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = lines
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// The header of an ordinary token by this key.
    pub fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": self.alg(), "kid": self.kid})
    }

    /// An ordinary token.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// Signs what it is told to, whatever the header says.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = input(header, claims);
        let random = SystemRandom::new();
        let tag = match &self.pair {
            Pair::Rsa(pair) => {
                let mut tag = vec![0; pair.public_modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, input.as_bytes(), &mut tag)
                    .expect("it signs");
                tag
            }
            Pair::P256(pair) => {
                let tag = pair.sign(&random, input.as_bytes()).expect("it signs");
                tag.as_ref().to_vec()
            }
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}

/// Without any signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    input(header, claims) + "."
}

/// With an HMAC over this secret.
pub fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let input = input(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    Clock::system().wall_ms() / 1000
}

/// `claims` with `iat`, `nbf` and an `exp` so many seconds from now, unless it has them.
pub fn lasting(mut claims: Value, seconds: i64) -> Value {
    let now = now();
    for (name, value) in [("iat", now), ("nbf", now), ("exp", now + seconds)] {
        if claims.get(name).is_none() {
            claims[name] = json!(value);
        }
    }
    claims
}

/// Takes a token apart.
pub fn parts(token: &str) -> Result<Parts> {
    let (signed, tag) = token.rsplit_once('.').context("no dot")?;
    let (header, claims) = signed.split_once('.').context("one dot")?;
    let json = |part: &str| -> Result<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(part)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    Ok(Parts {
        header: json(header)?,
        claims: json(claims)?,
        signed: signed.to_owned(),
        signature: URL_SAFE_NO_PAD.decode(tag)?,
    })
}

impl Parts {
    /// The text of a claim; empty without it.
    pub fn text(&self, claim: &str) -> &str {
        self.claims[claim].as_str().unwrap_or_default()
    }

    /// Verifies with a JWK whose algorithm must be this one and the header's.
    pub fn verify(&self, jwk: &Value, alg: &str) -> Result<()> {
        ensure!(self.header["alg"] == alg, "alg {}", self.header["alg"]);
        ensure!(self.header.get("crit").is_none(), "crit");
        let number = |name: &str| -> Result<Vec<u8>> {
            let text = jwk[name].as_str().with_context(|| format!("no {name}"))?;
            Ok(URL_SAFE_NO_PAD.decode(text)?)
        };
        let verified = match (alg, jwk["kty"].as_str()) {
            ("RS256", Some("RSA")) => {
                let (n, e) = (number("n")?, number("e")?);
                let key = RsaPublicKeyComponents { n, e };
                key.verify(
                    &signature::RSA_PKCS1_2048_8192_SHA256,
                    self.signed.as_bytes(),
                    &self.signature,
                )
            }
            ("ES256", Some("EC")) => {
                let point = [vec![4], number("x")?, number("y")?].concat();
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(self.signed.as_bytes(), &self.signature)
            }
            _ => anyhow::bail!("{alg} by {jwk}"),
        };
        verified.ok().context("the signature is wrong")
    }

    /// Whether `nbf` and `exp`, both demanded, hold now.
    pub fn is_in_time(&self) -> bool {
        let at = |name: &str| self.claims[name].as_i64();
        let now = now();
        at("nbf").is_some_and(|nbf| nbf <= now + 60) && at("exp").is_some_and(|exp| now < exp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_by_its_own_key_alone() {
        for (key, other) in [
            (Key::rs256("a"), Key::rs256("a")),
            (Key::es256("b"), Key::es256("b")),
        ] {
            let token = parts(&key.token(&lasting(json!({"sub": "x"}), 60))).unwrap();
            token.verify(&key.jwk(), key.alg()).unwrap();
            assert!(token.verify(&other.jwk(), key.alg()).is_err());
            assert!(token.is_in_time());
            assert_eq!(token.text("sub"), "x");
        }
    }

    #[test]
    fn every_wrong_token_differs_from_the_right_one() {
        let (key, claims) = (
            Key::rs256("a"),
            lasting(json!({"aud": "x", "iss": "y"}), 60),
        );
        let right = key.token(&claims);
        for wrong in Wrong::ALL {
            assert_ne!(wrong.token(&key, &claims), right, "{wrong:?}");
        }
    }
}
