//! When an issuer is asked, what its answers are worth, and what becomes of its keys while it is away.

use std::io::ErrorKind;

use futures_util::future::join_all;
use runtime::file::{Failing, Fault, Real};
use serde_json::{Value, json};

use super::*;
use crate::keys::{
    conformance,
    memory::Memory,
    rig::{Issuer, Says, Signer, around, at_uri, discovery, key_set, place},
};

const MINUTE: Duration = Duration::from_secs(60);

fn jwks(place: Place, clock: &Clock) -> Jwks {
    Jwks::new(&name(), place, &around(clock, None))
}

fn name() -> IssuerName {
    "cluster".parse().unwrap()
}

/// An issuer that publishes one key.
async fn published() -> (Clock, Issuer, Signer) {
    let (issuer, key) = (Issuer::start().await, Signer::new("ES256", "a"));
    issuer.publish(&[&key]);
    (Clock::manual(0), issuer, key)
}

/// Its keys, which are in hand; what asking for them cost is not counted.
async fn known(issuer: &Issuer, clock: &Clock) -> (Jwks, Arc<KeySet>) {
    let source = jwks(issuer.place(), clock);
    let keys = source.keys().await.unwrap();
    issuer.asked();
    (source, keys)
}

async fn reason(source: &Jwks) -> String {
    source.keys().await.unwrap_err().to_string()
}

#[tokio::test]
async fn every_source_keeps_the_promises() {
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("RS256", "new"));
    let memory = Memory::publishing(key_set(&[&old]));
    let rotate = || memory.rotate(key_set(&[&new]));
    conformance::suite(&memory, &key_set(&[&old]), rotate).await;

    let (clock, issuer) = (Clock::manual(0), Issuer::start().await);
    issuer.publish(&[&old]);
    let rotate = || {
        issuer.publish(&[&new]);
        clock.advance(MINUTE);
    };
    let by_http = jwks(issuer.place(), &clock);
    conformance::suite(&by_http, &key_set(&[&old]), rotate).await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let write =
        |signer: &Signer| std::fs::write(&path, key_set(&[signer]).as_document().to_string());
    write(&old).unwrap();
    let place = Place {
        keys: Some(Keys::File(path.clone())),
        ..place("https://issuer.example")
    };
    let rotate = || {
        write(&new).unwrap();
        clock.advance(Duration::from_secs(1));
    };
    conformance::suite(&jwks(place, &clock), &key_set(&[&old]), rotate).await;
}

#[tokio::test]
async fn a_cluster_is_asked_with_a_token_that_is_read_again_and_goes_nowhere_else() {
    let (clock, cluster, elsewhere) = (
        Clock::manual(0),
        Issuer::start().await,
        Issuer::start().await,
    );
    let (key, other) = (Signer::new("RS256", "a"), Signer::new("ES512", "b"));
    let mut set = json!({"keys": [key.jwk(), {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AA"}, {"kty": "OKP", "crv": "X25519", "x": "AA"}]});
    cluster.jwks(Says::Json(set.clone()));
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    cluster.demand("first");
    let with_token = |place: Place| Place {
        token: Some(token.clone()),
        ..place
    };
    let source = jwks(with_token(cluster.place()), &clock);
    assert_eq!(*source.keys().await.unwrap(), key_set(&[&key]));

    std::fs::write(&token, "second").unwrap();
    cluster.demand("second");
    set["keys"][1] = other.jwk();
    cluster.jwks(Says::Json(set));
    clock.advance(MINUTE);
    let newer = source.newer(&source.keys().await.unwrap()).await.unwrap();
    assert_eq!(*newer, key_set(&[&key, &other]));
    cluster.asked();

    // The document points to another origin: the token stays behind.
    elsewhere.publish(&[&key]);
    let pointing = discovery(&cluster.url, &elsewhere.jwks_uri());
    cluster.discovery(Says::Json(pointing));
    let source = jwks(with_token(cluster.place()), &clock);
    assert!(source.keys().await.is_ok());
    let second = Some("Bearer second".to_owned());
    let well_known = "/.well-known/openid-configuration".to_owned();
    assert_eq!(cluster.asked(), [(well_known, second.clone())]);
    let at = "/openid/v1/jwks".to_owned();
    assert_eq!(elsewhere.asked(), [(at.clone(), None)]);

    // The topology names the other origin: there is nothing to ask but the keys, and they may need it.
    let source = jwks(
        with_token(at_uri(&cluster.url, &elsewhere.jwks_uri())),
        &clock,
    );
    assert!(source.keys().await.is_ok());
    assert_eq!(elsewhere.asked(), [(at, second)]);
    assert!(cluster.asked().is_empty());

    let plain = jwks(with_token(place("http://192.0.2.1:1")), &clock);
    assert!(reason(&plain).await.contains("no token is sent"));
    std::fs::remove_file(&token).unwrap();
    let source = jwks(with_token(cluster.place()), &clock);
    assert!(reason(&source).await.contains("token: "));
    assert!(cluster.asked().is_empty());
}

#[tokio::test]
async fn a_thousand_who_want_keys_cost_one_question_and_no_other_while_the_keys_last() {
    let (clock, issuer, _) = published().await;
    issuer.cache_control("public, max-age=3600");
    let source = jwks(issuer.place(), &clock);
    let all = join_all((0..1000).map(|_| source.keys())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(issuer.asked().len(), 2);
    clock.advance(Duration::from_secs(2879));
    source.keys().await.unwrap();
    assert!(issuer.asked().is_empty());

    // In the last fifth they are renewed and nobody waits.
    issuer.discovery(Says::Silence);
    clock.advance(Duration::from_secs(1));
    join_all((0..100).map(|_| source.keys())).await;
    issuer.arrival().await;
    assert_eq!(issuer.asked().len(), 1);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_once_a_minute_and_evicts_nothing() {
    let (clock, issuer, _) = published().await;
    let (source, keys) = known(&issuer, &clock).await;
    for _ in 0..3 {
        let all = join_all((0..1000).map(|_| source.newer(&keys))).await;
        for same in all {
            assert!(Arc::ptr_eq(&same.unwrap(), &keys));
        }
        assert!(issuer.asked().is_empty());
        clock.advance(MINUTE);
        join_all((0..1000).map(|_| source.newer(&keys))).await;
        assert_eq!(issuer.asked().len(), 2);
    }
}

#[tokio::test]
async fn good_keys_stay_whatever_the_issuer_says_next() {
    let (clock, issuer, key) = published().await;
    let (source, keys) = known(&issuer, &clock).await;
    let html = "<html>maintenance</html>".to_owned();
    let huge = format!("{{\"keys\": [], \"a\": \"{}\"}}", "a".repeat(300_000));
    let bad = [
        Says::Raw(200, Some(("content-type", "text/html".to_owned())), html),
        Says::Raw(200, None, huge),
        Says::Raw(503, None, String::new()),
        Says::Raw(302, Some(("location", issuer.jwks_uri())), String::new()),
        Says::Json(json!({"keys": []})),
        Says::Json(json!({"keys": [{"kty": "oct", "k": "AA"}]})),
        Says::Json(json!([])),
    ];
    for says in bad {
        issuer.jwks(says);
        clock.advance(MINUTE);
        // A token with an unknown key cannot be judged; one with a known key can.
        assert!(source.newer(&keys).await.is_err());
        assert!(source.newer(&keys).await.is_err());
        assert!(Arc::ptr_eq(&source.keys().await.unwrap(), &keys));
        assert_eq!(issuer.asked().len(), 2);
    }
    clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert!(Arc::ptr_eq(&source.keys().await.unwrap(), &keys));
    // It is back: the very same keys are the same `Arc`.
    issuer.publish(&[&key]);
    clock.advance(MINUTE);
    assert!(Arc::ptr_eq(&source.newer(&keys).await.unwrap(), &keys));
}

#[tokio::test]
async fn an_issuer_that_is_another_or_points_elsewhere_has_no_keys() {
    let (clock, issuer, _) = published().await;
    let slash = format!("{}/", issuer.url);
    let port = issuer.url.rsplit(':').next().unwrap();
    let by_number = format!("http://127.0.0.1:{port}/openid/v1/jwks");
    let own = issuer.url.as_str();
    let cases = [
        (
            discovery(&slash, &issuer.jwks_uri()),
            "must be exactly that",
        ),
        (
            discovery("https://other.example", &issuer.jwks_uri()),
            "other.example",
        ),
        (json!({"issuer": own}), "sent no discovery document"),
        (json!({"issuer": own, "jwks_uri": "keys"}), "is not a URL"),
        // T49: judged by the address that would be connected to.
        (discovery(own, &by_number), "not a host of the topology"),
        (
            discovery(own, "http://169.254.169.254/metadata"),
            "no connection is ever made",
        ),
        (
            discovery(own, "http://[fd00:ec2::254]/"),
            "no connection is ever made",
        ),
        (
            discovery(own, "http://0xa9fea9fe/"),
            "no connection is ever made",
        ),
        (
            discovery(own, "http://10.0.0.1/"),
            "not a host of the topology",
        ),
        (
            discovery(own, "file:///etc/passwd"),
            "not a URL to connect to",
        ),
        (discovery(own, "http://a:b@localhost/"), "user information"),
    ];
    for (document, expected) in cases {
        issuer.discovery(Says::Json(document.clone()));
        let reason = reason(&jwks(issuer.place(), &clock)).await;
        assert!(reason.contains(expected), "{document}: {reason}");
        assert_eq!(issuer.asked().len(), 1, "{document}");
    }
    // A name is judged when it is resolved.
    let document = discovery("http://127.0.0.1", &issuer.jwks_uri());
    let other = Issuer::start().await;
    let url = other.url.replace("localhost", "127.0.0.1");
    let mut document = document;
    document["issuer"] = json!(url);
    other.discovery(Says::Json(document));
    let reason = reason(&jwks(place(&url), &clock)).await;
    assert!(reason.contains("not a host of the topology"), "{reason}");
    assert!(reason.contains("jwksUri"), "{reason}");
    assert!(issuer.asked().is_empty());
    // The exact issuer, with the slash that is part of its name.
    issuer.discovery(Says::Json(discovery(&slash, &issuer.jwks_uri())));
    assert!(jwks(place(&slash), &clock).keys().await.is_ok());
    // Declared, so it may be asked.
    assert!(
        jwks(at_uri(&slash, &by_number), &clock)
            .keys()
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_left_after_its_time_and_not_asked_at_once_again() {
    let (clock, issuer) = (Clock::manual(0), Issuer::start().await);
    issuer.discovery(Says::Silence);
    let source = jwks(issuer.place(), &clock);
    let late = async {
        issuer.arrival().await;
        clock.advance(discovery::PATIENCE);
    };
    let (away, ()) = tokio::join!(source.keys(), late);
    assert!(away.unwrap_err().to_string().contains("within 10 s"));
    assert!(reason(&source).await.contains("within 10 s"));
    assert_eq!(issuer.asked().len(), 1);
    issuer.discovery(Says::Json(discovery(&issuer.url, &issuer.jwks_uri())));
    issuer.publish(&[&Signer::new("ES256", "a")]);
    clock.advance(Duration::from_secs(10));
    assert!(source.keys().await.is_ok());
}

#[tokio::test]
async fn a_start_while_the_issuer_is_away_has_the_last_good_keys_of_the_very_place() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, issuer, key) = published().await;
    let start = |place: Place| {
        let around = around(&clock, Some(directory.path().join("issuers")));
        Jwks::new(&name(), place, &around)
    };
    start(issuer.place()).keys().await.unwrap();
    issuer.asked();
    issuer.discovery(Says::Raw(503, None, String::new()));
    let restarted = start(issuer.place());
    assert_eq!(*restarted.keys().await.unwrap(), key_set(&[&key]));
    // Once it was waited for, then no more.
    for _ in 0..10 {
        restarted.keys().await.unwrap();
    }
    assert_eq!(issuer.asked().len(), 1);
    let elsewhere = at_uri(&issuer.url, "http://localhost:1/");
    assert!(start(elsewhere).keys().await.is_err());
    let file = directory.path().join("issuers/cluster.json");
    for damage in ["", "{", "null", "{\"version\": 1}"] {
        std::fs::write(&file, damage).unwrap();
        assert!(start(issuer.place()).keys().await.is_err(), "{damage}");
    }
    // It is back, and damage and what a crash left are no hindrance.
    std::fs::write(directory.path().join("issuers/cluster.json.new"), "half").unwrap();
    issuer.discovery(Says::Json(discovery(&issuer.url, &issuer.jwks_uri())));
    assert!(start(issuer.place()).keys().await.is_ok());
    issuer.discovery(Says::Raw(503, None, String::new()));
    assert!(start(issuer.place()).keys().await.is_ok());
}

#[tokio::test]
async fn keys_of_issuers_that_are_gone_leave_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let around = around(&Clock::manual(0), Some(directory.path().join("issuers")));
    let names = || ["cluster", "a.b"].map(|name| name.parse().unwrap()).into();
    // Nothing was ever kept.
    around.keep_only(names());
    assert!(around.tasks.drain(MINUTE).await);
    let around = Around {
        tasks: Tasks::new("next"),
        ..around
    };
    std::fs::create_dir(directory.path().join("issuers")).unwrap();
    for file in [
        "cluster.json",
        "cluster.json.new",
        "a.b.json",
        "gone.json",
        "gone.json.new",
        "a.json",
        "other",
    ] {
        std::fs::write(directory.path().join("issuers").join(file), "x").unwrap();
    }
    around.keep_only(names());
    assert!(around.tasks.drain(MINUTE).await);
    let left = std::fs::read_dir(directory.path().join("issuers")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a.b.json", "cluster.json", "cluster.json.new"]);
}

#[tokio::test]
async fn a_disk_that_fails_costs_nothing_but_the_copy() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, issuer, key) = published().await;
    for (fault, at) in
        (0..16).flat_map(|at| [(Fault::Stop, at), (Fault::Error(ErrorKind::Other), at)])
    {
        let files = Failing::new(Arc::new(Real), fault, at);
        let place = directory.path().join(format!("{fault:?}{at}"));
        let around = Around {
            disk: Some((Arc::new(files.clone()), place.clone())),
            ..around(&clock, None)
        };
        let source = Jwks::new(&name(), issuer.place(), &around);
        assert_eq!(*source.keys().await.unwrap(), key_set(&[&key]));
        let kept = std::fs::read(place.join("cluster.json")).ok();
        let kept = kept.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        if at > files.calls() || at == 0 {
            assert_eq!(kept.unwrap()["jwks"], *key_set(&[&key]).as_document());
        }
    }
}

#[tokio::test]
async fn tls_is_checked_by_the_declared_authority_as_it_is_now() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = runtime::tls::Server::fixed(cert.as_bytes(), key.as_bytes()).unwrap();
    let (clock, issuer) = (Clock::manual(0), Issuer::start_by(Some(tls)).await);
    issuer.publish(&[&Signer::new("ES256", "a")]);
    assert!(jwks(issuer.place(), &clock).keys().await.is_err());
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let place = Place {
        ca: Some(ca.clone()),
        ..issuer.place()
    };
    let source = jwks(place.clone(), &clock);
    assert!(reason(&source).await.contains("ca.pem"));
    std::fs::write(&ca, cert).unwrap();
    clock.advance(MINUTE);
    assert!(source.keys().await.is_ok());
    // An issuer that is https does not send us to http.
    let plain = discovery(&issuer.url, "http://localhost/keys");
    issuer.discovery(Says::Json(plain));
    assert!(reason(&jwks(place, &clock)).await.contains("is not https"));
}
