//! What a node is given of a mesh, and what an older node makes of a slice from a newer release.

use topology::{
    Loaded, load, load_slice,
    model::{Grants, Topology},
};
use wire::{
    generation::Generation,
    time::WallTime,
    withdrawal::{Left, Withdrawal},
};

const MESH: &str = r#"
mesh: contoso
control: {endpoint: "https://control.example", maxOffline: 12h}
nodes:
  hub: {endpoint: "https://hub.example", network: {access: selected, allow: [10.9.9.0/24], trustMeshPeers: true}}
  mid: {endpoint: "https://mid.example", parent: hub, labels: {tier: mid}}
  leaf: {endpoint: "https://leaf.example", parent: mid, storage: {maxSize: 10GiB, gc: off}}
  other: {endpoint: "https://other.example", parent: hub}
identities:
  mesh-puller: {kind: managed, on: [mid, leaf], sources: ["node://hub/*", "node://mid/*"]}
  elsewhere: {kind: managed, on: other}
credentials:
  docker: {loginServer: docker.io, username: {env: DOCKER_USER}, password: {file: /run/docker}}
  secretive: {loginServer: ghcr.io, username: {env: GHCR_USER}, password: {env: GHCR_TOKEN}}
rules:
  docker: {on: hub, source: docker.io/library/*, target: library/*, credentials: docker}
  ghcr: {on: hub, source: ghcr.io/team/app, target: apps/app, credentials: secretive}
  quay: {on: hub, source: quay.io/*, target: quay/*}
  to-mid: {on: mid, source: "parent://*", target: "up/*", identity: mesh-puller, freshness: {check: 90s, immutable: ["v*"]}}
  to-leaf: {on: leaf, source: "parent://up/*", target: "*", identity: mesh-puller, platforms: [linux/amd64]}
issuers:
  ci: {url: "https://ci.example"}
  corp: {url: "https://corp.example"}
accounts:
  robot: {password: {env: ROBOT}}
  hub-admin: {password: {env: HUB_ADMIN}}
access:
  - {allow: repository-reader, to: "identity:mesh-puller", on: [hub, mid]}
  - {allow: repository-reader, to: "account:robot", on: leaf, repositories: [library/*]}
  - {allow: repository-writer, to: "account:hub-admin", on: hub}
  - {allow: repository-reader, to: {issuer: ci, claims: {/kubernetes.io/namespace: "prod-*"}}, on: leaf}
  - {allow: repository-reader, to: authenticated, on: other}
webhooks:
  gate: {on: [leaf, hub], url: "https://gate.example", secret: {file: /run/hook}}
  hub-only: {on: hub, url: "https://hub-hook.example"}
upstreams:
  quay.io: {maxConcurrent: 4}
"#;

fn mesh() -> Loaded {
    load(&[("mesh.yaml".to_owned(), MESH.to_owned())]).expect("a valid mesh")
}

fn slice_of(node: &str) -> String {
    let name = node.parse().expect("a name");
    let document = topology::slice::slice(&mesh().topology, &name).expect("a slice");
    document.to_yaml().expect("YAML")
}

#[test]
fn a_slice_holds_nothing_of_other_nodes() {
    let leaf = slice_of("leaf");
    for own in [
        "to-leaf",
        "mesh-puller",
        "robot",
        "https://mid.example",
        "ci.example",
        "gate.example",
        "/kubernetes.io/namespace",
    ] {
        assert!(leaf.contains(own), "{own} belongs into\n{leaf}");
    }
    let foreign = [
        "DOCKER_USER",
        "/run/docker",
        "GHCR",
        "secretive",
        "account:hub-admin",
        "hub-only",
        "elsewhere",
        "other",
        "to-mid",
        "10.9.9.0",
        "https://hub.example",
    ];
    for text in foreign {
        assert!(!leaf.contains(text), "{text} does not belong into\n{leaf}");
    }
    assert!(slice_of("hub").contains("maxConcurrent: 4"));
}

#[test]
fn every_slice_knows_whoever_is_known_in_the_mesh_and_has_the_rights_of_its_own_node() {
    let whole = mesh().topology;
    for node in ["hub", "mid", "leaf", "other"] {
        let slice = load_slice("slice", &slice_of(node)).expect("valid");
        assert_eq!(slice.warnings, [], "{node}");
        assert_eq!(slice.topology.accounts, whole.accounts, "{node}");
        let issuers = |topology: &Topology| topology.issuers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(issuers(&slice.topology), issuers(&whole), "{node}");
    }
    let assigned = |node: &str, account: &str, issuer: &str| {
        let slice = load_slice("slice", &slice_of(node)).expect("valid");
        let own = slice.topology.node(&node.parse().expect("a name"));
        let assigned = own.expect("the node").assigned();
        let account = assigned.account(&account.parse().expect("a name"));
        (account, assigned.issuer(&issuer.parse().expect("a name")))
    };
    assert_eq!(assigned("leaf", "robot", "ci"), (true, true));
    assert_eq!(assigned("leaf", "hub-admin", "corp"), (false, false));
    assert_eq!(assigned("mid", "robot", "ci"), (false, false));
    assert_eq!(
        assigned("other", "hub-admin", "corp"),
        (true, true),
        "`authenticated` means every one"
    );
}

#[test]
fn a_slice_holds_what_is_said_of_the_hosts_of_its_upstream_nodes() {
    let said = "  mid.example: {ca: /etc/mid.pem}\n  hub.example: {ca: /etc/hub.pem}\n";
    let loaded = load(&[("mesh.yaml".to_owned(), format!("{MESH}{said}"))]).expect("valid");
    let cut = |node: &str| {
        let name = node.parse().expect("a name");
        let slice = topology::slice::slice(&loaded.topology, &name).expect("a slice");
        slice.to_yaml().expect("YAML")
    };
    let leaf = cut("leaf");
    assert!(leaf.contains("/etc/mid.pem"), "{leaf}");
    assert!(!leaf.contains("/etc/hub.pem"), "{leaf}");
    assert!(cut("mid").contains("/etc/hub.pem"));
}

#[test]
fn a_slice_says_where_chains_end_and_how_deep_its_node_is() {
    let again = load_slice("slice", &slice_of("leaf")).expect("valid");
    let leaf = "leaf".parse().expect("a name");
    assert_eq!(again.topology.tier(&leaf), 3);
    let rule = &again.topology.node(&leaf).expect("the node").rules[0];
    assert_eq!(rule.source.to_string(), "node://mid/up/*");
    let mut ends: Vec<String> = rule
        .origins
        .iter()
        .map(|end| format!("{}/{} as {}", end.host, end.repositories, end.via))
        .collect();
    ends.sort();
    assert_eq!(
        ends,
        [
            "docker.io/library/* as up/library/*",
            "ghcr.io/team/app as up/apps/app",
            "hub.example/* as up/*",
            "quay.io/* as up/quay/*",
        ]
    );
}

#[test]
fn there_is_no_slice_for_a_node_that_is_not_declared() {
    let name = "nobody".parse().expect("a name");
    assert!(topology::slice::slice(&mesh().topology, &name).is_none());
}

/// The leaf's slice with one more line somewhere.
fn with(after: &str, line: &str) -> String {
    let slice = slice_of("leaf");
    assert!(slice.contains(after), "{after} in\n{slice}");
    slice.replacen(after, &format!("{after}\n{line}"), 1)
}

#[test]
fn keys_of_a_newer_release_are_ignored_and_reported() {
    for text in [
        with("version: 1", "colour: blue"),
        with("  to-leaf:", "    colour: blue"),
        with("  gate:", "    colour: blue"),
    ] {
        let loaded = load_slice("slice", &text).expect("applies the rest");
        let codes: Vec<_> = loaded
            .warnings
            .iter()
            .map(|p| (p.code, p.is_error()))
            .collect();
        assert_eq!(codes, [("unknown-key", false)], "{text}");
        let leaf = "leaf".parse().expect("a name");
        assert!(loaded.topology.node(&leaf).expect("the node").rules[0].enabled);
    }
    let person = load(&[("a.yaml".to_owned(), format!("{MESH}\ncolour: blue\n"))]);
    assert!(person.is_err(), "in what people write it is an error");
}

#[test]
fn an_entry_about_security_with_a_newer_key_is_left_out_with_what_depends_on_it() {
    let leaf = "leaf".parse().expect("a name");
    let load = |text: &str| {
        let loaded = load_slice("slice", text).expect("applies the rest");
        assert_eq!(loaded.warnings.len(), 1, "{text}\n{:#?}", loaded.warnings);
        loaded.topology
    };
    let whole = load_slice("slice", &slice_of("leaf"))
        .expect("valid")
        .topology;
    assert_eq!(whole.node(&leaf).expect("the node").access.len(), 2);

    let access = load(&with("- allow: repository-reader", "  unless: friday"));
    assert_eq!(access.node(&leaf).expect("the node").access.len(), 1);
    let issuer = load(&with("  ci:", "    strict: true"));
    assert!(!issuer.issuers.keys().any(|name| name.as_str() == "ci"));
    assert_eq!(
        issuer.node(&leaf).expect("the node").access.len(),
        1,
        "nobody has a role by a refused issuer"
    );
    let identity = load(&with("  mesh-puller:", "    limits: none"));
    assert!(identity.identities.is_empty());
    let rule = &identity.node(&leaf).expect("the node").rules[0];
    assert!(
        !rule.enabled,
        "its repositories stay covered, and it asks nobody"
    );
}

#[test]
fn a_network_with_a_newer_key_refuses_the_whole_slice() {
    let slice = slice_of("hub");
    let text = slice.replacen("network:", "network:\n      deny: all", 1);
    assert_ne!(slice, text);
    let problems = load_slice("slice", &text).expect_err("never guessed about");
    assert!(
        problems
            .iter()
            .any(|p| p.code == "unknown-key" && p.is_error())
    );
}

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const WITHDRAWAL: Withdrawal = Withdrawal {
    before: Generation(7),
    at: WallTime(1_700_000_000_789),
    left: Some(Left {
        before: Generation(9),
        at: WallTime(1_700_000_000_987),
    }),
};

fn with_beside() -> String {
    let recall = topology::model::Recall {
        reason: "CVE: \"xz\" – don't\nrun".to_owned(),
        at: WallTime(1_700_000_000_123),
    };
    let recalls = [(DIGEST.parse().expect("a digest"), recall)].into();
    let revoked = [("mid".parse().expect("a name"), WallTime(1_700_000_000_456))].into();
    let leaf = "leaf".parse().expect("a name");
    let grants = Grants {
        issuer: "https://control.example".to_owned(),
        former: ["http://10.0.0.1:7080".to_owned()].into(),
        keys: [("k-1".to_owned(), "BHdX".to_owned())].into(),
        withdrawn: [("mid/up".parse().expect("a name"), WITHDRAWAL)].into(),
    };
    let beside = topology::slice::Beside {
        recalls,
        revoked,
        grants: Some(grants),
    };
    let slice = topology::slice::slice_with(&mesh().topology, &leaf, &beside);
    slice.expect("a slice").to_yaml().expect("YAML")
}

#[test]
fn a_slice_brings_what_was_decided_beside_the_topology() {
    let loaded = load_slice("slice", &with_beside()).expect("valid");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let slice = loaded.topology.slice.expect("the section");
    let recall = &slice.recalls[&DIGEST.parse().expect("a digest")];
    assert_eq!(recall.reason, "CVE: \"xz\" – don't\nrun");
    assert_eq!(recall.at, WallTime(1_700_000_000_123));
    let mid = "mid".parse().expect("a name");
    assert_eq!(slice.revoked[&mid], WallTime(1_700_000_000_456));
    let grants = slice.grants.expect("the section");
    assert_eq!(grants.issuer, "https://control.example");
    assert_eq!(grants.keys["k-1"], "BHdX");
    let up = "mid/up".parse().expect("a name");
    assert_eq!(grants.withdrawn[&up], WITHDRAWAL);
    assert!(grants.former.contains("http://10.0.0.1:7080"));
    let without = load_slice("slice", &slice_of("leaf")).expect("valid");
    let without = without.topology.slice.expect("the section");
    assert!(without.recalls.is_empty() && without.revoked.is_empty());
    assert_eq!(without.grants, None);
}

#[test]
fn a_recall_that_a_newer_release_wrote_otherwise_is_in_force() {
    let written = with_beside();
    let begin = written.find(DIGEST).expect("the recall") - 1;
    let end = written.find("revoked:").expect("what follows");
    let indent = "      ";
    let key = format!("\"{DIGEST}\"");
    let cases = [
        format!("{key}:\n{indent}reason: bad\n{indent}until: 2030-01-01\n  "),
        format!("{key}:\n{indent}reason: {{en: bad, de: schlecht}}\n{indent}at: soon\n  "),
        format!("{key}:\n{indent}- bad\n  "),
        format!("{key}: bad\n  "),
        format!("{key}:\n  "),
        format!("{key}: {{}}\n    blake9:0000: {{reason: unknown}}\n  "),
    ];
    for recall in cases {
        let text = format!("{}{recall}{}", &written[..begin], &written[end..]);
        let loaded = load_slice("slice", &text).unwrap_or_else(|p| panic!("{text}\n{p:#?}"));
        let slice = loaded.topology.slice.expect("the section");
        let digests: Vec<&str> = slice.recalls.keys().map(|digest| digest.as_str()).collect();
        assert_eq!(digests, [DIGEST], "{text}");
        assert!(loaded.warnings.iter().all(|p| p.code == "unknown-key"));
        let told = !loaded.warnings.is_empty();
        assert!(
            told || recall.ends_with(":\n  "),
            "said to the operator: {text}"
        );
    }
}

#[test]
fn a_revocation_that_cannot_be_read_refuses_the_slice() {
    let text = with_beside().replace("2023-11-14T22:13:20.456Z", "soon");
    let problems = load_slice("slice", &text).expect_err("never guessed about");
    assert!(
        problems
            .iter()
            .any(|p| p.code == "wrong-type" && p.is_error())
    );
}

#[test]
fn people_do_not_write_recalls() {
    let text = format!("{MESH}\nslice: {{node: hub, tier: 1, recalls: {{}}}}\n");
    let problems = load(&[("a.yaml".to_owned(), text)]).expect_err("refused");
    assert!(problems.iter().any(|p| p.code == "unknown-key"));
}

#[test]
fn what_an_identity_is_shown_through_travels_with_it() {
    let text = r#"
mesh: contoso
nodes:
  hub: {endpoint: "https://hub.example"}
  other: {endpoint: "https://other.example"}
identities:
  umi: {kind: azure, on: hub, objectId: o, scope: "api://x/.default"}
  partner:
    kind: federated
    on: hub
    tokenUrl: https://login.partner.example:8443/t/token
    clientId: c
    scope: s
    audience: a
    flow: token-exchange
    assertion: umi
    present: password
    username: oauth2accesstoken
    sources: [partner.example/*]
credentials:
  vault: {loginServer: quay.io, username: {env: U}, password: {keyVault: "https://kv.vault.azure.net/secrets/p"}, identity: umi}
rules:
  partner: {on: hub, source: partner.example/*, target: partner/*, identity: partner}
  quay: {on: hub, source: quay.io/*, target: quay/*, credentials: vault}
upstreams:
  login.partner.example:8443: {ca: /etc/partner.pem}
  elsewhere.example: {ca: /etc/other.pem}
"#;
    let mesh = load(&[("mesh.yaml".to_owned(), text.to_owned())]).expect("a valid mesh");
    let name = "hub".parse().expect("a name");
    let slice = topology::slice::slice(&mesh.topology, &name).expect("a slice");
    let yaml = slice.to_yaml().expect("YAML");
    let read = load_slice("slice.yaml", &yaml).expect("a valid slice");
    for (identity, declared) in &mesh.topology.identities {
        assert_eq!(read.topology.identities.get(identity), Some(declared));
    }
    assert_eq!(read.topology.credentials, mesh.topology.credentials);
    let upstreams: Vec<&String> = read.topology.upstreams.keys().collect();
    assert_eq!(upstreams, ["login.partner.example:8443"]);
    let other = "other".parse().expect("a name");
    let other = topology::slice::slice(&mesh.topology, &other).expect("a slice");
    let other = other.to_yaml().expect("YAML");
    assert!(
        !other.contains("partner") && !other.contains("umi") && !other.contains("vault"),
        "{other}"
    );
}
