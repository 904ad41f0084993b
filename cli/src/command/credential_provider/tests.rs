//! The golden exchange, and what a pod's token is not shown to.

use serde_json::{Value, json};

use super::*;
use crate::registry::tests::Node;

const NOW: i64 = 1_700_000_000;

fn provider(registries: &[&str]) -> CredentialProvider {
    CredentialProvider {
        registry: registries.iter().map(ToString::to_string).collect(),
    }
}

fn token(audience: &str, life: i64) -> String {
    let claims = json!({"aud": [audience], "exp": NOW + life, "sub": "system:serviceaccount:a:b", "x": "right"});
    // Its signature is what the node of the tests looks at.
    unverified::tests::token(&claims).replace("c2lnbmF0dXJl", "right")
}

fn request(image: &str, token: &str) -> Vec<u8> {
    let request = json!({
        "kind": "CredentialProviderRequest",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "image": image,
        "serviceAccountToken": token,
        "serviceAccountAnnotations": {"regmesh.example/any": "thing"},
    });
    request.to_string().into_bytes()
}

#[tokio::test]
async fn the_kubelet_gets_a_token_of_the_images_registry_for_the_pods_and_keeps_it_no_longer() {
    let node = Node::start().await;
    let image = format!("{}/team-a/api:1.4.0", node.server);
    let asked = request(&image, &token(&node.server, 600));
    let answered = answer(&provider(&[]), &asked, None, NOW).await.unwrap();
    let golden = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "cacheDuration": "540s",
        "auth": {
            &node.server: {
                "username": "00000000-0000-0000-0000-000000000000",
                "password": "canary-refresh",
            },
        },
    });
    assert_eq!(serde_json::from_slice::<Value>(&answered).unwrap(), golden);
    let forms = node.forms.lock().unwrap();
    assert_eq!(forms[0].0, "/oauth2/exchange");
    let shown = &forms[0].1;
    assert!(shown.contains(&("access_token".to_owned(), token(&node.server, 600))));
}

#[tokio::test]
async fn a_pods_token_is_shown_to_the_registry_that_it_is_for_and_to_no_other() {
    let node = Node::start().await;
    let image = format!("{}/a", node.server);
    let cases = [
        (token("elsewhere.example", 600), vec![], "not for"),
        (token(&node.server, 600), vec!["other.example"], "not for"),
        (token(&node.server, 0), vec![], "has ended"),
        (String::new(), vec![], "gave no service account token"),
        ("canary".to_owned(), vec![], "no JWT"),
    ];
    for (token, registries, expected) in cases {
        let refused = answer(&provider(&registries), &request(&image, &token), None, NOW).await;
        let refused = format!("{:#}", refused.unwrap_err());
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("canary"), "{refused}");
    }
    assert!(node.forms.lock().unwrap().is_empty());
    let shared = token("shared", 86_400);
    let registries = ["other.example", node.server.as_str()];
    let answered = answer(&provider(&registries), &request(&image, &shared), None, NOW).await;
    let answered: Value = serde_json::from_slice(&answered.unwrap()).unwrap();
    assert_eq!(answered["cacheDuration"], "3600s");
    let short = token(&node.server, 30);
    let answered = answer(&provider(&[]), &request(&image, &short), None, NOW).await;
    let answered: Value = serde_json::from_slice(&answered.unwrap()).unwrap();
    assert_eq!(answered["cacheDuration"], "0s", "never beyond its life");
}

#[tokio::test]
async fn what_is_no_request_for_a_registry_of_ours_is_an_error() {
    let token = token("registry.example", 600);
    for image in ["ubuntu", "library/ubuntu:24.04", ""] {
        let refused = answer(&provider(&[]), &request(image, &token), None, NOW).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("names no registry"), "{refused}");
    }
    let asked = String::from_utf8(request("registry.example/a", &token)).unwrap();
    for (old, new) in [
        ("kubelet.k8s.io/v1", "kubelet.k8s.io/v1beta1"),
        ("CredentialProviderRequest", "Other"),
        ("{", "["),
    ] {
        let bad = asked.replacen(old, new, 1);
        assert!(
            answer(&provider(&[]), bad.as_bytes(), None, NOW)
                .await
                .is_err(),
            "{bad}"
        );
    }
}
