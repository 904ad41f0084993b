//! How a rule shows who it is, and whether its upstream understands that.

use super::{MESH, codes, problems};

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
  vault: {{loginServer: quay.io, username: {{keyVault: "https://kv.vault.azure.net/secrets/u"}}, password: {{keyVault: "https://kv.vault.azure.net/secrets/p"}}, identity: azure}}
identities:
  managed: {{kind: managed, on: [mid, leaf]}}
  azure: {{kind: azure, on: hub}}
  acr-scoped: {{kind: azure, on: hub, scope: "https://containerregistry.azure.net"}}
  acr-partner: {{kind: federated, on: hub, tokenUrl: "https://t.example/token", scope: "https://containerregistry.azure.net/.default"}}
  acr-direct: {{kind: federated, on: hub, assertion: azure, audience: "https://containerregistry.azure.net"}}
  through: {{kind: federated, on: [hub, mid], tokenUrl: "https://t.example/token", assertion: azure}}
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
    let cases: [(&str, &[&str]); 40] = [
        (
            "{on: hub, source: x.azurecr.de/a, target: a, identity: azure}",
            &["identity-kind-mismatch"],
        ),
        (
            "{on: hub, source: evilazurecr.io/a, target: a, identity: azure}",
            &["identity-kind-mismatch"],
        ),
        (
            "{on: hub, source: '127.0.0.1:5999/a', target: a, identity: azure}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, identity: acr-scoped}",
            &["identity-kind-mismatch"],
        ),
        (
            "{on: hub, source: x.azurecr.cn/a, target: a, identity: acr-scoped}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, identity: acr-partner}",
            &["identity-kind-mismatch"],
        ),
        (
            "{on: hub, source: x.azurecr.io/a, target: a, identity: acr-partner}",
            &[],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, identity: acr-direct}",
            &["identity-kind-mismatch"],
        ),
        (
            "{on: hub, source: x.azurecr.io/a, target: a, identity: acr-direct}",
            &[],
        ),
        (
            "{on: hub, source: x.azurecr.io/a, target: a, identity: through}",
            &[],
        ),
        (
            "{on: mid, source: x.azurecr.io/a, target: a, identity: through}",
            &["identity-not-attached"],
        ),
        (
            "{on: hub, source: quay.io/a, target: a, credentials: vault}",
            &[],
        ),
        (
            "{on: mid, source: quay.io/a, target: a, credentials: vault}",
            &["identity-not-attached"],
        ),
        (
            "{on: hub, source: 'x.azurecr.io:8443/a', target: a, identity: azure}",
            &["identity-kind-mismatch"],
        ),
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
fn what_anybody_may_read_an_identity_may_read() {
    for (to, repositories, expected) in [
        ("anonymous", "'*'", &[][..]),
        ("authenticated", "'*'", &[]),
        ("anonymous", "team/*", &[]),
        ("anonymous", "other/*", &["no-read-access"]),
        ("'node:mid'", "'*'", &["no-read-access"]),
    ] {
        let part = format!(
            "{{identities: {{i: {{kind: managed, on: mid}}}}, access: [{{allow: repository-reader, to: {to}, on: hub, repositories: [{repositories}]}}], rules: {{r: {{on: mid, source: 'parent://team/*', target: 'a/*', identity: i}}}}}}"
        );
        assert_eq!(codes(&[MESH, &part]), expected, "{to} {repositories}");
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
fn an_assertion_is_sent_over_https_or_to_loopback() {
    for (url, expected) in [
        ("https://login.partner.example/t/token", 0),
        ("http://127.0.0.1:9/token", 0),
        ("http://localhost/token", 0),
        ("http://login.partner.example/t/token", 1),
        ("http://127.0.0.1.evil.example/token", 1),
        ("http://127.0.0.1@evil.example/token", 1),
    ] {
        let text =
            format!("identities: {{partner: {{kind: federated, on: hub, tokenUrl: \"{url}\"}}}}");
        let found = problems(&[MESH, &text]);
        let plain = found
            .iter()
            .filter(|problem| problem.code == "plaintext-identity");
        assert_eq!(plain.count(), expected, "{url}: {found:?}");
    }
}

/// What the node would refuse to show is refused before it is applied.
#[test]
fn a_token_that_others_take_is_shown_to_them_alone() {
    let url = "tokenUrl: \"https://t.example/token\", assertion: azure";
    for (says, expected) in [
        (
            format!("{url}, audience: \"https://containerregistry.azure.net\""),
            1,
        ),
        (
            format!("{url}, flow: token-exchange, audience: \"https://ContainerRegistry.azure.net/.default\""),
            1,
        ),
        (url.to_owned(), 0),
        (format!("{url}, audience: \"api://x\""), 0),
        (
            "tokenUrl: \"https://t.example/token\", audience: \"https://containerregistry.azure.net\""
                .to_owned(),
            0,
        ),
        ("audience: api://AzureADTokenExchange".to_owned(), 1),
        (
            "flow: direct, tokenUrl: \"https://t.example/token\", audience: api://azureadtokenexchangeUSGov"
                .to_owned(),
            1,
        ),
        (
            "assertion: azure, audience: api://AzureADTokenExchange".to_owned(),
            1,
        ),
        (
            "tokenUrl: \"https://t.example/token\", audience: api://AzureADTokenExchange".to_owned(),
            0,
        ),
        ("flow: direct, audience: hub.sister.example".to_owned(), 0),
    ] {
        let text = format!(
            "identities: {{azure: {{kind: azure, on: hub}}, i: {{kind: federated, on: hub, {says}}}}}"
        );
        let found = problems(&[MESH, &text]);
        let mismatch = found
            .iter()
            .filter(|problem| problem.code == "identity-kind-mismatch");
        assert_eq!(mismatch.count(), expected, "{says}: {found:?}");
    }
}
