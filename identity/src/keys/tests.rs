//! What of a published key set is used, and what is not.

use serde_json::json;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};

use super::{
    rig::{Signer, set},
    *,
};

fn parse(keys: &Value) -> Result<KeySet, Unusable> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

#[test]
fn keys_of_unknown_kinds_and_those_that_are_no_public_signature_keys_are_skipped() {
    let good: Vec<Value> = [
        ("RS256", "rsa"),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("ES512", "p521"),
        ("EdDSA", "ed"),
    ]
    .map(|(alg, kid)| Signer::new(alg, kid).jwk())
    .to_vec();
    let with = |of: usize, name: &str, value: Value| {
        let mut key = good[of].clone();
        key["kid"] = json!("bad");
        key[name] = value;
        key
    };
    let bad = [
        json!({"kty": "AKP", "alg": "ML-DSA-65", "kid": "bad", "pub": "AAAA", "use": "sig"}),
        json!({"kty": "OKP", "crv": "X25519", "kid": "bad", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed448", "kid": "bad", "x": "AAAA"}),
        json!({"kty": "oct", "kid": "bad", "k": "c2VjcmV0", "alg": "HS256"}),
        json!({"kty": "RSA", "kid": "bad", "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "bad", "e": "AQAB", "n": "AAAAAAAAAQ"}),
        json!({"kty": "EC", "kid": "bad", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "kid": "bad", "crv": "P-521", "x": "A".repeat(100), "y": "AA"}),
        with(0, "use", json!("enc")),
        with(0, "alg", json!("RSA-OAEP-256")),
        with(0, "d", json!("AA")),
        with(1, "k", json!("AA")),
        with(0, "kid", json!("a".repeat(513))),
        json!("text"),
        json!(null),
        json!({}),
    ];
    let all: Vec<Value> = bad.iter().chain(&good).chain(&good).cloned().collect();
    let keys = parse(&json!(all)).unwrap();
    let expected: BTreeSet<&str> = ["rsa", "p256", "p384", "p521", "ed"].into();
    assert_eq!(keys.ids(), expected);
    // Published twice, held once.
    assert_eq!(keys.named(None).keys().len(), 5);
    assert_eq!(keys.named(Some("rsa")).keys().len(), 1);
    assert_eq!(keys.named(Some("../rsa")).keys().len(), 0);
    let again = KeySet::parse(keys.as_document().to_string().as_bytes()).unwrap();
    assert_eq!(again, keys);
    for one in &bad {
        assert_eq!(parse(&json!([one])), Err(Unusable::NoKey), "{one}");
    }
}

#[test]
fn a_short_rsa_key_is_no_key() {
    let modulus = |bytes: usize| URL.encode([vec![0], vec![0x80; bytes]].concat());
    let key = |n: String| json!([{"kty": "RSA", "kid": "a", "e": "AQAB", "n": n}]);
    assert_eq!(parse(&key(modulus(128))), Err(Unusable::NoKey));
    assert_eq!(parse(&key(modulus(255))), Err(Unusable::NoKey));
    assert!(parse(&key(modulus(256))).is_ok());
}

#[test]
fn what_is_no_key_set_is_refused_and_a_long_one_is_cut() {
    let signer = Signer::new("ES256", "a");
    assert!(KeySet::parse(set(&[&signer]).to_string().as_bytes()).is_ok());
    for text in ["", "[]", "{}", "<html>", "{\"keys\": {}}", "null"] {
        assert_eq!(KeySet::parse(text.as_bytes()), Err(Unusable::NoSet));
    }
    assert_eq!(parse(&json!([])), Err(Unusable::NoKey));
    let long = vec![b' '; MAX_BYTES + 1];
    assert_eq!(KeySet::parse(&long), Err(Unusable::TooLong));
    let mut many = vec![json!({"kty": "AKP"}); MAX_KEYS];
    many.push(signer.jwk());
    assert_eq!(parse(&json!(many)), Err(Unusable::NoKey));
}
