//! T50: what must not be believed, each signed or forged as an attacker would.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use futures_util::future::join_all;

use super::*;
use crate::keys::rig::set;

/// With an HMAC under `secret`.
fn forged(header: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(&claims()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", URL.encode(tag))
}

#[tokio::test]
async fn t50_headers_that_choose_the_algorithm_or_bring_a_key_open_nothing() {
    let (key, thief) = (Signer::new("RS256", "a"), Signer::new("RS256", "a"));
    let every = [
        "RS256", "RS384", "PS256", "ES256", "ES384", "ES512", "EdDSA", "none", "HS256",
    ];
    let every: Vec<String> = every.map(str::to_owned).to_vec();
    for algorithms in [Vec::new(), every] {
        let (issuers, _) = github(&[&key], |it| it.algorithms = algorithms);
        accepted(&issuers, &key.token(&claims())).await;
        let none = |alg: &str| {
            let header = json!({"alg": alg, "typ": "JWT", "kid": "a"});
            let part = |value: &Value| URL.encode(value.to_string());
            format!("{}.{}.", part(&header), part(&claims()))
        };
        let genuine = key.token(&claims());
        let stripped = format!("{}.", genuine.rsplit_once('.').unwrap().0);
        let mut tokens = vec![
            none("none"),
            none("None"),
            none("RS256"),
            none(""),
            stripped,
        ];
        let published = set(&[&key]).to_string();
        for secret in [
            key.public_der(),
            published.into_bytes(),
            Vec::from("a"),
            vec![0],
        ] {
            for alg in ["HS256", "RS256"] {
                tokens.push(forged(&json!({"alg": alg, "kid": "a"}), &secret));
            }
        }
        let header = |extra: Value| {
            let mut header = key.header();
            for (name, value) in extra.as_object().unwrap() {
                header[name] = value.clone();
            }
            header
        };
        // Signed by the thief, whose key the header brings or points at.
        let jwk = thief.jwk();
        for extra in [
            json!({}),
            json!({"jwk": jwk}),
            json!({"jwk": jwk, "kid": null}),
            json!({"jku": "https://thief.example/jwks.json"}),
            json!({"x5u": "https://thief.example/cert.pem"}),
            json!({"x5c": [URL.encode(thief.public_der())]}),
            json!({"kid": "../../../../dev/null"}),
            json!({"kid": "' OR 1=1 --"}),
            json!({"kid": "https://thief.example/jwks.json"}),
            json!({"kid": "a\0b"}),
            json!({"kid": "x".repeat(20_000)}),
        ] {
            tokens.push(thief.sign(&header(extra), &claims()));
        }
        // Signed by the very key, with a header that must not be taken.
        for extra in [
            json!({"crit": ["b64"], "b64": false}),
            json!({"crit": ["exp"]}),
            json!({"crit": []}),
            json!({"crit": "exp"}),
            json!({"typ": "at+jwt"}),
            json!({"typ": "application/at+jwt"}),
            json!({"typ": "regmesh-grant+jwt"}),
            json!({"cty": "JWT"}),
            json!({"alg": "RS384"}),
            json!({"alg": "PS256"}),
            json!({"alg": "ES256"}),
            json!({"alg": "RSA-OAEP", "enc": "A256GCM"}),
            json!({"kid": "b"}),
            json!({"kid": "A"}),
        ] {
            tokens.push(key.sign(&header(extra), &claims()));
        }
        for token in tokens {
            assert!(refused(&issuers, &token).await, "{token}");
        }
        // A wrong header is a wrong header whatever kind it has; these are no JWT at all.
        let text = claims().to_string();
        for header in [
            "{\"alg\":\"RS256\",\"alg\":\"RS256\"}",
            "{}",
            "[]",
            "{\"alg\":1}",
            "",
        ] {
            let token = key.sign_text(header, &text);
            assert!(
                verify(&issuers, &token).await.unwrap().is_none(),
                "{header}"
            );
        }
        // Keys that it brings are no hindrance either.
        let harmless = header(json!({"jwk": jwk, "x5t": "AA"}));
        accepted(&issuers, &key.sign(&harmless, &claims())).await;
    }
}

#[tokio::test]
async fn t50_claims_that_are_not_for_us_now_are_refused_though_the_key_is_right() {
    let key = Signer::new("ES256", "a");
    let (issuers, source) = github(&[&key], |it| {
        it.audiences = vec![NODE.to_owned(), "api://regmesh".to_owned()];
    });
    let now = NOW.seconds();
    let good = [
        json!({}),
        json!({"aud": ["api://regmesh", NODE]}),
        json!({"exp": now - 59}),
        json!({"nbf": now + 60, "iat": now + 60}),
        json!({"exp": (now + 300) as f64 + 0.5}),
    ];
    for changes in good {
        accepted(&issuers, &key.token(&with(&changes))).await;
    }
    let asked = source.asked();
    let bad = [
        json!({"aud": "prod.registry.example"}),
        json!({"aud": "dev.registry.example"}),
        json!({"aud": NODE.to_uppercase()}),
        json!({"aud": [NODE, "prod.registry.example"]}),
        json!({"aud": [NODE, 7]}),
        json!({"aud": []}),
        json!({"aud": ""}),
        json!({"aud": null}),
        json!({"aud": {"a": NODE}}),
        json!({"aud": [[NODE]]}),
        json!({"exp": now - 60}),
        json!({"exp": (now + 300).to_string()}),
        json!({"exp": "2099-01-01T00:00:00Z"}),
        json!({"exp": null}),
        json!({"exp": -1}),
        json!({"nbf": now + 61}),
        json!({"nbf": "soon"}),
        json!({"iat": now + 61}),
        json!({"iat": null}),
    ];
    for changes in bad {
        assert!(
            refused(&issuers, &key.token(&with(&changes))).await,
            "{changes}"
        );
    }
    for name in ["aud", "exp", "iat"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        assert!(refused(&issuers, &key.token(&claims)).await, "{name}");
    }
    // None of these is worth a question.
    assert_eq!(source.asked(), asked);
    for changes in [
        json!({"sub": null}),
        json!({"sub": 7}),
        json!({"exp": 1e300}),
        json!({"exp": f64::MAX}),
    ] {
        assert!(
            refused(&issuers, &key.token(&with(&changes))).await,
            "{changes}"
        );
    }
    // Of no declared issuer: another spelling is another issuer.
    for iss in [
        json!(format!("{GITHUB}/")),
        json!(GITHUB.to_uppercase()),
        json!(format!("{GITHUB}:443")),
        json!(format!(" {GITHUB}")),
        json!("https://token.actions.githubusercontent.com.thief.example"),
        json!([GITHUB]),
        json!(null),
        json!(7),
    ] {
        let token = key.token(&with(&json!({"iss": iss})));
        assert!(verify(&issuers, &token).await.unwrap().is_none(), "{iss}");
    }
    // A claim that stands there twice, so that two readers could see two things.
    let text = claims().to_string();
    for (name, value) in [
        ("iss", "\"https://thief.example\""),
        ("aud", "\"x\""),
        ("exp", "9999999999"),
        ("repository_id", "\"8\""),
    ] {
        let doubled = format!("{{\"{name}\":{value},{}", &text[1..]);
        let token = key.sign_text(&key.header().to_string(), &doubled);
        assert!(verify(&issuers, &token).await.unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn t50_a_changed_or_broken_token_is_none_and_a_huge_one_is_not_looked_at() {
    let key = Signer::new("ES256", "a");
    let (issuers, source) = github(&[&key], |_| ());
    let genuine = key.token(&claims());
    let (input, signature) = genuine.rsplit_once('.').unwrap();
    let header = input.split_once('.').unwrap().0;
    let other = URL.encode(with(&json!({"repository_id": "8"})).to_string());
    let mut flipped = URL.decode(signature).unwrap();
    flipped[5] ^= 1;
    for token in [
        format!("{header}.{other}.{signature}"),
        format!("{input}.{}", URL.encode(&flipped)),
        format!("{input}.{}", URL.encode([0; 64])),
        format!("{input}.{}", URL.encode([0xff; 64])),
        format!("{input}.AA"),
        format!("{input}.???"),
    ] {
        assert!(refused(&issuers, &token).await, "{token}");
    }
    let huge = key.token(&with(&json!({"a": "x".repeat(MAX_TOKEN)})));
    let deep = key.sign_text(
        &key.header().to_string(),
        &format!(
            "{{\"iss\":\"{GITHUB}\",\"a\":{}1{}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        ),
    );
    let asked = source.asked();
    for token in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        &huge,
        &deep,
        &format!("{genuine}.x"),
        input,
        &format!(" {genuine}"),
    ] {
        assert!(verify(&issuers, token).await.unwrap().is_none(), "{token}");
    }
    assert_eq!(source.asked(), asked);
}

/// Also T60: nothing panics, whatever is changed.
#[tokio::test]
async fn t50_a_token_of_which_one_character_was_changed_is_not_accepted() {
    let key = Signer::new("ES256", "a");
    let (issuers, _) = github(&[&key], |_| ());
    let genuine = key.token(&claims());
    for at in 0..genuine.len() {
        for other in ["A", "_", ".", "=", "\u{fc}", ""] {
            let changed = [&genuine[..at], other, &genuine[at + 1..]].concat();
            // The last character of a part holds bits that mean nothing.
            let ends = genuine[at + 1..].starts_with('.') || at + 1 == genuine.len();
            if changed != genuine && !ends {
                let verified = verify(&issuers, &changed).await;
                assert!(!matches!(verified, Ok(Some(_))), "{changed}");
            }
        }
    }
}

#[tokio::test]
async fn t50_without_a_key_id_one_key_must_fit_and_a_new_one_is_found() {
    let (key, second, rsa) = (
        Signer::new("ES256", "a"),
        Signer::new("ES256", "b"),
        Signer::new("RS256", "c"),
    );
    let header = json!({"alg": "ES256"});
    let (issuers, source) = github(&[&key, &rsa], |_| ());
    accepted(&issuers, &key.sign(&header, &claims())).await;
    let (ambiguous, _) = github(&[&key, &second], |_| ());
    assert!(refused(&ambiguous, &key.sign(&header, &claims())).await);
    source.rotate(key_set(&[&second]));
    accepted(&issuers, &second.sign(&header, &claims())).await;
    assert!(refused(&issuers, &key.sign(&header, &with(&json!({"jti": "2"})))).await);
}

#[tokio::test]
async fn t50_a_flood_of_invented_keys_costs_no_question_and_no_good_token() {
    let (clock, issuer) = (Clock::manual(NOW.0), Issuer::start().await);
    let (key, thief) = (Signer::new("ES256", "a"), Signer::new("ES256", "b"));
    issuer.publish(&[&key]);
    let issuers = Issuers::new(
        [declared("cluster", &issuer.url)],
        &around(&clock, None),
        None,
    );
    let claims = with(&json!({"iss": issuer.url}));
    accepted(&issuers, &key.token(&claims)).await;
    issuer.asked();
    let invented: Vec<String> = (0..500)
        .map(|n| thief.sign(&json!({"alg": "ES256", "kid": format!("kid-{n}")}), &claims))
        .collect();
    for (minute, questions) in [(0, 0), (1, 2), (2, 2)] {
        let all = join_all(invented.iter().map(|token| refused(&issuers, token))).await;
        assert!(all.iter().all(|refused| *refused));
        assert_eq!(issuer.asked().len(), questions, "minute {minute}");
        accepted(
            &issuers,
            &key.token(&with(&json!({"iss": issuer.url, "jti": minute}))),
        )
        .await;
        clock.advance(Duration::from_secs(60));
    }
    // While it is away, too: good tokens count, the rest cannot be judged.
    issuer.discovery(Says::Raw(503, None, String::new()));
    for token in &invented[..50] {
        assert!(matches!(
            verify(&issuers, token).await,
            Err(Error::Unavailable { .. })
        ));
    }
    assert_eq!(issuer.asked().len(), 1);
    accepted(&issuers, &key.token(&claims)).await;
}
