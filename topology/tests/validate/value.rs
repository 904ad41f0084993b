//! Durations, sizes, patterns, times: what has to parse.

use super::check;

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
