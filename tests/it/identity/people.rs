//! People sign in with a real OpenID provider by a code, and what they may do is what their claims say.

use serde_json::{Value, json};
use tests::oidc_provider::{self, CLIENT, OidcProvider};

use super::{fleet, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_by_a_code_and_pulls() {
    if !oidc_provider::available() {
        return;
    }
    let mut fleet = fleet(1).await;
    let provider = OidcProvider::start().await.unwrap();
    let issuer = format!("{{url: \"{}\", clientId: {CLIENT}}}", provider.url());
    fleet.topology.set("issuers", "corp", &issuer);
    for sub in ["ada", "ci"] {
        fleet.topology.allow(&format!(
            "{{allow: repository-reader, to: {{issuer: corp, claims: {{sub: {sub}}}}}, on: dev}}"
        ));
    }
    fleet
        .topology
        .deny("{allow: repository-reader, to: anonymous, on: dev}");
    fleet.apply().await.well();
    let (repository, _) = fleet.image("people", 8_700);
    let http = reqwest::Client::new();
    let api = |path: &str| format!("{}/api/v1/sign-in{path}", fleet.api());
    let begun: Value = http
        .post(api("/device"))
        .json(&json!({"issuer": "corp"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let (id, code) = (
        begun["id"].as_str().unwrap(),
        begun["userCode"].as_str().unwrap(),
    );
    let poll = || http.post(api(&format!("/device/{id}"))).send();
    assert_eq!(poll().await.unwrap().status(), 202);
    provider.approve(code, "ada").await.unwrap();
    let session: Value =
        tests::eventually::eventually_async(tests::eventually::BOUND, "signed in", async || {
            let answer = poll().await.unwrap();
            match answer.status().as_u16() {
                200 => Ok(answer.json().await.unwrap()),
                other => Err((other, answer.text().await)),
            }
        })
        .await;
    let token = session["idToken"]
        .as_str()
        .unwrap_or_else(|| panic!("{session}"));
    let ada = fleet.client("dev").with_account("oidc", token);
    until(&ada, &repository, "1", "ada may pull", |reply| {
        reply.status == 200
    })
    .await;
    // Its access tokens are of the type `at+jwt`: no proof of who somebody is (RFC 9068), whatever else is right with them.
    let robot = provider.robot_token(&fleet.host("dev")).await.unwrap();
    let robot = fleet.client("dev").with_account("oidc", &robot);
    let refused = robot.get_manifest(&repository, "1").await.unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
}
