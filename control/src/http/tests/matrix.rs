//! T51: every route of the table with every role; what is not in the table is not there.

use super::*;

/// Accounts of the topology, and whether they have what an endpoint needs.
fn roles() -> Vec<(&'static str, Vec<Role>)> {
    vec![
        ("administrator", vec![Role::MeshAdministrator]),
        ("reader", vec![Role::MeshReader]),
        (
            "rules",
            vec![Role::CacheRuleAdministrator, Role::IdentityUser],
        ),
        ("credentials", vec![Role::CredentialSetAdministrator]),
        ("enroller", vec![]),
        ("nobody", vec![]),
    ]
}

fn may(needs: Needs, account: &str, roles: &[Role], path: &str) -> bool {
    let administrator = roles.contains(&Role::MeshAdministrator);
    match needs {
        Needs::Nothing | Needs::SignedIn => true,
        Needs::Role(wanted) => administrator || roles.iter().any(|role| wanted.contains(role)),
        Needs::OnNode(_) => administrator || (account == "enroller" && path.contains("/dev/")),
    }
}

#[tokio::test]
async fn every_route_opens_for_the_roles_that_the_table_names_and_for_nobody_else() {
    let rig = rig().await;
    let mut sessions = Vec::new();
    for (account, roles) in roles() {
        sessions.push((account, roles, rig.session(account).await));
    }
    for endpoint in table::endpoints() {
        // Names of nothing: what is decided is seen, and nothing changes.
        let path = endpoint
            .path
            .replace("{name}", "dev")
            .replace("{node}", "dev");
        let path = path.replace("{id}", "x").replace("{digest}", "sha256:0");
        let open = endpoint.needs == Needs::Nothing;
        for headers in [vec![], vec![("authorization", "Bearer wrong")]] {
            let got = rig.send(endpoint.method.clone(), &path, &headers, "").await;
            let wrong = !headers.is_empty();
            assert_eq!(
                got.status == 401,
                wrong || !open,
                "{endpoint:?} {headers:?}: {}",
                got.body
            );
            assert_eq!(
                got.header("www-authenticate").starts_with("Bearer"),
                got.status == 401
            );
        }
        for (account, roles, session) in &sessions {
            let bearer = format!("Bearer {session}");
            // A body of a type that nothing takes and a parameter that nothing has: refused before anything happens.
            let headers = [
                ("authorization", bearer.as_str()),
                ("content-type", "text/none"),
            ];
            let strange = format!("{path}?no-such-parameter=1");
            let got = rig
                .send(endpoint.method.clone(), &strange, &headers, "x")
                .await;
            let allowed = may(endpoint.needs, account, roles, &path);
            assert_eq!(
                got.status != 403,
                allowed,
                "{account} {endpoint:?}: {} {}",
                got.status,
                got.body
            );
            assert_eq!(
                allowed,
                got.status == 400,
                "{account} {endpoint:?}: {}",
                got.body
            );
        }
    }
    let newest = rig.api.publisher.current().published.generation;
    assert_eq!(newest, Generation(1), "nothing changed");
}

#[tokio::test]
async fn what_is_not_in_the_table_is_not_there() {
    let rig = rig().await;
    for path in [
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v1/nodes/",
        "/api/v1//nodes",
        "/api/v1/nodes/dev/",
        "/api/v1/topology:other",
        "/api/v1/nodes/dev/nothing",
        "/api/v2/nodes",
        "/metrics",
        "/v2/",
        "/api/v1/nodes/%ff",
    ] {
        let got = rig.get(path).await;
        assert_eq!(
            (got.status, got.body["code"].as_str()),
            (404, Some("not-found")),
            "{path}"
        );
        assert_eq!(got.header("content-type"), "application/problem+json");
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/nodes"),
        (Method::POST, "/api/v1/nodes/dev"),
        (Method::OPTIONS, "/api/v1/status"),
        (Method::TRACE, "/api/v1/status"),
        (Method::PUT, "/api/v1/topology"),
        (Method::GET, "/api/v1/topology:apply"),
    ] {
        let got = rig.ask(method.clone(), path, Value::Null).await;
        assert_eq!(got.status, 405, "{method} {path}");
        let allow = got.header("allow");
        assert!(
            !allow.is_empty() && !allow.contains(method.as_str()),
            "{method} {path}: {allow}"
        );
    }
}

#[tokio::test]
async fn a_refused_change_is_in_the_audit_log() {
    let rig = rig().await;
    let bearer = format!("Bearer {}", rig.session("reader").await);
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        rig.send(Method::DELETE, "/api/v1/nodes/dev", &headers, "")
            .await
            .status,
        403
    );
    let log = rig.get("/api/v1/audit?limit=1").await;
    let entry = &log.body["items"][0];
    assert_eq!(entry["who"], "account:reader");
    assert_eq!(entry["target"], "nodes/dev");
    assert!(
        entry["refused"]
            .as_str()
            .unwrap()
            .contains("mesh-administrator"),
        "{entry}"
    );
}

#[tokio::test]
async fn refused_changes_fill_the_audit_log_so_far_a_minute() {
    let rig = rig().await;
    let bearer = format!("Bearer {}", rig.session("reader").await);
    let headers = [("authorization", bearer.as_str())];
    for _ in 0..70 {
        let got = rig
            .send(Method::DELETE, "/api/v1/nodes/dev", &headers, "")
            .await;
        assert_eq!(got.status, 403);
    }
    let log = rig.get("/api/v1/audit?limit=200").await;
    let items = log.body["items"].as_array().unwrap();
    let refused = items.iter().filter(|entry| !entry["refused"].is_null());
    assert_eq!(refused.count(), 60);
}

#[tokio::test]
async fn every_operation_of_the_document_is_a_row_and_every_row_an_operation() {
    let document = openapi::document(&table::endpoints());
    let mut ids = std::collections::BTreeSet::new();
    let mut operations = 0;
    for (_, path) in document["paths"].as_object().unwrap() {
        for (_, operation) in path.as_object().unwrap() {
            operations += 1;
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{operation}"
            );
        }
    }
    assert_eq!(operations, table::endpoints().len());
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let nullable = schema.to_string().contains("\"null\"");
        assert!(
            !(name.starts_with("Topology") && nullable),
            "{name}: {schema}"
        );
    }
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap();
        let name = reference
            .strip_prefix("#/components/schemas/")
            .unwrap_or_else(|| panic!("{reference}"));
        assert!(schemas.contains_key(name), "{name}");
    }
}
