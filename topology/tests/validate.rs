//! Each code by cases: a mesh of three nodes, and what is put into it. A case says which codes are found, all of them, and no
//! others; so it also says what is legal.

use topology::problem::Problem;

/// Three tiers, identities, credential sets and rights that most cases need. Indentation is the cases' too.
const MESH: &str = r#"
mesh: contoso
nodes:
  hub: {endpoint: "https://hub.example"}
  mid: {endpoint: "https://mid.example:5443", parent: hub, labels: {env: prod}}
  leaf: {endpoint: "http://127.0.0.1:5000", parent: mid, labels: {env: prod}}
"#;

fn files(parts: &[&str]) -> Vec<(String, String)> {
    let numbered = parts.iter().enumerate();
    numbered
        .map(|(number, text)| (format!("{number}.yaml"), (*text).to_owned()))
        .collect()
}

fn problems(parts: &[&str]) -> Vec<Problem> {
    match topology::load(&files(parts)) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

fn codes(parts: &[&str]) -> Vec<&'static str> {
    problems(parts).iter().map(|problem| problem.code).collect()
}

/// `(what is put into MESH, the codes found)`, sorted by place.
fn check(cases: &[(&str, &[&str])]) {
    for (part, expected) in cases {
        let found = problems(&[MESH, part]);
        let all: String = found.iter().map(ToString::to_string).collect();
        let codes: Vec<&str> = found.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, *expected, "{part}\n{all}");
    }
}

#[test]
fn what_does_not_fit_the_schema_is_named_with_its_shape() {
    check(&[
        ("rulez: {}", &["unknown-key"]),
        ("rules: []", &["wrong-type"]),
        ("rules: text", &["wrong-type"]),
        ("rules:", &[]),
        (
            "rules: {a: {}}",
            &["wrong-type", "wrong-type", "wrong-type"],
        ),
        ("version: 2", &["wrong-type"]),
        ("version: one", &["wrong-type"]),
        ("upstreams: {ghcr.io: {insecure: yes}}", &["wrong-type"]),
        ("upstreams: {ghcr.io: {maxConcurrent: -1}}", &["wrong-type"]),
        ("upstreams: {ghcr.io: {maxConcurrent: 0}}", &["wrong-type"]),
        (
            "upstreams: {ghcr.io: {requestsPerSecond: 1.5, realms: [a.example]}}",
            &[],
        ),
        (
            "upstreams: {docker.io: {}, index.docker.io: {}}",
            &["duplicate-key"],
        ),
        ("mesh: fabrikam", &["duplicate-key"]),
        ("mesh: contoso", &[]),
        (
            "nodes: {leaf: {endpoint: 'https://x.example'}}",
            &["duplicate-key"],
        ),
        ("a: b: c", &["wrong-type"]),
        ("a: [", &["wrong-type"]),
        ("accounts: {a: {password: {env: 5}}}", &["wrong-type"]),
        (
            "accounts: {a: {password: {env: A, file: b}}}",
            &["wrong-type"],
        ),
        ("accounts: {a: {password: {}}}", &["wrong-type"]),
        ("slice: {node: hub, tier: 1}", &["unknown-key"]),
    ]);
}

#[test]
fn a_near_miss_gets_a_did_you_mean() {
    let cases = [
        ("ruels: {}", "did you mean `rules`?"),
        (
            "rules: {r: {traget: a, on: hub, source: quay.io/a, target: a}}",
            "did you mean `target`?",
        ),
        (
            "nodes: {n: {endpoint: 'https://n.example', defaultnamespace: docker.io}}",
            "did you mean `defaultNamespace`?",
        ),
        (
            "rules: {r: {on: hubb, source: quay.io/a, target: a}}",
            "did you mean `hub`?",
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, whenGone: kepe}}",
            "did you mean `keep`?",
        ),
    ];
    for (part, advice) in cases {
        let found = problems(&[MESH, part]);
        assert!(found[0].advice.starts_with(advice), "{part}: {}", found[0]);
    }
}

#[test]
fn references_must_be_declared() {
    check(&[
        (
            "rules: {r: {on: [hub, x, y], source: quay.io/a, target: a}}",
            &["unknown-reference"; 2],
        ),
        (
            "rules: {r: {on: hub, source: 'node://x/a', target: a, identity: i}}",
            &["unknown-reference"; 2],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, credentials: c}}",
            &["unknown-reference"],
        ),
        (
            "nodes: {n: {endpoint: 'https://n.example', parent: x}}",
            &["unknown-reference"],
        ),
        (
            "access: [{allow: repository-reader, to: 'account:x', on: hub}]",
            &["unknown-reference"],
        ),
        (
            "access: [{allow: repository-reader, to: 'identity:x', on: hub}]",
            &["unknown-reference"],
        ),
        (
            "access: [{allow: repository-reader, to: 'node:x', on: hub}]",
            &["unknown-reference"],
        ),
        (
            "access: [{allow: repository-reader, to: {issuer: x, claims: {sub: a}}, on: hub}]",
            &["unknown-reference"],
        ),
        (
            "access: [{allow: repository-reader, to: 'node:leaf', on: hub}]",
            &[],
        ),
        (
            "access: [{allow: identity-user, to: authenticated, identities: [x]}]",
            &["unknown-reference"],
        ),
        (
            "webhooks: {w: {on: x, url: 'https://h.example'}}",
            &["unknown-reference"],
        ),
    ]);
}

#[test]
fn access_says_who_what_and_where() {
    check(&[
        (
            "access: [{allow: repository-reader, to: anonymous, on: hub}]",
            &[],
        ),
        (
            "access: [{allow: repository-reader, to: anonymous}]",
            &["wrong-type"],
        ),
        ("access: [{allow: mesh-reader, to: authenticated}]", &[]),
        (
            "access: [{allow: node-enroller, to: authenticated, on: hub}]",
            &[],
        ),
        (
            "access: [{allow: identity-user, to: authenticated}]",
            &["wrong-type"],
        ),
        (
            "access: [{allow: root, to: authenticated, on: hub}]",
            &["wrong-type"],
        ),
        (
            "access: [{allow: repository-reader, to: everyone, on: hub}]",
            &["wrong-type"],
        ),
        (
            "access: [{allow: repository-reader, to: anonymous, on: hub, repositories: ['a*']}]",
            &["invalid-pattern"],
        ),
        (
            "access: [{allow: repository-reader, to: anonymous, on: hub, repositories: ['a/*', b, '*']}]",
            &[],
        ),
        (
            "access: [{allow: repository-writer, to: anonymous, on: hub}]",
            &["anonymous-write"],
        ),
        (
            "access: [{allow: repository-deleter, to: anonymous, on: hub}]",
            &["anonymous-write"],
        ),
        (
            "{access: [{allow: repository-reader, to: {issuer: i, claims: {}}, on: hub}], issuers: {i: {url: 'https://i.example'}}}",
            &["wrong-type"],
        ),
    ]);
}

#[test]
fn no_node_reaches_itself() {
    let sets = "credentials: {at-leaf: {loginServer: '127.0.0.1:5000', username: {env: A}, password: {env: B}}}";
    let rule = "rules: {r: {on: hub, source: 'node://leaf/a', target: a, credentials: at-leaf}}";
    let found = problems(&[MESH, sets, rule]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].code, "cycle");
    let whole = [
        "hub -> leaf -> mid -> hub",
        "leaf -> mid -> hub -> leaf",
        "mid -> hub -> leaf -> mid",
    ];
    assert!(
        whole.iter().any(|path| found[0].message.contains(path)),
        "{}",
        found[0]
    );
    assert_eq!(found[0].related.len(), 2);
    check(&[
        (
            "nodes: {a: {endpoint: 'https://a.example', parent: a}}",
            &["cycle"],
        ),
        (
            "rules: {r: {on: leaf, source: '127.0.0.1:5000/a', target: b, credentials: c}}",
            &["cycle", "unknown-reference"],
        ),
    ]);
}

#[test]
fn a_chain_has_at_most_three_nodes() {
    check(&[
        (
            "nodes: {low: {endpoint: 'https://low.example', parent: leaf}}",
            &["depth-exceeded"],
        ),
        (
            "nodes: {other: {endpoint: 'https://other.example', parent: mid}}",
            &[],
        ),
    ]);
    let chain = r#"
mesh: chain
nodes:
  a: {endpoint: "https://a.example"}
  b: {endpoint: "https://b.example"}
  c: {endpoint: "https://c.example"}
  d: {endpoint: "https://d.example"}
identities: {i: {kind: managed, on: [b, c, d]}}
access: [{allow: repository-reader, to: 'identity:i', on: [a, b, c]}]
rules:
  b: {on: b, source: "node://a/*", target: "*", identity: i}
  c: {on: c, source: "node://b/team/*", target: "x/*", identity: i}
"#;
    let deep = "rules: {d: {on: d, source: 'node://c/x/api', target: api, identity: i}}";
    let beside = "rules: {d: {on: d, source: 'node://c/y/api', target: api, identity: i}}";
    assert_eq!(codes(&[chain]), Vec::<&str>::new());
    assert_eq!(codes(&[chain, beside]), Vec::<&str>::new());
    let found = problems(&[chain, deep]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "depth-exceeded");
    assert!(
        found[0].message.contains("d -> c -> b -> a"),
        "{}",
        found[0]
    );
}

#[test]
fn targets_of_one_node_never_compete() {
    let pair = |first: &str, second: &str| {
        format!(
            "rules:\n  one: {{on: hub, source: '{first}', target: '{}'}}\n  two: {{on: hub, source: '{second}', target: '{}'}}\n",
            first.split_once('/').expect("a host").1,
            second.split_once('/').expect("a host").1,
        )
    };
    let cases: [(&str, &str, &[&str]); 8] = [
        ("quay.io/*", "ghcr.io/library/*", &["overlapping-wildcards"]),
        (
            "quay.io/library/*",
            "ghcr.io/library/dotnet/*",
            &["overlapping-wildcards"],
        ),
        (
            "quay.io/library/*",
            "ghcr.io/library/*",
            &["overlapping-wildcards"],
        ),
        ("quay.io/library/*", "ghcr.io/librarian/*", &[]),
        ("quay.io/library/*", "ghcr.io/library", &[]),
        ("quay.io/library/*", "ghcr.io/library/a", &["shadowed-rule"]),
        ("quay.io/a/b", "ghcr.io/a/b", &["duplicate-target"]),
        ("quay.io/a/b", "ghcr.io/a/c", &[]),
    ];
    for (first, second, expected) in cases {
        assert_eq!(
            codes(&[MESH, &pair(first, second)]),
            expected,
            "{first} {second}"
        );
    }
    let everywhere = "rules:\n  one: {on: {labels: {env: prod}}, source: quay.io/*, target: '*'}\n  two: {on: [mid, leaf], source: quay.io/a/*, target: a/*}\n";
    assert_eq!(
        codes(&[MESH, everywhere]),
        ["overlapping-wildcards"],
        "once, not once a node"
    );
    let apart = "rules:\n  one: {on: hub, source: quay.io/*, target: '*'}\n  two: {on: leaf, source: quay.io/a/*, target: a/*}\n";
    assert_eq!(codes(&[MESH, apart]), Vec::<&str>::new());
}

#[test]
fn sources_and_targets_name_repositories() {
    check(&[
        (
            "rules: {r: {on: hub, source: quay.io/a/*, target: a}}",
            &["wildcard-mismatch"],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a/*}}",
            &["wildcard-mismatch"],
        ),
        (
            "rules: {r: {on: hub, source: 'quay.io/*', target: '*'}}",
            &[],
        ),
        (
            "rules: {r: {on: hub, source: 'quay.io/a:1', target: a}}",
            &["tag-in-source"],
        ),
        (
            "rules: {r: {on: hub, source: 'quay.io:443/a', target: 'a:1'}}",
            &["tag-in-source"],
        ),
        (
            "rules: {r: {on: hub, source: 'quay.io/a@sha256:0', target: a}}",
            &["tag-in-source"],
        ),
        (
            "rules: {r: {on: hub, source: 'localhost:5000/a', target: a}}",
            &[],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/A, target: a}}",
            &["invalid-pattern"],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a//b}}",
            &["invalid-pattern"],
        ),
        (
            "rules: {r: {on: hub, source: 'quay..io/a', target: a}}",
            &["invalid-url"],
        ),
        (
            "rules: {r: {on: hub, source: 'parent://a', target: a, credentials: c}}",
            &["no-parent", "unknown-reference"],
        ),
        (
            "rules: {r_1: {on: hub, source: quay.io/a, target: a}}",
            &["invalid-name"],
        ),
        (
            "nodes: {control: {endpoint: 'https://control.example'}}",
            &["invalid-name"],
        ),
    ]);
}

#[test]
fn a_rule_authenticates_in_one_way_that_its_upstream_understands() {
    let with = |rule: &str| {
        format!(
            r#"
credentials:
  quay: {{loginServer: quay.io, username: {{env: A}}, password: {{env: B}}}}
  hub: {{loginServer: hub.example, username: {{env: A}}, password: {{env: B}}}}
  mid: {{loginServer: "mid.example:5443", username: {{env: A}}, password: {{env: B}}}}
  docker: {{loginServer: index.docker.io, username: {{env: A}}, password: {{env: B}}}}
identities:
  managed: {{kind: managed, on: [mid, leaf]}}
  azure: {{kind: azure, on: hub}}
  scoped: {{kind: azure, on: hub, scope: "api://x/.default"}}
  partner: {{kind: federated, on: hub, tokenUrl: "https://t.example/token", sources: [partner.azurecr.io/shared/*, quay.io/one]}}
access:
  - {{allow: repository-reader, to: "identity:managed", on: hub, repositories: [team/*]}}
  - {{allow: repository-writer, to: authenticated, on: mid}}
rules: {{r: {rule}}}
"#
        )
    };
    let unused = |code: &&str| !code.starts_with("unused-");
    let cases: [(&str, &[&str]); 26] = [
        (
            "{on: hub, source: docker.io/a, target: a}",
            &["docker-hub-anonymous"],
        ),
        (
            "{on: hub, source: registry-1.docker.io/a, target: a, credentials: docker}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, credentials: quay}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, credentials: docker}",
            &["login-server-mismatch"],
        ),
        (
            "{on: hub, source: 'quay.io:5000/a', target: a, credentials: quay}",
            &["login-server-mismatch"],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, credentials: quay, identity: scoped}",
            &["identity-and-credentials"],
        ),
        (
            "{on: mid, source: 'parent://a', target: a}",
            &["upstream-needs-authentication"],
        ),
        (
            "{on: mid, source: hub.example/a, target: a}",
            &["upstream-needs-authentication"],
        ),
        (
            "{on: mid, source: 'parent://a', target: a, credentials: hub}",
            &[],
        ),
        (
            "{on: leaf, source: 'parent://a', target: a, credentials: mid}",
            &[],
        ),
        (
            "{on: leaf, source: 'parent://a', target: a, credentials: hub}",
            &["login-server-mismatch"],
        ),
        (
            "{on: mid, source: 'parent://team/*', target: team/*, identity: managed}",
            &[],
        ),
        (
            "{on: mid, source: 'hub.example/team/a', target: a, identity: managed}",
            &[],
        ),
        (
            "{on: mid, source: 'parent://team', target: a, identity: managed}",
            &["no-read-access"],
        ),
        (
            "{on: mid, source: 'parent://*', target: '*', identity: managed}",
            &["no-read-access"],
        ),
        (
            "{on: leaf, source: 'parent://x', target: a, identity: managed}",
            &[],
        ),
        (
            "{on: leaf, source: 'node://hub/team/x', target: a, identity: managed}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, identity: managed}",
            &["identity-kind-mismatch", "identity-not-attached"],
        ),
        (
            "{on: hub, source: x.azurecr.io/a, target: a, identity: azure}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, identity: azure}",
            &["identity-kind-mismatch"],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, identity: scoped}",
            &[],
        ),
        (
            "{on: mid, source: x.azurecr.io/a, target: a, identity: azure}",
            &["identity-not-attached"],
        ),
        (
            "{on: hub, source: partner.azurecr.io/shared/a, target: a, identity: partner}",
            &[],
        ),
        (
            "{on: hub, source: 'partner.azurecr.io/shared/*', target: 'a/*', identity: partner}",
            &[],
        ),
        (
            "{on: hub, source: partner.azurecr.io/own/a, target: a, identity: partner}",
            &["identity-not-for-source"],
        ),
        (
            "{on: hub, source: quay.io/one, target: a, identity: partner}",
            &[],
        ),
    ];
    for (rule, expected) in cases {
        let found = problems(&[MESH, &with(rule)]);
        let codes: Vec<&str> = found.iter().map(|p| p.code).filter(unused).collect();
        let all: String = found.iter().map(ToString::to_string).collect();
        assert_eq!(codes, expected, "{rule}\n{all}");
    }
}

#[test]
fn the_message_of_an_identity_that_is_not_attached_is_the_specs() {
    let part = "{identities: {i: {kind: managed, on: leaf}}, access: [{allow: repository-reader, to: 'identity:i', on: hub}], rules: {r: {on: mid, source: 'parent://a', target: a, identity: i}}}";
    let found = problems(&[MESH, part]);
    assert_eq!(
        found[0].message,
        "the identity i does not exist or is not associated with node mid"
    );
}

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

#[test]
fn values_have_to_parse() {
    check(&[
        (
            "nodes: {-a: {endpoint: 'https://a.example'}}",
            &["invalid-name"],
        ),
        ("mesh: A mesh", &["duplicate-key"]),
        (
            "nodes: {a: {endpoint: 'https://a.example/path'}}",
            &["invalid-url"],
        ),
        (
            "nodes: {a: {endpoint: 'https://hub.example'}}",
            &["duplicate-endpoint"],
        ),
        (
            "nodes: {a: {endpoint: 'https://HUB.example:443/'}}",
            &["duplicate-endpoint"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', listen: '0.0.0.0:5000', admin: '[::1]:0'}}",
            &[],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', listen: ':5000'}}",
            &["invalid-url"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', network: {allow: [10.0.0.1]}}}",
            &["invalid-cidr"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', network: {trustedProxies: [x]}}}",
            &["invalid-cidr"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', storage: {maxSize: 1 apple}}}",
            &["invalid-size"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', storage: {maxSize: 1073741824, gc: off, scrub: 14d}}}",
            &[],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', storage: {scrub: 14, gc: maybe}}}",
            &["invalid-duration", "wrong-type"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', storage: {blobs: 'ftp://x', metadata: 'postgres://db/x'}}}",
            &["invalid-url"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', tls: {cert: a}}}",
            &["wrong-type"],
        ),
        (
            "nodes: {a: {endpoint: 'https://a.example', defaultNamespace: 'https://docker.io'}}",
            &["invalid-url"],
        ),
        (
            "control: {endpoint: 'https://c.example', maxOffline: never}",
            &[],
        ),
        (
            "control: {endpoint: 'https://c.example', maxOffline: soon}",
            &["invalid-duration"],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, freshness: {check: never, serveStale: forever, deniedGrace: 0s}}}",
            &[],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, freshness: {check: forever, serveStale: always, deniedGrace: never}}}",
            &["invalid-duration"; 3],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, freshness: {immutable: ['v*', 'a b']}}}",
            &["invalid-pattern"],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, platforms: linux}}",
            &["invalid-platform"],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, platforms: [linux/amd64, linux/arm/v7]}}",
            &[],
        ),
        (
            "rules: {r: {on: hub, source: quay.io/a, target: a, platforms: all, referrers: none, whenGone: deny, enabled: false}}",
            &[],
        ),
        (
            "webhooks: {w: {on: hub, url: 'h.example', actions: [explode], scope: 'a b'}}",
            &["invalid-url", "wrong-type", "invalid-pattern"],
        ),
        (
            "webhooks: {w: {on: hub, url: 'https://h.example', actions: [push, copy_failed], scope: 'a/b:1.0'}}",
            &[],
        ),
        ("issuers: {i: {url: i.example}}", &["invalid-url"]),
        (
            "issuers: {i: {url: 'https://i.example', algorithms: [HS256]}}",
            &["wrong-type"],
        ),
        (
            "identities: {i: {kind: magic}}",
            &["unused-identity", "wrong-type"],
        ),
    ]);
}

#[test]
fn a_name_declared_in_two_files_names_both_places() {
    let first = "rules:\n  r: {on: hub, source: quay.io/a, target: a}\n";
    let second = "# another file\nrules:\n  r: {on: hub, source: quay.io/b, target: b}\n";
    let found = problems(&[MESH, first, second]);
    assert_eq!(found.len(), 1);
    let problem = &found[0];
    assert_eq!(
        (
            problem.code,
            problem.file.as_str(),
            problem.line,
            problem.column
        ),
        ("duplicate-key", "2.yaml", 3, 3)
    );
    let related = &problem.related[0];
    assert_eq!(
        (related.file.as_str(), related.line, related.column),
        ("1.yaml", 2, 3)
    );
}

#[test]
fn a_document_without_a_mesh_is_no_topology() {
    assert_eq!(
        codes(&["nodes: {a: {endpoint: 'https://a.example'}}"]),
        ["wrong-type"]
    );
    assert_eq!(codes(&[""]), ["wrong-type"]);
}

#[test]
fn places_count_characters_and_survive_other_scripts() {
    let part = "# größer\nwebhooks: {w: {on: hub, url: 'https://h.example', scope: 'ä', actions: [öffnen]}}";
    let found = problems(&[MESH, part]);
    let places: Vec<_> = found.iter().map(|p| (p.code, p.line, p.column)).collect();
    assert_eq!(
        places,
        [("invalid-pattern", 2, 58), ("wrong-type", 2, 73)],
        "{found:#?}"
    );
}
