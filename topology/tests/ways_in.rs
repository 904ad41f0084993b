//! `ns`: which rule stands for a repository of a registry outside, through one, two and three tiers.

use std::sync::Arc;

use topology::resolve::{Resolved, Resolver};

const MESH: &str = r#"
mesh: contoso
nodes:
  hub: {endpoint: "https://hub.example"}
  mid: {endpoint: "https://mid.example", parent: hub}
  leaf: {endpoint: "https://leaf.example", parent: mid}
identities: {i: {kind: managed, on: [mid, leaf]}}
access: [{allow: repository-reader, to: "identity:i", on: [hub, mid]}]
rules:
  docker: {on: hub, source: docker.io/library/*, target: library/*}
  nginx: {on: hub, source: ghcr.io/nginx/nginx, target: library/nginx}
  quay: {on: hub, source: quay.io/*, target: quay.io/*}
  mid: {on: mid, source: "parent://*", target: "up/*", identity: i}
  leaf: {on: leaf, source: "parent://up/*", target: "*", identity: i}
"#;

fn resolver(node: &str) -> Resolver {
    let loaded = topology::load(&[("mesh".to_owned(), MESH.to_owned())]).expect("valid");
    let node = node.parse().expect("a name");
    Resolver::new(&loaded.topology.node(&node).expect("the node").rules)
}

fn ns(node: &str, host: &str, repository: &str) -> Option<(String, String, String)> {
    let Resolved {
        rule,
        source,
        repository,
    } = resolver(node).resolve_from(host, &repository.parse().expect("a repository"))?;
    Some((
        rule.name.to_string(),
        repository.to_string(),
        source.to_string(),
    ))
}

#[test]
fn ns_chooses_the_rule_whose_chain_ends_there() {
    let cases = [
        // Where the chain ends, at each tier.
        (
            "hub",
            "docker.io",
            "library/alpine",
            Some(("docker", "library/alpine", "library/alpine")),
        ),
        (
            "mid",
            "docker.io",
            "library/alpine",
            Some(("mid", "up/library/alpine", "library/alpine")),
        ),
        (
            "leaf",
            "docker.io",
            "library/alpine",
            Some(("leaf", "library/alpine", "up/library/alpine")),
        ),
        (
            "leaf",
            "index.docker.io",
            "library/alpine",
            Some(("leaf", "library/alpine", "up/library/alpine")),
        ),
        (
            "leaf",
            "quay.io",
            "org/tool",
            Some(("leaf", "quay.io/org/tool", "up/quay.io/org/tool")),
        ),
        (
            "leaf",
            "ghcr.io",
            "nginx/nginx",
            Some(("leaf", "library/nginx", "up/library/nginx")),
        ),
        // What is pushed to the hub ends at the hub.
        (
            "leaf",
            "hub.example",
            "team/app",
            Some(("leaf", "team/app", "up/team/app")),
        ),
        // containerd with override_path: the path is the target already.
        (
            "mid",
            "docker.io",
            "up/library/alpine",
            Some(("mid", "up/library/alpine", "library/alpine")),
        ),
        (
            "leaf",
            "quay.io",
            "quay.io/org/tool",
            Some((
                "leaf",
                "quay.io/quay.io/org/tool",
                "up/quay.io/quay.io/org/tool",
            )),
        ),
        // No rule covers it.
        ("hub", "ghcr.io", "other/app", None),
        ("hub", "docker.io", "grafana/loki", None),
        ("leaf", "registry.k8s.io", "pause", None),
        ("leaf", "not a host", "pause", None),
    ];
    for (node, host, repository, expected) in cases {
        let expected = expected.map(|(rule, here, there): (&str, &str, &str)| {
            (rule.to_owned(), here.to_owned(), there.to_owned())
        });
        assert_eq!(
            ns(node, host, repository),
            expected,
            "{node} {host} {repository}"
        );
    }
}

#[test]
fn ns_does_not_choose_a_rule_that_is_off_where_another_could_fill() {
    let text = r#"
mesh: contoso
nodes: {hub: {endpoint: "https://hub.example"}}
rules:
  a-off: {on: hub, source: quay.io/*, target: old/*, enabled: false}
  b-on: {on: hub, source: quay.io/*, target: new/*}
"#;
    let loaded = topology::load(&[("mesh".to_owned(), text.to_owned())]).expect("valid");
    let hub = "hub".parse().expect("a name");
    let resolver = Resolver::new(&loaded.topology.node(&hub).expect("the node").rules);
    let tool = "org/tool".parse().expect("a repository");
    let found = resolver.resolve_from("quay.io", &tool).expect("a rule");
    assert_eq!(found.repository.as_str(), "new/org/tool");
}

#[test]
fn a_fixed_rule_that_stands_before_a_wildcard_is_not_passed_by() {
    // At the hub library/nginx is ghcr.io's: asking for Docker Hub's by ns must not give another image under its name.
    assert_eq!(ns("hub", "docker.io", "library/nginx"), None);
}

#[test]
fn ten_thousand_rules_are_loaded_and_each_is_found_by_its_path() {
    let mut text =
        String::from("mesh: big\nnodes: {hub: {endpoint: 'https://hub.example'}}\nrules:\n");
    for number in 0..5000 {
        text.push_str(&format!(
            "  f{number}: {{on: hub, source: quay.io/org/app{number}, target: fixed/app{number}}}\n"
        ));
        text.push_str(&format!("  w{number}: {{on: hub, source: 'quay.io/team{number}/*', target: 'wild/team{number}/*'}}\n"));
    }
    let loaded = topology::load(&[("big".to_owned(), text)]).expect("valid");
    let hub = "hub".parse().expect("a name");
    let rules = &loaded.topology.node(&hub).expect("the node").rules;
    assert_eq!(rules.len(), 10_000);
    let resolver = Resolver::new(rules);
    for number in 0..5000 {
        let find = |name: String| resolver.resolve(&name.parse().expect("a repository"));
        let fixed = find(format!("fixed/app{number}")).expect("a rule");
        assert_eq!(fixed.rule.name.as_str(), format!("f{number}"));
        let wild = find(format!("wild/team{number}/a/b")).expect("a rule");
        assert_eq!(wild.rule.name.as_str(), format!("w{number}"));
        assert_eq!(wild.source.as_str(), format!("team{number}/a/b"));
        assert!(find(format!("wild/team{number}")).is_none());
    }
}

#[test]
fn leaves_over_one_hub_share_the_list_of_ends() {
    let loaded = topology::load(&[(
        "mesh".to_owned(),
        MESH.replace(
            "  leaf: {endpoint",
            "  twin: {endpoint: \"https://twin.example\", parent: mid}\n  leaf: {endpoint",
        )
        .replace("on: [mid, leaf]", "on: [mid, leaf, twin]")
        .replace("leaf: {on: leaf", "leaf: {on: [leaf, twin]"),
    )])
    .expect("valid");
    let rule = |node: &str| {
        let node = loaded.topology.node(&node.parse().expect("a name"));
        Arc::clone(&node.expect("the node").rules[0])
    };
    assert!(Arc::ptr_eq(&rule("leaf"), &rule("twin")));
}
