//! The lines of a plan.

use topology::change::between;
use topology::model::Topology;

const BEFORE: &str = r#"
mesh: contoso
nodes:
  hub: {endpoint: "https://hub.example"}
  leaf: {endpoint: "https://leaf.example", parent: hub, labels: {env: prod}}
rules:
  quay: {on: hub, source: quay.io/*, target: quay/*}
  env: {on: {labels: {env: prod}}, source: ghcr.io/*, target: ghcr/*, freshness: {check: 60s}}
access:
  - {allow: repository-reader, to: anonymous, on: leaf}
accounts: {ci: {password: {env: CI}}}
"#;

fn topology(text: &str) -> Topology {
    let loaded = topology::load(&[("a.yaml".to_owned(), text.to_owned())]);
    loaded.expect("valid").topology
}

fn lines(before: &str, after: &str) -> Vec<String> {
    let changes = between(Some(&topology(before)), &topology(after));
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_changes_into_itself() {
    assert_eq!(lines(BEFORE, BEFORE), Vec::<String>::new());
    let same = BEFORE.replace(
        "check: 60s",
        "check: 1m, serveStale: forever, deniedGrace: 600s",
    );
    assert_eq!(
        lines(BEFORE, &same),
        Vec::<String>::new(),
        "what means the same is no change"
    );
}

#[test]
fn the_first_topology_is_all_new() {
    let changes = between(None, &topology(BEFORE));
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "+ node hub on hub: endpoint https://hub.example",
            "+ rule quay on hub: source quay.io/*, target quay/*",
            r#"+ node leaf on leaf: endpoint https://leaf.example, labels {"env":"prod"}, parent hub"#,
            r#"+ rule env on leaf: freshness {"check":"1m"}, source ghcr.io/*, target ghcr/*"#,
            "+ access repository-reader to anonymous on leaf",
            r#"+ account ci: password {"env":"CI"}"#,
        ]
    );
}

#[test]
fn each_kind_of_change_has_its_sign_and_says_what_differs() {
    let cases = [
        (
            "quay.io/*",
            "quay.io/org/*",
            vec!["~ rule quay on hub: source quay.io/* => quay.io/org/*"],
        ),
        (
            "check: 60s",
            "check: never",
            vec![r#"~ rule env on leaf: freshness {"check":"1m"} => {"check":"never"}"#],
        ),
        (
            ", freshness: {check: 60s}",
            "",
            vec![r#"~ rule env on leaf: freshness {"check":"1m"} => default"#],
        ),
        (
            "  quay: {on: hub, source: quay.io/*, target: quay/*}\n",
            "",
            vec!["- rule quay on hub"],
        ),
        (
            "{on: hub, source: quay",
            "{on: [hub, leaf], source: quay",
            vec!["+ rule quay on leaf: source quay.io/*, target quay/*"],
        ),
        (
            "to: anonymous",
            "to: authenticated",
            vec![
                "+ access repository-reader to authenticated on leaf",
                "- access repository-reader to anonymous on leaf",
            ],
        ),
        (
            "env: CI}",
            "env: CI2}",
            vec![r#"~ account ci: password {"env":"CI"} => {"env":"CI2"}"#],
        ),
    ];
    for (from, to, expected) in cases {
        let after = BEFORE.replacen(from, to, 1);
        assert_ne!(after, BEFORE, "{from}");
        let mut found = lines(BEFORE, &after);
        found.sort();
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(found, expected, "{from} -> {to}");
    }
}
