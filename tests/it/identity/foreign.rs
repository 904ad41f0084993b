//! What a foreign token service says to a federated identity: a no is a lost right, silence and trouble are not (`reference/protocols.md` 1.8).

use std::sync::{Arc, Mutex};

use serde_json::json;
use tests::azure::{ACR_AUDIENCE, Directory, TENANT};
use tests::server::{Answer, Request, Serve, Server};
use tests::{Acr, Fleet, Image};

use super::{explain, fleet, until};

/// Says what it is told to say; else gives the partner's token, which ends in seconds.
struct TokenService {
    directory: Directory,
    object_id: String,
    says: Mutex<Option<Answer>>,
}

impl TokenService {
    fn says(&self, answer: Option<Answer>) {
        *self.says.lock().unwrap() = answer;
    }
}

impl Serve for TokenService {
    fn answer(&self, _: &Request) -> Answer {
        let given = || {
            let id = &self.object_id;
            let token = self.directory.token(TENANT, id, id, ACR_AUDIENCE);
            Answer::json(200, &json!({"access_token": token, "expires_in": 2}))
        };
        self.says.lock().unwrap().clone().unwrap_or_else(given)
    }
}

/// `partner/*` of a foreign ACR, as an identity whose token that service gives.
async fn rule_as_partner(fleet: &mut Fleet, service: &Server, acr: &Acr) {
    let (url, host) = (service.url(), acr.host());
    let identity = format!(
        "{{kind: federated, tokenUrl: \"{url}/token\", clientId: us, scope: \"https://containerregistry.azure.net/.default\", sources: [\"{host}/shared/*\"], on: [dev]}}"
    );
    fleet.topology.set("identities", "partner", &identity);
    let rule = format!(
        "{{on: dev, source: \"{host}/shared/app\", target: \"partner/app\", identity: partner, freshness: {{check: always, deniedGrace: 0s}}}}"
    );
    fleet.topology.set("rules", "partner", &rule);
    fleet.apply().await.well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_service_that_says_no_ends_the_right_and_one_in_trouble_does_not() {
    let mut fleet = fleet(1).await;
    let directory = Directory::default();
    let acr = Acr::start(&directory).await;
    let partner = directory.application(TENANT, "partner");
    acr.allow(&partner.object_id, "shared/app");
    let image = Image::single(8_500).build();
    acr.put("shared/app", "1", &image);
    let foreign = Arc::new(TokenService {
        directory,
        object_id: partner.object_id,
        says: Mutex::default(),
    });
    let service = Server::start("foreign", Arc::clone(&foreign) as Arc<_>).await;
    let no = |status| {
        let said = "AADSTS700016: no such application";
        let body = json!({"error": "unauthorized_client", "error_description": said, "error_codes": [700_016]});
        Some(Answer::json(status, &body))
    };
    foreign.says(no(401));
    rule_as_partner(&mut fleet, &service, &acr).await;
    let client = fleet.client("dev");
    let of = |reply: &tests::client::Reply| String::from_utf8_lossy(&reply.body).into_owned();
    // Never seen before: 403, by its name.
    let refused = until(&client, "partner/app", "1", "it is refused", |reply| {
        reply.status == 403 && of(reply).contains("partner")
    })
    .await;
    let text = of(&refused);
    assert!(
        text.contains("DENIED") && text.contains("UPSTREAM_UNAUTHORIZED"),
        "{text}"
    );
    // In trouble: nobody knows.
    foreign.says(Some(Answer::empty(503)));
    until(&client, "partner/app", "1", "in trouble", |reply| {
        reply.status == 503 && of(reply).contains("IDENTITY_TOKEN_FAILED")
    })
    .await;
    foreign.says(None);
    until(&client, "partner/app", "1", "a token", |reply| {
        reply.status == 200
    })
    .await;
    let pulled = client.pull("partner/app", "1", "amd64").await.unwrap();
    assert_eq!(pulled.digest, image.digest);
    // The right is taken away: what is stored ends with the grace, which is none here.
    foreign.says(no(400));
    until(&client, "partner/app", "1", "the right ended", |reply| {
        reply.status == 403 && of(reply).contains("UPSTREAM_UNAUTHORIZED")
    })
    .await;
    let status = fleet.own_status("dev").await.unwrap();
    let mut rules = status["rules"].as_array().unwrap().iter();
    let rule = rules.find(|rule| rule["name"] == "partner").unwrap();
    assert_eq!(rule["status"], "Unauthorized", "{rule:#}");
    let who = "the token service 127.0.0.1";
    let hops = explain(&fleet, "dev/partner/app:1").await;
    let shown = hops[0]["authentication"].to_string();
    assert_eq!(hops[0]["authentication"]["granted"], json!(false));
    assert!(
        shown.contains(who) && shown.contains("AADSTS700016"),
        "{shown}"
    );
    let doctor = fleet.regmesh(&["doctor", "dev", "--only", "CRED-HEALTH", "-o", "json"]);
    let told = doctor.await.out;
    assert!(
        told.contains(who) && told.contains("AADSTS700016") && told.contains("UPSTREAM_UNAUTH"),
        "{told}"
    );
    // Too many questions are no refusal: the tag is served stale.
    foreign.says(Some(Answer::empty(429)));
    until(&client, "partner/app", "1", "served stale", |reply| {
        reply.status == 200 && reply.header("warning").is_some()
    })
    .await;
    acr.assert_data_saw_no_secret();
}
