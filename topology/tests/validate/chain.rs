//! What nodes pull from one another: no loops, at most three tiers, no two rules over one target.

use super::{MESH, check, codes, problems};

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
