//! A second rule, another node, a thief with a copy of everything: none of them gets or uses the first rule's tokens (T52, T55).

use serde_json::json;
use tests::client::Reply;
use tests::{Fleet, Thief, jwt};

use super::{basic, exchange, fleet, fresh, grant, post};

/// What a refresh token becomes at a node.
async fn token(
    fleet: &Fleet,
    node: &str,
    refresh: &str,
    scope: &str,
    shown: Option<&str>,
) -> Reply {
    let (url, service) = (fleet.url(node) + "/oauth2/token", fleet.host(node));
    let form = [
        ("grant_type", "refresh_token"),
        ("service", service.as_str()),
        ("client_id", "thief"),
        ("scope", scope),
        ("refresh_token", refresh),
    ];
    post(&fleet.http(shown), &url, &form).await
}

fn refresh_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json().unwrap()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_opens_nothing_without_the_certificate_of_its_node_and_nowhere_else() {
    let fleet = fleet(3).await;
    let (repository, image) = fresh(&fleet, "borrowed", 10);
    fleet.pulls("spoke", &repository, &image).await;
    let grant = grant(&fleet, "prod", "prod-up").await;
    let claims = jwt::parts(&grant).unwrap();
    assert_eq!(claims.header["typ"], "regmesh-grant+jwt");
    assert_eq!(claims.text("aud"), fleet.host("dev"));
    assert_eq!(claims.claims["cnf"]["spiffe"], "spiffe://fleet/node/prod");
    let (prod, spoke) = (fleet.certificate_of("prod"), fleet.certificate_of("spoke"));
    // Its own node gets what it may, and only that.
    let refresh = refresh_of(&exchange(&fleet, "dev", &grant, Some(&prod)).await);
    let scope = format!(
        "repository:{repository}:pull,push,delete repository:other/app:pull registry:catalog:*"
    );
    let given = token(&fleet, "dev", &refresh, &scope, Some(&prod)).await;
    let access = given.json().unwrap()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        jwt::parts(&access).unwrap().claims["access"],
        json!([{"type": "repository", "name": repository, "actions": ["pull"]}]),
    );
    let path = format!("/v2/{repository}/manifests/1");
    let bearer = format!("Bearer {access}");
    let with = |client: tests::Client, value: &str| client.with_header("authorization", value);
    let own = with(fleet.client_showing("dev", &prod), &bearer)
        .get(&path)
        .await
        .unwrap();
    assert_eq!(own.status, 200, "{own:?}");
    // Another node, nobody, and somebody with a certificate of elsewhere: no exchange, no token, no manifest.
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let foreign = made.cert.pem() + &made.signing_key.serialize_pem();
    for shown in [None, Some(spoke.as_str()), Some(foreign.as_str())] {
        let refused = exchange(&fleet, "dev", &grant, shown).await;
        assert!(matches!(refused.status, 400 | 401 | 403), "{refused:?}");
        let refused = token(&fleet, "dev", &refresh, &scope, shown).await;
        assert!(matches!(refused.status, 400 | 401 | 403), "{refused:?}");
        let client = match shown {
            None => fleet.client("dev"),
            Some(pem) => fleet.client_showing("dev", pem),
        };
        let refused = with(client, &bearer).get(&path).await.unwrap();
        assert_eq!(refused.status, 401, "{refused:?}");
    }
    // At another node it says nothing, whoever shows it.
    for (node, shown) in [("prod", &prod), ("spoke", &prod), ("prod", &spoke)] {
        let refused = exchange(&fleet, node, &grant, Some(shown)).await;
        assert!(
            matches!(refused.status, 400 | 401 | 403),
            "{node}: {refused:?}"
        );
    }
    // Nor anywhere but at the exchange: as bearer, as password, as refresh token, as subject of RFC 8693.
    let bearer = format!("Bearer {grant}");
    let zeros = "00000000-0000-0000-0000-000000000000";
    for value in [
        &bearer,
        &basic("oidc", &grant),
        &basic(zeros, &grant),
        &basic("prod", &grant),
    ] {
        let reply = with(fleet.client_showing("dev", &prod), value)
            .get(&path)
            .await
            .unwrap();
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    let refused = token(&fleet, "dev", &grant, &scope, Some(&prod)).await;
    assert!(matches!(refused.status, 400 | 401), "{refused:?}");
    let form = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", &grant),
        ("scope", &scope),
    ];
    let refused = post(
        &fleet.http(Some(&prod)),
        &(fleet.url("dev") + "/oauth2/token"),
        &form,
    )
    .await;
    assert!(matches!(refused.status, 400 | 401), "{refused:?}");
    let api = reqwest::Client::new()
        .get(fleet.api() + "/api/v1/rules")
        .bearer_auth(&grant);
    assert_eq!(api.send().await.unwrap().status(), 401);
    // Altered it is worth nothing at all.
    let claims = &claims.claims;
    for wrong in jwt::Wrong::ALL {
        let forged = wrong.token(&jwt::Key::es256("forged"), claims);
        let refused = exchange(&fleet, "dev", &forged, Some(&prod)).await;
        assert!(
            matches!(refused.status, 400 | 401 | 403),
            "{wrong:?}: {refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_rule_gets_no_further_than_its_own_identity() {
    let mut fleet = fleet(2).await;
    // A second rule on the same node, whose identity may read something else alone.
    fleet
        .topology
        .set("identities", "second", "{kind: managed, on: [prod]}");
    fleet.topology.allow("{allow: repository-reader, to: \"identity:second\", on: dev, repositories: [\"up/open/*\"]}");
    fleet.topology.set(
        "rules",
        "second",
        "{on: prod, source: \"parent://up/open/*\", target: \"second/*\", identity: second}",
    );
    fleet.apply().await.well();
    let (repository, image) = fresh(&fleet, "secret", 20);
    fleet.pulls("prod", &repository, &image).await;
    let open = tests::Image::single(7_021).build();
    fleet.origin.put("open/app", "1", &open);
    fleet.pulls("prod", "second/app", &open).await;
    // The second rule's grant, shown by the very same node, opens the second rule's source only.
    let (first, second) = (
        grant(&fleet, "prod", "prod-up").await,
        grant(&fleet, "prod", "second").await,
    );
    let prod = fleet.certificate_of("prod");
    for (grant, repository, wanted) in [
        (&second, repository.as_str(), json!([])),
        (&second, "up/open/app", json!(["pull"])),
        (&first, repository.as_str(), json!(["pull"])),
    ] {
        let refresh = refresh_of(&exchange(&fleet, "dev", grant, Some(&prod)).await);
        let scope = format!("repository:{repository}:pull");
        let given = token(&fleet, "dev", &refresh, &scope, Some(&prod))
            .await
            .json()
            .unwrap();
        let access = jwt::parts(given["access_token"].as_str().unwrap()).unwrap();
        let actions = match access.claims["access"]
            .as_array()
            .and_then(|all| all.first())
        {
            Some(one) => one["actions"].clone(),
            None => json!([]),
        };
        assert_eq!(actions, wanted, "{repository}: {given}");
    }
    // Through the second rule's names nothing of the first one's is to be had.
    let client = fleet.client("prod");
    for digest in [&image.digest, image.largest().0] {
        for kind in ["manifests", "blobs"] {
            let reply = client
                .get(&format!("/v2/second/app/{kind}/{digest}"))
                .await
                .unwrap();
            assert_eq!(reply.status, 404, "{reply:?}");
        }
    }
    // Who may write rules but was not given the identity may not put it into one.
    let refused = fleet
        .regmesh(&["cache", "update", "-n", "second", "--identity", "nobody"])
        .await;
    assert_eq!(refused.code, Some(1), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_pointed_elsewhere_takes_no_token_there() {
    let mut fleet = fleet(2).await;
    let (repository, image) = fresh(&fleet, "pointed", 30);
    fleet.pulls("prod", &repository, &image).await;
    let thief = Thief::start().await;
    // A managed identity is for nodes: towards anything else the topology is refused.
    let there = format!(
        "{{on: prod, source: \"{}/*\", target: \"stolen/*\", identity: prod}}",
        thief.address()
    );
    fleet.topology.set("rules", "stolen", &there);
    let refused = fleet.apply().await;
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(
        refused.err.contains("identity-kind-mismatch")
            || refused.out.contains("identity-kind-mismatch"),
        "{refused:#?}"
    );
    thief.assert_silent();
}
