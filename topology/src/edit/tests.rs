//! What editing promises: resources by name, readable places, and patches as RFC 7396 has them.

use serde_json::json;

use super::*;

const MESH: &str = r#"
version: 1
mesh: contoso
nodes:
  hub: {endpoint: "https://hub.example"}
  leaf: {endpoint: "https://leaf.example", parent: hub}
rules:
  quay: {on: hub, source: quay.io/*, target: quay/*}
access:
  - {allow: repository-reader, to: anonymous, on: leaf}
accounts: {ci: {password: {env: CI}}}
"#;

fn document() -> Document {
    let loaded = crate::load(&[("mesh.yaml".to_owned(), MESH.to_owned())]);
    loaded.expect("valid").document
}

#[test]
fn what_is_set_is_read_back_and_what_is_removed_is_gone() {
    let cases = [
        (
            Kind::Nodes,
            "new",
            json!({"endpoint": "https://new.example", "labels": {"a": "1"}}),
        ),
        (
            Kind::Identities,
            "id",
            json!({"kind": "managed", "on": ["hub", "leaf"]}),
        ),
        (
            Kind::Credentials,
            "ghcr",
            json!({"loginServer": "ghcr.io", "username": {"env": "U"}, "password": {"file": "/p"}}),
        ),
        (
            Kind::Rules,
            "ghcr",
            json!({"on": "hub", "source": "ghcr.io/*", "target": "ghcr/*", "freshness": {"check": "30s"}}),
        ),
        (Kind::Issuers, "ci", json!({"url": "https://ci.example"})),
        (
            Kind::Accounts,
            "robot",
            json!({"password": {"env": "ROBOT"}}),
        ),
        (
            Kind::Upstreams,
            "quay.io",
            json!({"maxConcurrent": 4, "requestsPerSecond": 1.5}),
        ),
        (
            Kind::Webhooks,
            "gate",
            json!({"on": "hub", "url": "https://gate.example", "enabled": false}),
        ),
    ];
    for (kind, name, spec) in cases {
        let mut document = document();
        assert_eq!(get(&document, kind, name), None, "{kind}/{name}");
        assert_eq!(set(&mut document, kind, name, &spec).unwrap(), name);
        assert_eq!(get(&document, kind, name), Some(spec.clone()), "{kind}");
        assert_eq!(list(&document, kind).get(name), Some(&spec));
        check(&document).unwrap_or_else(|problems| panic!("{kind}: {problems:?}"));
        assert!(remove(&mut document, kind, name));
        assert!(!remove(&mut document, kind, name));
        assert_eq!(document, self::document(), "{kind}");
    }
}

#[test]
fn a_role_assignment_is_named_by_what_it_says() {
    let mut document = document();
    let spec = json!({"allow": "repository-reader", "to": "anonymous", "on": "leaf"});
    let name = list(&document, Kind::Access).into_keys().next().unwrap();
    let text = r#"{"allow":"repository-reader","on":"leaf","to":"anonymous"}"#;
    assert_eq!(name, Digest::sha256(text.as_bytes()).hex()[..16]);
    assert_eq!(set(&mut document, Kind::Access, "", &spec).unwrap(), name);
    assert_eq!(document.access.len(), 1, "the same again is the same");

    let mut other = spec;
    other["to"] = json!("account:ci");
    let second = set(&mut document, Kind::Access, "", &other).unwrap();
    assert_eq!(document.access.len(), 2);
    other["on"] = json!("hub");
    let moved = set(&mut document, Kind::Access, &second, &other).unwrap();
    assert_eq!(document.access.len(), 2, "it took the place of the old one");
    assert_eq!(get(&document, Kind::Access, &second), None);
    assert_eq!(get(&document, Kind::Access, &moved), Some(other));
    assert!(remove(&mut document, Kind::Access, &moved));
    assert_eq!(document, self::document());
}

#[test]
fn a_misfit_is_shown_where_it_stands_in_the_resource() {
    let before = document();
    let cases = [
        (
            Kind::Rules,
            "quay",
            json!({"on": "hub", "sauce": "x"}),
            "unknown-key",
            "rules/quay",
        ),
        (
            Kind::Rules,
            "quay",
            json!({"on": "hub", "source": 7, "target": "x"}),
            "wrong-type",
            "rules/quay",
        ),
        (
            Kind::Rules,
            "quay",
            json!("nonsense"),
            "wrong-type",
            "rules/quay",
        ),
        (Kind::Rules, "quay", json!(null), "wrong-type", "rules/quay"),
        (
            Kind::Accounts,
            "ci",
            json!({"password": "hunter2"}),
            "literal-secret",
            "accounts/ci",
        ),
        (
            Kind::Access,
            "",
            json!({"allow": "king", "to": "anonymous"}),
            "wrong-type",
            "access",
        ),
    ];
    for (kind, name, spec, code, file) in cases {
        let mut document = before.clone();
        let problems = set(&mut document, kind, name, &spec).expect_err(code);
        assert!(
            problems
                .iter()
                .any(|p| p.code == code && p.file == file && p.line > 0),
            "{problems:#?}"
        );
        assert!(
            problems
                .iter()
                .all(|p| !p.render(false).contains("hunter2"))
        );
        assert_eq!(document, before, "nothing half set");
    }
}

#[test]
fn a_problem_of_the_whole_names_the_resources() {
    let mut edited = document();
    assert!(remove(&mut edited, Kind::Nodes, "hub"));
    let problems = check(&edited).expect_err("hub is named elsewhere");
    let files: Vec<(&str, &str)> = problems.iter().map(|p| (p.code, p.file.as_str())).collect();
    assert!(
        files.contains(&("unknown-reference", "nodes/leaf")),
        "{files:?}"
    );
    assert!(
        files.contains(&("unknown-reference", "rules/quay")),
        "{files:?}"
    );
    let shown = problems
        .iter()
        .find(|p| p.file == "nodes/leaf")
        .unwrap()
        .render(false);
    assert!(
        shown.contains(r#""parent": "hub""#) && shown.contains("^^^^^"),
        "{shown}"
    );

    let mut edited = document();
    let spec = json!({"on": "hub", "source": "quay.io/org/*", "target": "quay/org/*"});
    set(&mut edited, Kind::Rules, "bad name!", &spec).unwrap();
    let codes: Vec<(&str, String)> = check(&edited)
        .unwrap_err()
        .into_iter()
        .map(|p| (p.code, p.file))
        .collect();
    assert!(
        codes.contains(&("invalid-name", "rules/bad name!".to_owned())),
        "{codes:?}"
    );
}

#[test]
fn hostile_names_and_texts_stay_what_they_are() {
    let nasty = [
        "~",
        "null",
        "true",
        "1e3",
        "0x1f",
        "- a",
        "a: b",
        "#c",
        "{",
        "*a",
        "&a",
        "!t",
        "'",
        "\"",
        "\\",
        " lead",
        "trail ",
        "two\nlines",
        "tab\t",
        "ümlaut",
        "\u{1F600}",
        "%d",
        "@",
        "`",
        "yes",
        "=",
        "<<",
    ];
    for text in nasty {
        let mut edited = document();
        let spec = json!({"endpoint": "https://new.example", "labels": {"a": text}});
        set(&mut edited, Kind::Nodes, "new", &spec).unwrap_or_else(|p| panic!("{text:?}: {p:?}"));
        assert_eq!(get(&edited, Kind::Nodes, "new"), Some(spec), "{text:?}");
        set(
            &mut edited,
            Kind::Accounts,
            text,
            &json!({"password": {"env": "A"}}),
        )
        .unwrap();
        assert!(get(&edited, Kind::Accounts, text).is_some(), "{text:?}");
        let yaml = edited.to_yaml().expect("YAML");
        assert_eq!(written(&edited).as_ref(), Some(&yaml), "{text:?}\n{yaml}");
    }
}

#[test]
fn a_patch_is_a_merge_patch() {
    // The table of RFC 7396, appendix A.
    let cases = [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (
            json!({"a":"b","b":"c"}),
            json!({"a":null}),
            json!({"b":"c"}),
        ),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (
            json!({"a":{"b":"c"}}),
            json!({"a":{"b":"d","c":null}}),
            json!({"a":{"b":"d"}}),
        ),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a":"b"}), json!(["c"]), json!(["c"])),
        (json!({"a":"foo"}), json!(null), json!(null)),
        (json!({"a":"foo"}), json!("bar"), json!("bar")),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
        (
            json!({}),
            json!({"a":{"bb":{"ccc":null}}}),
            json!({"a":{"bb":{}}}),
        ),
    ];
    for (target, patch, expected) in cases {
        let mut result = target.clone();
        merge(&mut result, &patch);
        assert_eq!(result, expected, "{target} + {patch}");
    }
}

#[test]
fn differences_are_by_resource() {
    let (old, mut new) = (document(), document());
    assert_eq!(differences(&old, &new), []);
    remove(&mut new, Kind::Accounts, "ci");
    set(
        &mut new,
        Kind::Rules,
        "quay",
        &json!({"on": "leaf", "source": "quay.io/*", "target": "quay/*"}),
    )
    .unwrap();
    set(
        &mut new,
        Kind::Nodes,
        "a",
        &json!({"endpoint": "https://a.example"}),
    )
    .unwrap();
    let found: Vec<(String, bool, bool)> = differences(&old, &new)
        .into_iter()
        .map(|d| {
            (
                format!("{}/{}", d.kind, d.name),
                d.before.is_some(),
                d.after.is_some(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("nodes/a".to_owned(), false, true),
            ("rules/quay".to_owned(), true, true),
            ("accounts/ci".to_owned(), true, false)
        ]
    );
}
