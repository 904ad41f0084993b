//! The body to the letter, and which events a scope covers.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn event() -> Event {
    Event {
        id: Uuid::from_u128(1),
        timestamp: WallTime(1_795_176_000_000),
        action: Action::Push,
        target: Target::manifest(
            "promoted/team-a/api".parse().expect("a repository"),
            Some("1.4.0".parse().expect("a tag")),
            Digest::sha256(b""),
            "application/vnd.oci.image.index.v1+json",
            860,
        ),
        request: Some(Request {
            id: "r1".into(),
            host: "prod.registry.contoso.example".into(),
            method: "GET".into(),
            useragent: "containerd/2.0".into(),
        }),
        regmesh: Origin {
            mesh: "contoso".parse().expect("a mesh"),
            node: "prod".parse().expect("a node"),
            rule: Some("promote-team-a-api".parse().expect("a rule")),
            cause: Cause::Copy,
            platform: Some("linux/amd64".parse().expect("a platform")),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
            reason: None,
        },
    }
}

#[test]
fn the_body_is_the_specs_to_the_letter() {
    let body = String::from_utf8(event().to_body()).expect("text");
    assert_eq!(
        body,
        concat!(
            r#"{"id":"00000000-0000-0000-0000-000000000001","timestamp":"2026-11-20T12:00:00.000Z","action":"push","#,
            r#""target":{"mediaType":"application/vnd.oci.image.index.v1+json","size":860,"length":860,"#,
            r#""digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","#,
            r#""repository":"promoted/team-a/api","tag":"1.4.0"},"#,
            r#""request":{"id":"r1","host":"prod.registry.contoso.example","method":"GET","useragent":"containerd/2.0"},"#,
            r#""regmesh":{"mesh":"contoso","node":"prod","rule":"promote-team-a-api","cause":"copy","#,
            r#""platform":"linux/amd64","traceId":"4bf92f3577b34da6a3ce929d0e0e4736"}}"#,
        )
    );
    assert_eq!(ping_body(), br#"{"action":"ping"}"#);
}

#[test]
fn what_means_nothing_is_absent() {
    let mut event = event();
    event.target.tag = None;
    event.regmesh.platform = None;
    event.regmesh.rule = None;
    event.request = None;
    let body: Value = serde_json::from_slice(&event.to_body()).expect("JSON");
    for (pointer, present) in [
        ("/target/tag", false),
        ("/target/digest", true),
        ("/request", false),
        ("/regmesh/platform", false),
        ("/regmesh/rule", false),
        ("/regmesh/reason", false),
        ("/regmesh/cause", true),
    ] {
        assert_eq!(body.pointer(pointer).is_some(), present, "{pointer}");
    }
}

#[test]
fn an_event_survives_the_outbox() {
    let event = event();
    let read: Event = serde_json::from_slice(&event.to_body()).expect("an event");
    assert_eq!(read, event);
    // An older reader meets a newer writer.
    let newer = String::from_utf8(event.to_body()).expect("text").replacen(
        "{\"id\"",
        "{\"newer\":1,\"id\"",
        1,
    );
    assert_eq!(
        serde_json::from_str::<Event>(&newer).expect("an event"),
        event
    );
}

#[test]
fn every_action_is_written_as_it_is_named() {
    for action in [
        Action::Push,
        Action::Delete,
        Action::Ping,
        Action::CopyFailed,
        Action::ServedStale,
        Action::Recalled,
    ] {
        assert_eq!(
            serde_json::to_value(action).expect("a word"),
            action.as_str()
        );
    }
}

/// A scope, and rows of repository, tag, and whether it covers them.
type Case = (
    &'static str,
    &'static [(&'static str, Option<&'static str>, bool)],
);

#[test]
fn a_scope_covers_what_its_words_say() {
    let cases: &[Case] = &[
        ("", &[("a", None, true), ("a/b", Some("t"), true)]),
        ("*", &[("a", None, true)]),
        (
            "team/app",
            &[
                ("team/app", None, true),
                ("team/app", Some("t"), true),
                ("team/app/x", None, false),
                ("team/ap", None, false),
            ],
        ),
        (
            "team/app:1",
            &[
                ("team/app", Some("1"), true),
                ("team/app", None, false),
                ("team/app", Some("10"), false),
                ("team", Some("1"), false),
            ],
        ),
        (
            "team/*",
            &[
                ("team/app", None, true),
                ("team/a/b", Some("t"), true),
                ("team", None, false),
                ("teams/a", None, false),
            ],
        ),
        (
            "team*",
            &[
                ("team", None, true),
                ("teams/a", None, true),
                ("tea", None, false),
            ],
        ),
        (
            "team/app:1.*",
            &[
                ("team/app", Some("1.4"), true),
                ("team/app", Some("2"), false),
                ("team/app", None, false),
            ],
        ),
        (
            "team/app:*",
            &[
                ("team/app", Some("x"), true),
                ("team/app", None, false),
                ("team", Some("x"), false),
            ],
        ),
    ];
    for (text, rows) in cases {
        let scope: EventScope = text.parse().expect("a scope");
        for (repository, tag, covered) in *rows {
            let repository = repository.parse().expect("a repository");
            let tag = tag.map(|tag| tag.parse().expect("a tag"));
            assert_eq!(
                scope.covers(&repository, tag.as_ref()),
                *covered,
                "{text} {repository} {tag:?}"
            );
        }
    }
    for bad in [
        "A", "a b", "a:", ":t", "a:.t", "a*b", "../*", "a//*", "-*", "**", "a:b:c",
    ] {
        assert!(bad.parse::<EventScope>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_scope_reads_back(text in "[a-z./:*-]{0,12}") {
        if let Ok(scope) = text.parse::<EventScope>() {
            prop_assert_eq!(scope.to_string().parse::<EventScope>(), Ok(scope));
        }
    }
}
