//! T52: tokens over the wire, for who shows the certificate of the node and for nobody else.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use identity::authenticate::grant::Claims;
use tonic::Code;
use wire::{
    api::resource::{Apply, File},
    node_service::RenewRequest,
};

use super::*;
use crate::test_mesh::{Control, Node, WHO};

const MESH: &str = r#"
version: 1
mesh: acme
nodes:
  dev: {endpoint: "https://dev.example"}
  prod: {endpoint: "https://prod.example", parent: dev}
  other: {endpoint: "https://other.example", parent: dev}
identities:
  reader: {kind: managed, on: prod}
  theirs: {kind: managed, on: other}
rules:
  promote: {on: prod, source: node://dev/team/api, target: api, identity: reader}
  copied: {on: other, source: node://dev/team/api, target: api, identity: theirs}
access:
  - {allow: repository-reader, to: "identity:reader", on: dev}
  - {allow: repository-reader, to: "identity:theirs", on: dev}
"#;

async fn control() -> Control {
    let control = Control::new().await;
    let file = File {
        name: "t.yaml".into(),
        text: MESH.into(),
    };
    let apply = Apply {
        files: vec![file],
        dry_run: false,
        prune: false,
    };
    control.publisher.apply(&apply, WHO, None).await.unwrap();
    control
}

fn wants(rule: &str, identity: &str, upstream: &str) -> node_service::Wanted {
    node_service::Wanted {
        rule: rule.into(),
        identity: identity.into(),
        kind: Some(wanted::Kind::Upstream(upstream.into())),
    }
}

async fn ask(
    node: &Node,
    address: &str,
    wanted: Vec<node_service::Wanted>,
) -> Result<Vec<minted::Outcome>, Status> {
    let mut client = node.client(address).await;
    let tokens = client.token(TokenRequest { wanted }).await?.into_inner();
    Ok(tokens
        .minted
        .into_iter()
        .map(|minted| minted.outcome.unwrap())
        .collect())
}

/// The claims of a grant, verified as the upstream node does: by the keys of its slice.
fn verified(control: &Control, token: &str) -> Claims {
    let slice = control.publisher.slice(&"dev".parse().unwrap()).unwrap();
    let slice = topology::load_slice("slice", &slice.document)
        .unwrap()
        .topology
        .slice
        .unwrap();
    let grants = slice.grants.unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: serde_json::Value = serde_json::from_slice(&URL.decode(header).unwrap()).unwrap();
    assert_eq!(
        (header["alg"].as_str(), header["typ"].as_str()),
        (Some("ES256"), Some("regmesh-grant+jwt"))
    );
    let point = URL
        .decode(&grants.keys[header["kid"].as_str().unwrap()])
        .unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &URL.decode(signature).unwrap())
        .unwrap();
    let claims: Claims = serde_json::from_slice(&URL.decode(claims).unwrap()).unwrap();
    assert_eq!(claims.iss, grants.issuer);
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_grants_for_its_own_rules_from_any_control_plane_and_no_others() {
    let control = control().await;
    let (prod, other) = (control.joined("prod").await, control.joined("other").await);
    let beside = control.beside().await;
    for address in [&control.address, &beside.address] {
        let wanted = vec![
            wants("promote", "reader", "dev.example"),
            wants("copied", "theirs", "dev.example"),
            wants("no rule", "reader", "dev.example"),
            wants("promote", "theirs", "dev.example"),
            wants("promote", "reader", "other.example"),
            wants("promote", "reader", &"x".repeat(2_000)),
            node_service::Wanted {
                kind: None,
                ..wants("promote", "reader", "")
            },
        ];
        let outcomes = ask(&prod, address, wanted).await.unwrap();
        let minted::Outcome::Token(token) = &outcomes[0] else {
            panic!("{outcomes:?}");
        };
        let claims = verified(&control, &token.token);
        assert_eq!(claims.regmesh.node.as_str(), "prod");
        assert_eq!(claims.cnf.unwrap().spiffe, "spiffe://acme/node/prod");
        assert_eq!(token.expires_ms / 1_000, claims.exp);
        assert!(token.refresh_ms < token.expires_ms);
        assert_eq!(outcomes.len(), 7);
        for refused in &outcomes[1..] {
            assert!(
                matches!(refused, minted::Outcome::Refused(_)),
                "{refused:?}"
            );
        }
        // Its certificate says who asks, and what it asks for does not change that.
        let stolen = vec![wants("promote", "reader", "dev.example")];
        let outcomes = ask(&other, address, stolen).await.unwrap();
        assert!(
            matches!(&outcomes[0], minted::Outcome::Refused(_)),
            "{outcomes:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_node_any_more_gets_nothing() {
    let control = control().await;
    let wanted = || vec![wants("promote", "reader", "dev.example")];
    let (mut prod, other) = (control.joined("prod").await, control.joined("other").await);
    let too_many = vec![wants("promote", "reader", "dev.example"); MOST + 1];
    let refused = ask(&prod, &control.address, too_many).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let all = vec![wants("promote", "reader", "dev.example"); MOST];
    assert_eq!(ask(&prod, &control.address, all).await.unwrap().len(), MOST);

    // A certificate that is not shown, and another mesh's, count as none.
    let elsewhere = Control::new().await;
    elsewhere.apply(&["prod"], "x").await;
    let mut foreign = elsewhere.joined("prod").await;
    foreign.roots.clone_from(&prod.roots);
    let refused = ask(&foreign, &control.address, wanted()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");

    // Its directory was copied: the second to renew by the same counter ends the instance.
    let first = prod.counter;
    for _ in 0..2 {
        prod.renew(&control.address).await.unwrap();
    }
    let copied = RenewRequest {
        instance: prod.instance.clone(),
        csr: prod.key.request("x").unwrap(),
        counter: first,
    };
    let mut client = prod.client(&control.address).await;
    assert!(client.renew(copied).await.is_err());
    crate::test_mesh::eventually("the instance is shut out", async || {
        let asked = ask(&prod, &control.address, wanted()).await;
        asked.is_err_and(|refused| refused.code() == Code::PermissionDenied)
    })
    .await;

    control.enrol.revoke(&other.name, WHO).await.unwrap();
    let theirs = vec![wants("copied", "theirs", "dev.example")];
    let refused = ask(&other, &control.address, theirs).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
