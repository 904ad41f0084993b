//! The issuer's two documents, rotation, who may do what, and what is bounded about topologies.

use wire::time::WallTime;

use super::*;

const DISCOVERY: &str = "/.well-known/openid-configuration";

fn kids(jwks: &Value) -> Vec<&str> {
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn anybody_finds_the_issuer_and_its_keys_and_may_keep_them_for_an_hour() {
    let rig = empty().await;
    let found = rig.send(Method::GET, DISCOVERY, &[], "").await;
    assert_eq!(found.status, 200, "before the first apply, too");
    assert_eq!(found.header("content-type"), "application/json");
    assert_eq!(found.header("cache-control"), "public, max-age=3600");
    assert_eq!(found.body["issuer"], "http://127.0.0.1:7080");
    assert_eq!(found.body["jwks_uri"], "http://127.0.0.1:7080/keys");
    assert_eq!(found.body["response_types_supported"], json!(["id_token"]));
    assert_eq!(found.body["subject_types_supported"], json!(["public"]));
    let algorithms = &found.body["id_token_signing_alg_values_supported"];
    assert_eq!(algorithms, &json!(["RS256"]));
    let endpoint = found.body["authorization_endpoint"].as_str().unwrap();
    let endpoint = endpoint.strip_prefix("http://127.0.0.1:7080").unwrap();
    let nobody = rig.send(Method::GET, endpoint, &[], "").await;
    assert_eq!(nobody.status, 404);
    assert_eq!(nobody.header("cache-control"), "no-store");

    let keys = rig.send(Method::GET, "/keys", &[], "").await;
    assert_eq!(keys.status, 200);
    assert_eq!(keys.header("cache-control"), "public, max-age=3600");
    assert_eq!(kids(&keys.body).len(), 1);
    let key = &keys.body["keys"][0];
    assert_eq!((&key["kty"], &key["alg"]), (&json!("RSA"), &json!("RS256")));
    assert_eq!(key.get("d"), None, "nothing private");

    let control = "control: {endpoint: 'https://c.example'}\n";
    assert_eq!(rig.apply(&format!("{TOPOLOGY}{control}")).await.status, 200);
    let found = rig.send(Method::GET, DISCOVERY, &[], "").await;
    assert_eq!(found.body["issuer"], "https://c.example");
}

#[tokio::test]
async fn a_rotation_is_of_all_keys_and_reaches_every_node_as_a_generation() {
    let rig = rig().await;
    let before = rig.send(Method::GET, "/keys", &[], "").await.body;
    let rotate = || rig.ask(Method::POST, "/api/v1/keys:rotate", json!({}));
    let rotated = rotate().await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let day = WallTime(rig.clock.wall_ms()).plus(Duration::from_secs(86_400));
    assert_eq!(rotated.body["signsFrom"], day.to_string());
    let after = rig.send(Method::GET, "/keys", &[], "").await.body;
    let (old, new) = (
        kids(&before)[0],
        rotated.body["federationKey"].as_str().unwrap(),
    );
    assert_eq!(kids(&after), [old, new]);
    let current = rig.api.publisher.current();
    assert_eq!(current.published.generation, Generation(2));
    let grant = rotated.body["grantKey"].as_str().unwrap();
    assert!(current.published.desired.grants.keys.contains_key(grant));
    let again = rotate().await;
    assert_eq!(
        (again.status, &again.body["code"]),
        (409, &json!("conflict"))
    );
    assert_eq!(rig.send(Method::GET, "/keys", &[], "").await.body, after);
}

#[tokio::test]
async fn a_revocation_leaves_no_older_key_of_the_issuer_and_the_ca_as_it_was() {
    let rig = rig().await;
    let old = rig.send(Method::GET, "/keys", &[], "").await.body;
    let pin = rig.api.ca.pin();
    let revoked = rig
        .ask(Method::POST, "/api/v1/keys:revoke", json!({}))
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    assert_eq!(revoked.body["generation"], 2);
    let gone = revoked.body["revoked"].as_array().unwrap();
    assert!(gone.contains(&json!(kids(&old)[0])) && gone.len() == 2);
    let jwks = rig.send(Method::GET, "/keys", &[], "").await.body;
    assert_eq!(
        kids(&jwks),
        [revoked.body["federationKey"].as_str().unwrap()]
    );
    let current = rig.api.publisher.current();
    let believed = &current.published.desired.grants.keys;
    let believed: Vec<_> = believed.keys().map(String::as_str).collect();
    assert_eq!(believed, [revoked.body["grantKey"].as_str().unwrap()]);
    assert_eq!(rig.api.ca.pin(), pin);
}

#[tokio::test]
async fn a_rotation_that_broke_off_after_the_ca_is_completed_by_the_next() {
    let rig = rig().await;
    rig.api.ca.rotate("admin-token").await.unwrap();
    let rotated = rig
        .ask(Method::POST, "/api/v1/keys:rotate", json!({}))
        .await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert!(rotated.body["grantKey"].is_string());
}

#[tokio::test]
async fn who_may_read_a_repository_is_told_with_the_assignment_and_the_rules() {
    let rig = rig().await;
    let path = |node: &str, repository: &str| {
        format!("/api/v1/nodes/{node}/effective?repository={repository}")
    };
    let got = rig.get(&path("dev", "team/api")).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.header("etag"), "\"1\"");
    let holders = got.body["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0]["who"], "identity:promoter");
    assert_eq!(
        (
            &holders[0]["read"],
            &holders[0]["write"],
            &holders[0]["delete"]
        ),
        (&json!(true), &json!(false), &json!(false))
    );
    assert_eq!(holders[0]["rules"], json!(["prod/promote"]));
    let through = holders[0]["through"][0]["assignment"].as_str().unwrap();
    let assignment = rig.get(&format!("/api/v1/access/{through}")).await;
    assert_eq!(assignment.body["spec"]["to"], "identity:promoter");
    let nobody = rig.get(&path("prod", "team/api")).await;
    assert_eq!(nobody.body["holders"], json!([]));
    assert_eq!(rig.get(&path("gone", "team/api")).await.status, 404);
    assert_eq!(rig.get(&path("dev", "Team")).await.status, 400);
    assert_eq!(rig.get("/api/v1/nodes/dev/effective").await.status, 400);
}

#[tokio::test]
async fn plans_wait_for_each_other_and_not_for_ever() {
    let rig = rig().await;
    let body = json!({"files": [{"name": "t.yaml", "text": TOPOLOGY}]});
    let plan = || rig.ask(Method::POST, "/api/v1/topology:plan", body.clone());
    assert_eq!(plan().await.status, 200);
    let held = rig.api.plans.acquire().await;
    let time_passes = async {
        for _ in 0..200 {
            tokio::task::yield_now().await;
            rig.clock.advance(Duration::from_millis(100));
        }
    };
    let (busy, ()) = tokio::join!(plan(), time_passes);
    assert_eq!((busy.status, &busy.body["code"]), (503, &json!("busy")));
    assert!(!busy.header("retry-after").is_empty());
    drop(held);
    assert_eq!(plan().await.status, 200);
}

#[tokio::test]
async fn of_very_many_problems_the_first_are_listed_and_the_rest_counted() {
    let rig = empty().await;
    let rules: String = (0..300)
        .map(|n| {
            format!("  r{n}: {{on: dev, source: quay.io/a{n}, target: t{n}, identity: nobody}}\n")
        })
        .collect();
    let text = format!(
        "version: 1\nmesh: one\nnodes:\n  dev: {{endpoint: 'http://127.0.0.1:5000'}}\nrules:\n{rules}"
    );
    let got = rig.apply(&text).await;
    assert_eq!(got.status, 409);
    assert_eq!(got.body["problems"].as_array().unwrap().len(), 200);
    let detail = got.body["detail"].as_str().unwrap();
    assert!(detail.contains("the first 200 are listed"), "{detail}");
}
