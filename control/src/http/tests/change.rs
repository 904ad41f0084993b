//! Changing resources: conditions on generations, who may use an identity, problems with their places.

use super::*;

const RULE: &str = "/api/v1/rules/base";

#[tokio::test]
async fn a_change_with_if_match_is_made_on_that_generation_alone() {
    let rig = rig().await;
    let got = rig.get(RULE).await;
    assert_eq!((got.status, got.header("etag")), (200, "\"1\""));
    let spec = json!({"on": "dev", "source": "docker.io/library/*", "target": "base/*", "credentials": "hub"});
    let stale = rig
        .with(Method::PUT, RULE, &[("if-match", "\"9\"")], spec.clone())
        .await;
    assert_eq!(
        (stale.status, stale.body["code"].as_str()),
        (412, Some("stale"))
    );
    let put = rig
        .with(Method::PUT, RULE, &[("if-match", "\"1\"")], spec.clone())
        .await;
    assert_eq!(
        (put.status, put.header("etag")),
        (200, "\"2\""),
        "{}",
        put.body
    );
    let again = rig
        .with(Method::DELETE, RULE, &[("if-match", "\"1\"")], Value::Null)
        .await;
    assert_eq!(again.status, 412);
    let there = rig
        .with(Method::PUT, RULE, &[("if-none-match", "*")], spec.clone())
        .await;
    assert_eq!(there.status, 412);
    let absent = rig
        .with(
            Method::PUT,
            "/api/v1/rules/other",
            &[("if-match", "*")],
            spec,
        )
        .await;
    assert_eq!(absent.status, 412);
    assert_eq!(
        rig.with(Method::DELETE, RULE, &[("if-match", "*")], Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(rig.ask(Method::DELETE, RULE, Value::Null).await.status, 404);
    assert_eq!(rig.get(RULE).await.status, 404);
}

#[tokio::test]
async fn a_resource_is_added_shown_patched_and_found_by_its_location() {
    let rig = rig().await;
    let spec = json!({"on": "dev", "source": "ghcr.io/a", "target": "a"});
    let body = json!({"name": "a", "spec": spec});
    let made = rig.ask(Method::POST, "/api/v1/rules", body.clone()).await;
    assert_eq!(
        (made.status, made.header("location")),
        (201, "/api/v1/rules/a"),
        "{}",
        made.body
    );
    assert_eq!(
        rig.ask(Method::POST, "/api/v1/rules", body).await.status,
        409
    );
    let patch = json!({"enabled": false, "referrers": null});
    let patched = rig.ask(Method::PATCH, "/api/v1/rules/a", patch).await;
    assert_eq!(
        (patched.status, &patched.body["spec"]["enabled"]),
        (200, &json!(false))
    );
    assert_eq!(
        rig.ask(Method::PATCH, "/api/v1/rules/none", json!({}))
            .await
            .status,
        404
    );
    assert_eq!(
        rig.ask(Method::PATCH, "/api/v1/rules/a", json!([]))
            .await
            .status,
        422
    );
    let null = json!({"on": "dev", "source": "ghcr.io/a", "target": "a", "platforms": null});
    let null = rig.ask(Method::PUT, "/api/v1/rules/a", null).await;
    assert_eq!(null.status, 422, "{}", null.body);
    let nothing = rig
        .ask(Method::PUT, "/api/v1/upstreams/x", Value::Null)
        .await;
    assert_eq!(nothing.status, 422, "{}", nothing.body);
    let given = json!({"spec": {"allow": "mesh-reader", "to": "account:nobody"}});
    let given = rig.ask(Method::POST, "/api/v1/access", given).await;
    assert_eq!(given.status, 201, "{}", given.body);
    let found = rig.get(given.header("location")).await;
    assert_eq!(found.body["spec"]["to"], "account:nobody");
    let of_prod = rig.get("/api/v1/rules?node=prod").await;
    let names: Vec<_> = of_prod.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["name"])
        .collect();
    assert_eq!(names, ["promote"]);
    assert_eq!(rig.get("/api/v1/rules?node=none").await.status, 404);
}

#[tokio::test]
async fn a_topology_that_cannot_be_says_every_problem_with_its_place() {
    let rig = rig().await;
    let text = format!(
        "{TOPOLOGY}\n# more\nissuers:\n  x: {{url: 'https://x.example', colour: red}}\n  y: {{url: ftp://y}}\n"
    );
    let refused = rig.apply(&text).await;
    assert_eq!(refused.status, 409);
    let problems = refused.body["problems"].as_array().unwrap();
    let codes: Vec<_> = problems
        .iter()
        .map(|problem| problem["code"].as_str().unwrap())
        .collect();
    assert!(
        codes.contains(&"unknown-key") && codes.contains(&"invalid-url"),
        "{codes:?}"
    );
    let placed = problems
        .iter()
        .find(|problem| problem["code"] == "unknown-key")
        .unwrap();
    assert_eq!(placed["file"], "test.yaml");
    assert!(
        placed["line"].as_u64().unwrap() > 30
            && placed["rendered"].as_str().unwrap().contains("colour")
    );
    let plan = json!({"files": [{"name": "t", "text": "version: 1\nmesh: one\nnodes: {}\n"}]});
    let planned = rig
        .ask(Method::POST, "/api/v1/topology:plan", plan.clone())
        .await;
    assert_eq!(
        (planned.status, &planned.body["needsPrune"]),
        (200, &json!(true)),
        "{}",
        planned.body
    );
    let applied = rig.ask(Method::POST, "/api/v1/topology:apply", plan).await;
    assert_eq!(
        (applied.status, applied.body["code"].as_str()),
        (409, Some("needs-prune"))
    );
    assert_eq!(rig.get("/api/v1/topology").await.body["generation"], 1);
}

#[tokio::test]
async fn yaml_goes_in_and_comes_out() {
    let rig = empty().await;
    let bearer = format!("Bearer {ADMIN}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/yaml"),
    ];
    let dry = rig
        .send(
            Method::POST,
            "/api/v1/topology:apply?dry-run=true",
            &headers,
            TOPOLOGY,
        )
        .await;
    assert_eq!(
        (dry.status, &dry.body["published"]),
        (200, &json!(false)),
        "{}",
        dry.body
    );
    let applied = rig
        .send(Method::POST, "/api/v1/topology:apply", &headers, TOPOLOGY)
        .await;
    assert_eq!(
        (applied.status, &applied.body["generation"]),
        (200, &json!(1))
    );
    let out = rig
        .with(
            Method::GET,
            "/api/v1/topology",
            &[("accept", "application/yaml")],
            Value::Null,
        )
        .await;
    assert_eq!(out.header("content-type"), "application/yaml");
    let text = out.body.as_str().unwrap();
    let again = rig
        .send(Method::POST, "/api/v1/topology:apply", &headers, text)
        .await;
    assert_eq!(
        again.body["published"],
        json!(false),
        "what was exported changes nothing: {}",
        again.body
    );
}

#[tokio::test]
async fn an_identity_is_used_by_those_who_may_alone() {
    let rig = rig().await;
    let send = async |account: &str, method: Method, path: &str, body: Value| {
        let bearer = format!("Bearer {}", rig.session(account).await);
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        rig.send(method, path, &headers, &body.to_string()).await
    };
    let spec =
        json!({"on": "prod", "source": "node://dev/team/b", "target": "b", "identity": "promoter"});
    for (account, status) in [("rules-only", 403), ("rules", 201)] {
        let got = send(account, Method::PUT, "/api/v1/rules/b", spec.clone()).await;
        assert_eq!(got.status, status, "{account}: {}", got.body);
    }
    let source = json!({"source": "node://dev/secret"});
    let other = send(
        "rules-only",
        Method::PATCH,
        "/api/v1/rules/promote",
        source.clone(),
    )
    .await;
    assert_eq!(
        other.status, 403,
        "an identity in a rule is not for another source: {}",
        other.body
    );
    assert_eq!(
        send("rules", Method::PATCH, "/api/v1/rules/promote", source)
            .await
            .status,
        200
    );
    let without = json!({"on": "dev", "source": "ghcr.io/c", "target": "c"});
    assert_eq!(
        send("rules-only", Method::PUT, "/api/v1/rules/c", without)
            .await
            .status,
        201
    );
    let body = json!({"name": "d", "spec": spec});
    assert_eq!(
        send("rules-only", Method::POST, "/api/v1/rules", body)
            .await
            .status,
        403
    );
}
