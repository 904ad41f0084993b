//! Networks, schemes and secrets: what may go over which wire.

use super::{MESH, check, codes};

#[test]
fn a_network_lets_its_children_in_or_the_plan_fails() {
    let mesh = |network: &str, endpoint: &str, child: &str| {
        format!(
            r#"
mesh: net
nodes:
  up: {{endpoint: "{endpoint}", network: {network}}}
  down: {{endpoint: "{child}", parent: up}}
credentials: {{c: {{loginServer: "{}", username: {{env: A}}, password: {{env: B}}}}}}
rules: {{r: {{on: down, source: "parent://a", target: a, credentials: c}}}}
"#,
            endpoint.split_once("://").expect("a scheme").1
        )
    };
    let up = "https://up.example";
    let down = "https://down.example";
    let loopback = "http://127.0.0.1:5000";
    let cases: [(&str, &str, &str, &[&str]); 12] = [
        ("{}", up, down, &[]),
        ("{access: public}", up, down, &[]),
        ("{access: public, trustMeshPeers: false}", up, down, &[]),
        ("{access: selected}", up, down, &["network-excludes-peer"]),
        ("{access: selected, trustMeshPeers: true}", up, down, &[]),
        (
            "{access: selected, allow: [10.0.0.0/8]}",
            up,
            "https://10.1.2.3",
            &[],
        ),
        (
            "{access: selected, allow: [10.0.0.0/8]}",
            up,
            "https://11.1.2.3",
            &["network-excludes-peer"],
        ),
        ("{access: private}", up, down, &["network-excludes-peer"]),
        (
            "{access: private, allow: [0.0.0.0/0]}",
            up,
            "https://10.1.2.3",
            &["network-excludes-peer"],
        ),
        ("{access: private, trustMeshPeers: true}", up, down, &[]),
        ("{access: private}", loopback, "http://127.0.0.1:5001", &[]),
        (
            "{access: selected}",
            loopback,
            "http://127.0.0.1:5001",
            &["network-excludes-peer"],
        ),
    ];
    for (network, endpoint, child, expected) in cases {
        assert_eq!(
            codes(&[&mesh(network, endpoint, child)]),
            expected,
            "{network} {endpoint} {child}"
        );
    }
}

#[test]
fn plain_http_is_for_loopback() {
    check(&[
        (
            "nodes: {n: {endpoint: 'http://n.example'}}",
            &["plaintext-endpoint"],
        ),
        ("nodes: {n: {endpoint: 'http://localhost:7000'}}", &[]),
        (
            "upstreams: {n.example: {insecure: true}}",
            &["plaintext-endpoint"],
        ),
        ("upstreams: {'localhost:5000': {insecure: true}}", &[]),
        (
            "issuers: {i: {url: 'http://login.example:8080/realm'}}",
            &["plaintext-endpoint"],
        ),
        (
            "issuers: {i: {url: 'https://login.example', jwksUri: 'http://10.0.0.1/keys'}}",
            &["plaintext-endpoint"],
        ),
        (
            "issuers: {i: {url: 'http://127.0.0.1:9000/realm'}, j: {url: 'http://login.example', jwks: /keys.json}}",
            &[],
        ),
        (
            "{upstreams: {n.example: {insecure: true}}, identities: {f: {kind: federated, on: hub}}, rules: {r: {on: hub, source: n.example/a, target: a, identity: f}}}",
            &["plaintext-endpoint", "plaintext-identity"],
        ),
    ]);
    let found = "{identities: {i: {kind: managed, on: n}}, access: [{allow: repository-reader, to: 'identity:i', on: leaf}], nodes: {n: {endpoint: 'https://n.example'}}, rules: {r: {on: n, source: 'node://leaf/a', target: a, identity: i}}}";
    assert_eq!(
        codes(&[MESH, found]),
        ["plaintext-endpoint"],
        "a grant over http on loopback is not bound: a warning"
    );
}

#[test]
fn a_webhook_may_name_every_action_there_is() {
    check(&[
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', actions: [push, delete, ping, copy_failed, served_stale, recalled]}}",
            &[],
        ),
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', actions: [ping]}}",
            &[],
        ),
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', actions: [pull]}}",
            &["wrong-type"],
        ),
    ]);
}

#[test]
fn secrets_are_references() {
    check(&[
        ("accounts: {a: {password: {env: A}}}", &[]),
        ("accounts: {a: {password: {file: /run/a}}}", &[]),
        (
            "accounts: {a: {password: {keyVault: 'https://kv.vault.azure.net/secrets/a'}}}",
            &[],
        ),
        (
            "accounts: {a: {password: {keyVault: nowhere}}}",
            &["invalid-url"],
        ),
        ("accounts: {a: {password: secret}}", &["literal-secret"]),
        ("accounts: {a: {password: 12345}}", &["literal-secret"]),
        (
            "accounts: {a: {password: {value: secret}}}",
            &["literal-secret"],
        ),
        (
            "accounts: {a: {password: {environment: A}}}",
            &["unknown-key"],
        ),
        (
            "issuers: {i: {url: 'https://i.example', clientSecret: x}}",
            &["literal-secret"],
        ),
        (
            "issuers: {i: {url: 'https://i.example', discoveryToken: {env: X}}}",
            &["wrong-type"],
        ),
        (
            "upstreams: {ghcr.io: {proxy: 'http://user:pass@proxy.example:3128'}}",
            &["literal-secret"],
        ),
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', secret: x}}",
            &["literal-secret"],
        ),
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', headers: {Authorization: Bearer x}}}",
            &["literal-secret"],
        ),
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', headers: {X-Team: a}}}",
            &[],
        ),
    ]);
}
