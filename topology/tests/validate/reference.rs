//! Names that must be declared, and who may do what where.

use super::check;

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
        (
            "{access: [{allow: repository-reader, to: {issuer: i}, on: hub}], issuers: {i: {url: 'https://i.example'}}}",
            &["wrong-type"],
        ),
        (
            "{access: [{allow: repository-reader, to: {issuer: i, claims: {id: 123}}, on: hub}], issuers: {i: {url: 'https://i.example'}}}",
            &["wrong-type"],
        ),
        (
            "{access: [{allow: repository-reader, to: {issuer: i, claims: {id: 123, ref: main}}, on: hub}], issuers: {i: {url: 'https://i.example'}}}",
            &["wrong-type"],
        ),
    ]);
}
