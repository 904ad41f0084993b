//! The ways in which a token must not be believed (T50), each made from what would have been a good one.

use serde_json::{Value, json};

use super::{Key, hs256, lasting, now, unsigned};

/// One thing is wrong, all else is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// `alg: none`, and no signature.
    Unsigned,
    /// `alg: none` over the good signature.
    NoneOverASignature,
    /// The public key as the secret of an HMAC.
    PublicKeyAsSecret,
    /// The JWK's text as the secret of an HMAC.
    JwkAsSecret,
    /// The empty secret.
    EmptySecret,
    /// `crit` names what nobody knows.
    UnknownCrit,
    /// Another key, which lies in the header.
    EmbeddedJwk,
    /// Another key, with its certificate in the header.
    EmbeddedCertificate,
    /// Another key, at an address in the header.
    KeyAddress,
    /// Another key under the good one's name.
    OtherKey,
    /// A key's name that is a path.
    KidPath,
    /// Another algorithm in the header than the key's.
    OtherAlgorithm,
    OtherIssuer,
    /// The issuer's name and a slash.
    IssuerWithSlash,
    OtherAudience,
    NoAudience,
    Expired,
    NoExpiry,
    /// `nbf` ten minutes ahead.
    NotYet,
    /// `iat` ten minutes ahead.
    FromTheFuture,
    /// A claim changed after it was signed.
    Tampered,
    /// Half of the signature.
    Truncated,
}

impl Wrong {
    pub const ALL: [Self; 22] = [
        Self::Unsigned,
        Self::NoneOverASignature,
        Self::PublicKeyAsSecret,
        Self::JwkAsSecret,
        Self::EmptySecret,
        Self::UnknownCrit,
        Self::EmbeddedJwk,
        Self::EmbeddedCertificate,
        Self::KeyAddress,
        Self::OtherKey,
        Self::KidPath,
        Self::OtherAlgorithm,
        Self::OtherIssuer,
        Self::IssuerWithSlash,
        Self::OtherAudience,
        Self::NoAudience,
        Self::Expired,
        Self::NoExpiry,
        Self::NotYet,
        Self::FromTheFuture,
        Self::Tampered,
        Self::Truncated,
    ];

    /// The wrong token; `claims` are the good one's.
    pub fn token(self, key: &Key, claims: &Value) -> String {
        let header = key.header();
        let with = |name: &str, value: Value| {
            let mut header = header.clone();
            header[name] = value;
            header
        };
        let claiming = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            key.sign(&header, &claims)
        };
        let without = |name: &str| {
            let mut claims = claims.clone();
            claims.as_object_mut().expect("claims").remove(name);
            key.sign(&header, &claims)
        };
        let thief = || match key.alg() {
            "RS256" => Key::rs256(&key.kid),
            _ => Key::es256(&key.kid),
        };
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        match self {
            Self::Unsigned => unsigned(&with("alg", json!("none")), claims),
            Self::NoneOverASignature => key.sign(&with("alg", json!("none")), claims),
            Self::PublicKeyAsSecret => {
                let secret = key.public_pem();
                hs256(&with("alg", json!("HS256")), claims, secret.as_bytes())
            }
            Self::JwkAsSecret => {
                let secret = key.jwk().to_string();
                hs256(&with("alg", json!("HS256")), claims, secret.as_bytes())
            }
            Self::EmptySecret => hs256(&with("alg", json!("HS256")), claims, b""),
            Self::UnknownCrit => {
                let mut header = with("crit", json!(["exp-policy"]));
                header["exp-policy"] = json!("strict");
                key.sign(&header, claims)
            }
            Self::EmbeddedJwk => {
                let thief = thief();
                thief.sign(&with("jwk", thief.jwk()), claims)
            }
            Self::EmbeddedCertificate => {
                let certificate = rcgen::generate_simple_self_signed(vec!["thief".to_owned()]);
                let der = certificate.expect("a certificate").cert.der().to_vec();
                let der = base64::Engine::encode(
                    &base64::engine::general_purpose::STANDARD,
                    der.as_slice(),
                );
                thief().sign(&with("x5c", json!([der])), claims)
            }
            Self::KeyAddress => {
                let header = with("jku", json!(text("iss") + "/thief/keys"));
                thief().sign(&header, claims)
            }
            Self::OtherKey => thief().sign(&header, claims),
            Self::KidPath => thief().sign(&with("kid", json!("../../../../dev/null")), claims),
            Self::OtherAlgorithm => {
                let other = if key.alg() == "RS256" {
                    "ES256"
                } else {
                    "RS256"
                };
                key.sign(&with("alg", json!(other)), claims)
            }
            Self::OtherIssuer => claiming("iss", json!("https://issuer.of.nobody.example")),
            Self::IssuerWithSlash => claiming("iss", json!(text("iss") + "/")),
            Self::OtherAudience => claiming("aud", json!("another.example")),
            Self::NoAudience => without("aud"),
            Self::Expired => claiming("exp", json!(now() - 3600)),
            Self::NoExpiry => without("exp"),
            Self::NotYet => claiming("nbf", json!(now() + 600)),
            Self::FromTheFuture => claiming("iat", json!(now() + 600)),
            Self::Tampered => {
                let good = key.sign(&header, claims);
                let mut other = claims.clone();
                other["sub"] = json!("somebody-else");
                let tag = good.rsplit_once('.').expect("three parts").1;
                unsigned(&header, &lasting(other, 300)) + tag
            }
            Self::Truncated => {
                let good = key.sign(&header, claims);
                good[..good.len() - 100.min(good.len() / 6)].to_owned()
            }
        }
    }
}
