//! Who is known in the mesh and has no right on a node is refused as somebody known, and never as a guesser; and what anybody may read
//! a rule may pull as its identity.

use serde_json::Value;
use tests::client::Reply;
use tests::fleet::reader;
use tests::issuer::{Issuer, github};
use tests::{Fleet, canary};

use super::{basic, callers, fleet, fresh};

/// What the token service of dev answers to this, for a scope that is not theirs.
async fn token(fleet: &Fleet, authorization: &str) -> Reply {
    let url = format!(
        "{}/oauth2/token?service={}&scope=repository:team-a/app:pull&offline_token=true",
        fleet.url("dev"),
        fleet.host("dev")
    );
    let asked = fleet.http(None).get(url);
    let answer = asked.header("authorization", authorization).send().await;
    Reply::read(answer.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_known_elsewhere_is_denied_and_not_taken_for_a_guesser() {
    let mut fleet = fleet(2).await;
    let issuer = Issuer::github().await;
    let password = canary::secret("cat");
    let file = fleet.write("cat.password", &password);
    for (name, file) in [("cat", file.as_str()), ("away", "/nowhere/at/all")] {
        let account = format!("{{password: {{file: \"{file}\"}}}}");
        fleet.topology.set("accounts", name, &account);
    }
    let spec = format!("{{url: \"{}\"}}", issuer.url());
    let reads = "repository-reader";
    callers::declare(
        &mut fleet,
        "ci",
        &spec,
        reads,
        "{repository: contoso/app}",
        "prod",
    );
    fleet
        .topology
        .allow("{allow: repository-writer, to: \"account:cat\", on: prod}");
    fleet.apply().await.well();
    assert_eq!(issuer.key_fetches(), 0, "nobody has shown a token of it");
    let status = fleet.own_status("dev").await.unwrap();
    let warnings = status["warnings"].as_array();
    assert!(warnings.is_none_or(Vec::is_empty), "{status:#}");
    assert_eq!(fleet.look(&fleet.admin("dev", "/readyz")).await.0, 200);
    let said = fleet.said("dev");
    assert!(
        !said.iter().any(|line| line.contains("password")),
        "{said:#?}"
    );

    let job = issuer.token(&github("contoso/app", "main", &fleet.host("dev")));
    for shown in [basic("cat", &password), basic("oidc", &job)] {
        // More often than anybody may guess.
        for _ in 0..12 {
            let given = token(&fleet, &shown).await;
            assert_eq!(given.status, 200, "{given:?}");
            let given: Value = serde_json::from_slice(&given.body).unwrap();
            assert_eq!(given["scope"], "", "{given}");
            assert!(given.get("refresh_token").is_none(), "{given}");
            let bearer = format!("Bearer {}", given["token"].as_str().unwrap());
            for shown in [&shown, &bearer] {
                let reply = callers::ask(&fleet, shown).await;
                assert_eq!(reply.status, 403, "{reply:?}");
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                assert!(text.contains("DENIED"), "{text}");
            }
        }
    }
    for (user, secret) in [("cat", "wrong"), ("away", "any"), ("nobody", "any")] {
        let reply = token(&fleet, &basic(user, secret)).await;
        assert_eq!(reply.status, 401, "{user}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_anybody_may_read_a_rule_pulls_as_its_identity() {
    let mut fleet = fleet(2).await;
    fleet.topology.deny(&reader("prod", "dev"));
    fleet
        .topology
        .allow("{allow: repository-reader, to: anonymous, on: dev}");
    fleet.apply().await.well();
    let (repository, image) = fresh(&fleet, "open", 9);
    fleet.pulls("prod", &repository, &image).await;
}
