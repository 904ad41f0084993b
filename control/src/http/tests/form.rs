//! The form of requests and answers: bodies, parameters, headers, and nodes that cannot be asked.

use super::*;

#[tokio::test]
async fn a_body_is_of_the_right_type_size_and_shape() {
    let rig = rig().await;
    let bearer = format!("Bearer {ADMIN}");
    let send = async |kind: &str, path: &str, body: &str| {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        rig.send(Method::POST, path, &headers, body).await
    };
    let recalls = "/api/v1/recalls";
    for (kind, body, status) in [
        ("text/plain", "{}", 415),
        ("", "{}", 415),
        ("application/json; charset=utf-8", "{", 400),
        ("application/json", "", 400),
        ("application/json", "[]", 422),
        ("application/json", "{}", 422),
        (
            "application/json",
            r#"{"digest": "sha256:no", "reason": "x"}"#,
            422,
        ),
        (
            "application/json",
            r#"{"reason": "x", "reasons": "y"}"#,
            422,
        ),
        ("application/json", r#"{"reason": "x", "reason": "y"}"#, 422),
    ] {
        let got = send(kind, recalls, body).await;
        assert_eq!(got.status, status, "{kind} {body}: {}", got.body);
        assert_eq!(got.body["status"], status);
    }
    let large = format!("{{\"digest\": \"{}\"}}", "x".repeat(endpoint::SMALL));
    assert_eq!(send("application/json", recalls, &large).await.status, 413);
    let large = "#".repeat(endpoint::SMALL + 1);
    assert_ne!(
        send("application/yaml", "/api/v1/topology:plan", &large)
            .await
            .status,
        413
    );
    let large = "#".repeat(endpoint::TOPOLOGY + 1);
    assert_eq!(
        send("application/yaml", "/api/v1/topology:plan", &large)
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn a_parameter_is_known_of_the_right_form_and_there_once() {
    let rig = rig().await;
    for (query, word) in [
        ("?colour=red", "after, before, limit, target"),
        ("?limit=x", "limit"),
        ("?limit=-1", "limit"),
        ("?limit=100000000", "at most"),
        ("?limit=1&limit=2", "more than once"),
    ] {
        let got = rig.get(&format!("/api/v1/audit{query}")).await;
        assert_eq!(
            (got.status, got.body["code"].as_str()),
            (400, Some("invalid-parameter")),
            "{query}"
        );
        assert!(
            got.body["detail"].as_str().unwrap().contains(word),
            "{query}: {}",
            got.body
        );
    }
    let got = rig.get("/api/v1/nodes/dev/tags").await;
    assert!(
        got.body["detail"].as_str().unwrap().contains("missing"),
        "{}",
        got.body
    );
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_not_stored_and_a_head_has_no_body() {
    let rig = rig().await;
    for (method, path) in [
        (Method::GET, "/api/v1/status"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/api/v1/status"),
    ] {
        let got = rig.ask(method, path, Value::Null).await;
        assert_eq!(got.header("cache-control"), "no-store", "{path}");
        assert_eq!(got.header("x-request-id").len(), 36, "{path}");
    }
    let head = rig.ask(Method::HEAD, RULE, Value::Null).await;
    assert_eq!(
        (head.status, head.header("etag"), head.body.as_str()),
        (200, "\"1\"", Some(""))
    );
}

const RULE: &str = "/api/v1/rules/base";

#[tokio::test]
async fn a_node_is_not_declared_not_connected_or_answers() {
    let rig = rig().await;
    assert_eq!(rig.get("/api/v1/nodes/none/status").await.status, 404);
    assert_eq!(rig.get("/api/v1/nodes/NONE/status").await.status, 404);
    let away = rig.get("/api/v1/nodes/dev/repositories").await;
    assert_eq!(
        (away.status, away.body["code"].as_str()),
        (409, Some("node-not-connected"))
    );
    rig.nodes.0.lock().unwrap().push(Answer::Draining);
    let drained = rig
        .ask(Method::POST, "/api/v1/nodes/dev/drain", json!({}))
        .await;
    assert_eq!(
        (drained.status, &drained.body["draining"]),
        (202, &json!(true))
    );
    rig.nodes.0.lock().unwrap().push(Answer::Draining);
    assert_eq!(
        rig.get("/api/v1/nodes/dev/repositories").await.status,
        502,
        "another answer"
    );
    let deliveries = rig.get("/api/v1/webhooks/gate/deliveries").await;
    assert_eq!(deliveries.body[0]["node"], "prod");
    assert_eq!(deliveries.body[0]["problem"]["code"], "node-not-connected");
    assert_eq!(
        rig.get("/api/v1/webhooks/gate/deliveries?node=dev")
            .await
            .status,
        404
    );
    assert_eq!(rig.get("/api/v1/credentials/none/health").await.status, 404);
}

#[tokio::test]
async fn a_recall_is_made_listed_and_lifted() {
    let rig = rig().await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let body = json!({"digest": digest, "reason": "it is broken"});
    let made = rig.ask(Method::POST, "/api/v1/recalls", body).await;
    assert_eq!(
        (made.status, &made.body["unconfirmed"]),
        (201, &json!(["dev", "prod"])),
        "{}",
        made.body
    );
    assert_eq!(
        rig.get("/api/v1/recalls").await.body[0]["reason"],
        "it is broken"
    );
    let path = format!("/api/v1/recalls/{digest}");
    assert_eq!(
        rig.ask(Method::DELETE, &path, Value::Null).await.status,
        204
    );
    let again = rig.ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!(again.status, 404);
    let told = again.body["detail"].as_str().unwrap();
    assert!(
        told.starts_with(&format!("{digest} is not recalled")),
        "{told}"
    );
    assert_eq!(rig.get("/api/v1/recalls").await.body, json!([]));
}

#[tokio::test]
async fn a_join_token_is_for_a_declared_node_and_bounded() {
    let rig = rig().await;
    let path = "/api/v1/nodes/dev/join-token";
    let made = rig.ask(Method::POST, path, json!({})).await;
    assert_eq!(
        (made.status, &made.body["uses"]),
        (201, &json!(1)),
        "{}",
        made.body
    );
    assert!(
        made.body["token"]
            .as_str()
            .unwrap()
            .starts_with("regmesh-join.v1.")
    );
    assert_eq!(
        rig.ask(Method::POST, path, json!({"ttlSeconds": 604_801}))
            .await
            .status,
        422
    );
    assert_eq!(
        rig.ask(Method::POST, path, json!({"uses": 1_001}))
            .await
            .status,
        422
    );
    assert_eq!(
        rig.ask(Method::POST, "/api/v1/nodes/none/join-token", json!({}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn who_one_is_and_a_wrong_password_are_told_without_more() {
    let rig = rig().await;
    assert_eq!(rig.get("/api/v1/whoami").await.body["who"], "admin-token");
    let bearer = format!("Bearer {}", rig.session("rules").await);
    let me = rig
        .send(
            Method::GET,
            "/api/v1/whoami",
            &[("authorization", &bearer)],
            "",
        )
        .await;
    assert_eq!(me.body["who"], "account:rules");
    assert_eq!(me.body["identities"], json!(["promoter"]));
    for account in ["rules", "no-such-account"] {
        let body = json!({"account": account, "password": "wrong"}).to_string();
        let json = [("content-type", "application/json")];
        let got = rig
            .send(Method::POST, "/api/v1/sign-in", &json, &body)
            .await;
        assert_eq!(
            (got.status, got.body["detail"].as_str()),
            (401, Some("wrong user name or password"))
        );
    }
}

#[tokio::test]
async fn the_doctor_makes_the_checks_that_are_named_and_no_endless_list_of_them() {
    let rig = rig().await;
    let tree = rig
        .ask(Method::POST, "/api/v1/doctor", json!({"only": ["TREE"]}))
        .await;
    assert_eq!(
        (tree.status, &tree.body["outcome"]),
        (200, &json!("warning")),
        "{}",
        tree.body
    );
    for body in [
        json!({"only": vec!["TREE"; 65]}),
        json!({"only": ["TREES"]}),
        json!({"only": "TREE"}),
    ] {
        assert_eq!(
            rig.ask(Method::POST, "/api/v1/doctor", body.clone())
                .await
                .status,
            422,
            "{body}"
        );
    }
    let node = json!({"node": "none"});
    assert_eq!(
        rig.ask(Method::POST, "/api/v1/doctor", node).await.status,
        404
    );
}
