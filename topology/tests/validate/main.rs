//! Each code by cases: a mesh of three nodes, and what is put into it. A case says which codes are found, all of them, and no
//! others; so it also says what is legal.

use topology::problem::Problem;

mod authentication;
mod chain;
mod network;
mod reference;
mod value;

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
