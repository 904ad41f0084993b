//! T50, T52 and T55 for grants: each forgery, each grant in the wrong place, is one row.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use serde_json::{Value, json};
use wire::{generation::Generation, withdrawal::Withdrawal};

use super::*;
use crate::sign::{Keys, Public};

const NOW: WallTime = WallTime(1_800_000_000_000);
const HUB: &str = "hub.example:5443";
const EDGE: &str = "spiffe://contoso/node/edge";

/// A control plane's key, and who believes it.
struct Issuer {
    pair: EcdsaKeyPair,
    kid: String,
    trust: Trust,
}

fn issuer() -> Issuer {
    let secret = Keys::new_secret().unwrap();
    let keys = Keys::of(std::slice::from_ref(&secret)).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret.expose());
    let trust = Trust {
        mesh: "contoso".parse().unwrap(),
        issuer: "https://control.example".to_owned(),
        keys: Public::read(&keys.points()),
        former: [].into(),
        withdrawn: [].into(),
        plain: false,
    };
    Issuer {
        pair: pair.unwrap(),
        kid: keys.kid().to_owned(),
        trust,
    }
}

impl Issuer {
    fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": TYP, "kid": self.kid})
    }

    fn sign(&self, header: &Value, claims: &Value) -> Secret {
        let signed = [header, claims].map(|part| URL.encode(part.to_string()));
        let signed = signed.join(".");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        Secret::new(format!("{signed}.{}", URL.encode(signature.unwrap())))
    }

    fn grant(&self, claims: &Value) -> Secret {
        self.sign(&self.header(), claims)
    }

    fn check(&self, grant: &Secret) -> Result<Granted, Wrong> {
        check(Some(&self.trust), HUB, grant, from(Some(EDGE)), NOW)
    }
}

fn from(spiffe: Option<&str>) -> Origin<'_> {
    Origin {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
        spiffe,
        plain_loopback: false,
    }
}

fn claims() -> Value {
    let s = NOW.seconds();
    json!({
        "iss": "https://control.example", "aud": HUB, "sub": "mesh:contoso:identity:promoter",
        "iat": s - 10, "nbf": s - 10, "exp": s + 3600, "jti": "6f1c1f8e-3b53-4a8f-9a55-1f3f2b0f6a11",
        "regmesh": {"node": "edge", "rule": "apps", "repositories": ["team/*"], "actions": ["pull"], "generation": 7},
        "cnf": {"spiffe": EDGE}
    })
}

/// `claims` with the member at `pointer` set to `value`.
fn with(pointer: &str, value: Value) -> Value {
    let mut claims = claims();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    claims.pointer_mut(parent).unwrap()[member] = value;
    claims
}

#[test]
fn a_grant_gives_its_identity_what_its_rule_reads_under_its_nodes_certificate() {
    let issuer = issuer();
    let granted = issuer.check(&issuer.grant(&claims())).unwrap();
    assert_eq!(granted.principal.to_string(), "identity:promoter");
    assert_eq!(granted.bound_to.as_deref(), Some(EDGE));
    assert_eq!(granted.via.rule.as_str(), "apps");
    assert_eq!(granted.via.node.as_str(), "edge");
    assert_eq!(granted.expires, WallTime((NOW.seconds() + 3600) * 1000));
    let may = |action, name: &str| granted.bound.allows(action, &name.parse().unwrap());
    assert!(may(Action::Pull, "team/a/b"));
    assert!(
        !may(Action::Push, "team/a") && !may(Action::Pull, "team") && !may(Action::Pull, "other/a")
    );
}

/// T50: what is signed by somebody else, or not by what the header says, is told one thing.
#[test]
fn no_forged_grant_is_taken() {
    let (issuer, thief) = (issuer(), issuer());
    let good = issuer.grant(&claims());
    let (signed, signature) = good.expose().rsplit_once('.').unwrap();
    let body = signed.split_once('.').unwrap().1;
    let changed = |member: &str, value: Value| {
        let mut header = issuer.header();
        header[member] = value;
        header
    };
    let unsigned = |header: &Value, signature: &str| {
        let header = URL.encode(header.to_string());
        Secret::new(format!("{header}.{body}.{signature}"))
    };
    let point = URL.decode(&issuer.trust.keys.write()[&issuer.kid]).unwrap();
    let by_public_key = |header: Value| {
        let signed = format!("{}.{body}", URL.encode(header.to_string()));
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &point),
            signed.as_bytes(),
        );
        Secret::new(format!("{signed}.{}", URL.encode(tag)))
    };
    let theirs = &thief.trust.keys.write()[&thief.kid];
    let theirs = URL.decode(theirs).unwrap();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": URL.encode(&theirs[1..33]), "y": URL.encode(&theirs[33..])});
    let embedded = |member: &str, value: Value, kid: &str| {
        let header = json!({"alg": "ES256", "typ": TYP, "kid": kid, member: value});
        thief.sign(&header, &claims())
    };
    let attacks = [
        (
            "alg none, no signature",
            unsigned(&changed("alg", json!("none")), ""),
        ),
        (
            "alg None, our signature",
            unsigned(&changed("alg", json!("None")), signature),
        ),
        (
            "alg HS256 by the public key",
            by_public_key(changed("alg", json!("HS256"))),
        ),
        (
            "alg ES256, a MAC by the public key",
            by_public_key(issuer.header()),
        ),
        (
            "alg RS256",
            issuer.sign(&changed("alg", json!("RS256")), &claims()),
        ),
        (
            "alg ES384",
            issuer.sign(&changed("alg", json!("ES384")), &claims()),
        ),
        (
            "typ JWT",
            issuer.sign(&changed("typ", json!("JWT")), &claims()),
        ),
        (
            "typ of an access token",
            issuer.sign(&changed("typ", json!("at+jwt")), &claims()),
        ),
        (
            "no typ",
            issuer.sign(&json!({"alg": "ES256", "kid": issuer.kid}), &claims()),
        ),
        (
            "unknown crit",
            issuer.sign(&changed("crit", json!(["x"])), &claims()),
        ),
        (
            "empty crit",
            issuer.sign(&changed("crit", json!([])), &claims()),
        ),
        ("embedded jwk", embedded("jwk", jwk.clone(), &thief.kid)),
        ("embedded jwk, our kid", embedded("jwk", jwk, &issuer.kid)),
        (
            "jku",
            embedded("jku", json!("https://thief.example/keys"), &thief.kid),
        ),
        (
            "x5u",
            embedded("x5u", json!("https://thief.example/cert"), &thief.kid),
        ),
        (
            "x5c, our kid",
            embedded("x5c", json!(["AAAA"]), &issuer.kid),
        ),
        ("kid a path", embedded("x", json!(1), "../../../dev/null")),
        ("kid empty", embedded("x", json!(1), "")),
        (
            "no kid",
            issuer.sign(&json!({"alg": "ES256", "typ": TYP}), &claims()),
        ),
        ("another key", thief.grant(&claims())),
        (
            "another body",
            Secret::new(format!("{signed}A.{signature}")),
        ),
        (
            "a signature cut off",
            Secret::new(good.expose()[..good.expose().len() - 2].to_owned()),
        ),
        (
            "too long",
            Secret::new(format!("{}.{}", "a".repeat(40_000), good.expose())),
        ),
        ("nothing", Secret::from("")),
    ];
    assert!(issuer.check(&good).is_ok());
    for (attack, grant) in attacks {
        assert_eq!(
            issuer.check(&grant).unwrap_err(),
            Wrong::Signature,
            "{attack}"
        );
    }
    let nobody = check(None, HUB, &good, from(Some(EDGE)), NOW);
    assert_eq!(nobody.unwrap_err(), Wrong::Signature, "no issuer yet");
}

/// T50: a flood of unknown keys costs look-ups, and what is right stays right.
#[test]
fn a_flood_of_random_kids_evicts_nothing() {
    let (issuer, thief) = (issuer(), issuer());
    let good = issuer.grant(&claims());
    for n in 0..10_000 {
        let header =
            URL.encode(json!({"alg": "ES256", "typ": TYP, "kid": n.to_string()}).to_string());
        let forged = Secret::new(format!("{header}.e30.AAAA"));
        assert_eq!(issuer.check(&forged).unwrap_err(), Wrong::Signature);
    }
    assert!(issuer.check(&thief.grant(&claims())).is_err());
    assert!(issuer.check(&good).is_ok());
}

/// T50: signed by the right key, and still not for us, or not now.
#[test]
fn claims_that_do_not_fit_are_refused_one_by_one() {
    let issuer = issuer();
    let s = NOW.seconds();
    let week = i64::try_from(LONGEST_LIFE.as_secs()).unwrap();
    let cases = [
        ("/iss", json!("https://control.example/"), Wrong::Issuer),
        ("/iss", json!("https://thief.example"), Wrong::Issuer),
        ("/sub", json!("mesh:other:identity:promoter"), Wrong::Issuer),
        ("/sub", json!("mesh:contoso:node:promoter"), Wrong::Issuer),
        (
            "/sub",
            json!("mesh:contoso:identity:../promoter"),
            Wrong::Issuer,
        ),
        ("/aud", json!("dev.example:5443"), Wrong::Audience),
        ("/aud", json!("hub.example"), Wrong::Audience),
        ("/aud", json!("HUB.example:5443"), Wrong::Audience),
        ("/aud", json!([HUB]), Wrong::Signature),
        ("/exp", json!(s - 60), Wrong::Time),
        ("/exp", json!(s - 3600), Wrong::Time),
        ("/exp", json!(s + week), Wrong::Time),
        ("/exp", json!(i64::MAX), Wrong::Time),
        ("/exp", json!(1e300), Wrong::Signature),
        ("/exp", json!("soon"), Wrong::Signature),
        ("/iat", json!(i64::MIN), Wrong::Time),
        ("/iat", json!(s + 61), Wrong::Time),
        ("/nbf", json!(s + 61), Wrong::Time),
        ("/regmesh/actions", json!(["pull", "push"]), Wrong::Actions),
        ("/regmesh/actions", json!(["delete"]), Wrong::Actions),
        ("/regmesh/actions", json!(["*"]), Wrong::Signature),
        (
            "/regmesh/repositories",
            json!(["team/../secret"]),
            Wrong::Signature,
        ),
        ("/regmesh/repositories", json!(["Team/*"]), Wrong::Signature),
        ("/regmesh/repositories", json!(["team*"]), Wrong::Signature),
        ("/regmesh/node", json!("other"), Wrong::Connection),
        (
            "/cnf",
            json!({"spiffe": "spiffe://contoso/node/other"}),
            Wrong::Connection,
        ),
        (
            "/cnf",
            json!({"spiffe": "spiffe://other/node/edge"}),
            Wrong::Connection,
        ),
        (
            "/cnf",
            json!({"spiffe": "spiffe://contoso/control"}),
            Wrong::Connection,
        ),
        ("/cnf", json!({"spiffe": ""}), Wrong::Connection),
        ("/cnf", Value::Null, Wrong::Connection),
        ("/cnf", json!({}), Wrong::Signature),
    ];
    for (pointer, value, expected) in cases {
        let grant = issuer.grant(&with(pointer, value.clone()));
        assert_eq!(
            issuer.check(&grant).unwrap_err(),
            expected,
            "{pointer} {value}"
        );
    }
    for (pointer, value) in [
        ("/exp", json!(s - 59)),
        ("/iat", json!(s + 60)),
        ("/nbf", json!(s + 60)),
        ("/regmesh/later", json!("a newer control plane")),
        ("/later", json!(1)),
    ] {
        assert!(
            issuer
                .check(&issuer.grant(&with(pointer, value.clone())))
                .is_ok(),
            "{pointer} {value}"
        );
    }
    for member in ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "regmesh"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(member);
        assert_eq!(
            issuer.check(&issuer.grant(&claims)).unwrap_err(),
            Wrong::Signature,
            "no {member}"
        );
    }
    // A repository that is named twice, once with something else: the text is refused, not one of the two picked.
    let text = claims()
        .to_string()
        .replace("\"aud\":", "\"aud\":\"dev.example\",\"aud\":");
    let signed = format!(
        "{}.{}",
        URL.encode(issuer.header().to_string()),
        URL.encode(text)
    );
    let signature = issuer
        .pair
        .sign(&SystemRandom::new(), signed.as_bytes())
        .unwrap();
    let doubled = Secret::new(format!("{signed}.{}", URL.encode(signature)));
    assert_eq!(issuer.check(&doubled).unwrap_err(), Wrong::Signature);
}

/// T55: the same bytes, over another connection, at another node.
#[test]
fn a_stolen_grant_opens_nothing() {
    let mut issuer = issuer();
    let grant = issuer.grant(&claims());
    let mut unbound = claims();
    unbound.as_object_mut().unwrap().remove("cnf");
    let unbound = issuer.grant(&unbound);
    let loopback = Origin {
        plain_loopback: true,
        ..from(None)
    };
    for plain in [false, true] {
        issuer.trust.plain = plain;
        let check = |audience: &str, grant: &Secret, origin| {
            check(Some(&issuer.trust), audience, grant, origin, NOW).map(|_| ())
        };
        assert_eq!(check(HUB, &grant, from(Some(EDGE))), Ok(()));
        for (why, origin) in [
            ("another node's", from(Some("spiffe://contoso/node/other"))),
            ("another mesh's", from(Some("spiffe://other/node/edge"))),
            (
                "the control plane's",
                from(Some("spiffe://contoso/control")),
            ),
            ("without a certificate", from(None)),
            ("plain http on this machine", loopback),
        ] {
            assert_eq!(check(HUB, &grant, origin), Err(Wrong::Connection), "{why}");
        }
        assert_eq!(
            check("dev.example", &grant, from(Some(EDGE))),
            Err(Wrong::Audience)
        );
        // Bound to nothing: this machine alone, and only where nobody has TLS.
        let expected = if plain {
            Ok(())
        } else {
            Err(Wrong::Connection)
        };
        assert_eq!(check(HUB, &unbound, loopback), expected);
        assert_eq!(check(HUB, &unbound, from(None)), Err(Wrong::Connection));
        assert_eq!(
            check(HUB, &unbound, from(Some(EDGE))),
            Err(Wrong::Connection)
        );
    }
}

/// T38: neither time nor memory keeps a grant that was taken back.
#[test]
fn a_grant_ends_when_its_rule_is_withdrawn_or_its_key_is_gone() {
    let mut issuer = issuer();
    let grant = issuer.grant(&claims());
    assert!(issuer.check(&grant).is_ok());
    let rule = || "edge/apps".parse().unwrap();
    let withdrawal = Withdrawal {
        before: Generation(8),
        at: NOW.minus(Duration::from_secs(60)),
        left: None,
    };
    issuer.trust.withdrawn = ["edge/others", "other/apps"]
        .map(|rule| (rule.parse().unwrap(), withdrawal))
        .into();
    assert!(issuer.check(&grant).is_ok(), "another rule's");
    issuer.trust.withdrawn = [(rule(), withdrawal)].into();
    assert_eq!(issuer.check(&grant).unwrap_err(), Wrong::Withdrawn);
    let again = issuer.grant(&with("/regmesh/generation", json!(8)));
    assert!(issuer.check(&again).is_ok(), "made since");
    issuer.trust.keys = Public::default();
    assert_eq!(issuer.check(&again).unwrap_err(), Wrong::Signature);
}
