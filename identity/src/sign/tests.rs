//! Keys on disk, and T50: every forged header that other verifiers have fallen for.

use std::os::unix::fs::PermissionsExt;

use runtime::file::Real;
use serde_json::{Value, json};

use super::*;

#[test]
fn keys_outlive_a_restart_and_are_their_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/token-keys.json");
    let first = Keys::open(&Real, &path).unwrap();
    let token = first.sign("t", &json!({"a": 1})).unwrap();
    let second = Keys::open(&Real, &path).unwrap();
    assert_eq!(
        second.verify::<Value>("t", token.expose()),
        Ok(json!({"a": 1}))
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(
        Keys::open(&Real, &path),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn an_older_key_still_verifies_and_no_longer_signs() {
    let (old, new) = (new_key().unwrap(), new_key().unwrap());
    let before = Keys::of(std::slice::from_ref(&old)).unwrap();
    let after = Keys::of(&[new, old]).unwrap();
    let token = before.sign("t", &json!({})).unwrap();
    assert!(after.verify::<Value>("t", token.expose()).is_ok());
    let token = after.sign("t", &json!({})).unwrap();
    assert!(before.verify::<Value>("t", token.expose()).is_err());
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    // The P-256 key of RFC 7517 appendix A.1.
    let x = URL
        .decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4")
        .unwrap();
    let y = URL
        .decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM")
        .unwrap();
    let point = [vec![4], x, y].concat();
    assert_eq!(
        thumbprint(&point),
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
    );
}

/// T50, the part about headers and signatures; times and audiences are in `access_token`.
#[test]
fn no_forged_token_verifies() {
    let (keys, thief) = (Keys::generate().unwrap(), Keys::generate().unwrap());
    let good = keys.sign("t", &json!({"sub": "a"})).unwrap();
    let good = good.expose();
    assert!(keys.verify::<Value>("t", good).is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let public = keys.verifying.0[&keys.kid].clone();
    let thief_jwk = json!({"kty": "EC", "crv": "P-256", "x": URL.encode(&thief.verifying.0[&thief.kid][1..33])});
    // By the thief's key, under whatever header, also one that names our key.
    let forge = |header: Value| {
        let signed = format!("{}.{claims}", URL.encode(header.to_string()));
        let signature = thief
            .signing
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL.encode(signature))
    };
    // By our own key, to show that a header is refused for itself.
    let ours = |header: &str| {
        let signed = format!("{}.{claims}", URL.encode(header));
        let signature = keys
            .signing
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL.encode(signature))
    };
    let (kid, theirs) = (&keys.kid, &thief.kid);
    let hmac = {
        let header = json!({"alg": "HS256", "typ": "t", "kid": kid});
        let signed = format!("{}.{claims}", URL.encode(header.to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &public);
        format!(
            "{signed}.{}",
            URL.encode(hmac::sign(&key, signed.as_bytes()))
        )
    };
    let none = |alg: &str| URL.encode(json!({"alg": alg, "typ": "t", "kid": kid}).to_string());
    let elsewhere = URL.encode(json!({"sub": "admin"}).to_string());
    let attacks = [
        ("alg none", format!("{}.{claims}.", none("none"))),
        (
            "alg None with our signature",
            format!("{}.{claims}.{signature}", none("None")),
        ),
        ("HS256 by the public key", hmac),
        (
            "RS256",
            ours(&json!({"alg": "RS256", "typ": "t", "kid": kid}).to_string()),
        ),
        (
            "our kid, another key",
            forge(json!({"alg": "ES256", "typ": "t", "kid": kid})),
        ),
        (
            "their kid",
            forge(json!({"alg": "ES256", "typ": "t", "kid": theirs})),
        ),
        (
            "embedded jwk",
            forge(json!({"alg": "ES256", "typ": "t", "kid": theirs, "jwk": thief_jwk})),
        ),
        (
            "jku",
            forge(json!({"alg": "ES256", "typ": "t", "kid": theirs, "jku": "http://thief/keys"})),
        ),
        (
            "x5c",
            forge(json!({"alg": "ES256", "typ": "t", "kid": kid, "x5c": ["AAAA"]})),
        ),
        (
            "kid a path",
            forge(json!({"alg": "ES256", "typ": "t", "kid": "../../../dev/null"})),
        ),
        ("no kid", ours(r#"{"alg":"ES256","typ":"t"}"#)),
        ("kid a number", ours(r#"{"alg":"ES256","typ":"t","kid":1}"#)),
        (
            "unknown crit",
            ours(
                &json!({"alg": "ES256", "typ": "t", "kid": kid, "crit": ["x"], "x": 1}).to_string(),
            ),
        ),
        (
            "empty crit",
            ours(&json!({"alg": "ES256", "typ": "t", "kid": kid, "crit": []}).to_string()),
        ),
        (
            "doubled alg",
            ours(&format!(
                r#"{{"alg":"none","alg":"ES256","typ":"t","kid":"{kid}"}}"#
            )),
        ),
        (
            "another typ",
            ours(&json!({"alg": "ES256", "typ": "u", "kid": kid}).to_string()),
        ),
        (
            "no typ",
            ours(&json!({"alg": "ES256", "kid": kid}).to_string()),
        ),
        ("other claims", format!("{header}.{elsewhere}.{signature}")),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("signature cut", good[..good.len() - 2].to_owned()),
        ("padding", format!("{good}==")),
        ("white space", format!(" {good}")),
        ("empty", String::new()),
        (
            "too long",
            format!("{header}.{}.{signature}", "A".repeat(MAX_TOKEN)),
        ),
    ];
    for (attack, token) in attacks {
        assert!(keys.verify::<Value>("t", &token).is_err(), "{attack}");
    }
    for n in 0..1_000 {
        let flood = forge(json!({"alg": "ES256", "typ": "t", "kid": format!("random-{n}")}));
        assert!(keys.verify::<Value>("t", &flood).is_err());
    }
    assert!(keys.verify::<Value>("t", good).is_ok());
}

#[test]
fn keys_kept_elsewhere_sign_and_show_their_public_points() {
    let (old, new) = (Keys::new_secret().unwrap(), Keys::new_secret().unwrap());
    let keys = Keys::of(&[new.clone(), old.clone()]).unwrap();
    let token = keys.sign("a+jwt", &json!({})).unwrap();
    let again = Keys::of(&[old, new]).unwrap();
    let read: Value = again.verify("a+jwt", token.expose()).unwrap();
    assert_eq!(read, json!({}));
    assert_eq!(keys.points(), again.points());
    assert_eq!(keys.points().len(), 2);
    assert!(keys.points().contains_key(keys.kid()));
    assert_ne!(keys.kid(), again.kid());
    for point in keys.points().values() {
        let point = URL.decode(point).unwrap();
        assert_eq!((point.len(), point[0]), (65, 4));
    }
    assert!(Keys::of(&[]).is_err());
}
