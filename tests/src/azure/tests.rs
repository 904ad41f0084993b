//! The emulators are as strict as they say.

use std::collections::HashMap;

use super::*;
use crate::Image;
use crate::issuer::Issuer;
use crate::server::At;

fn http() -> reqwest::Client {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    client.build().unwrap()
}

async fn post(url: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let answer = http().post(url).form(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn assertion<'a>(client: &'a str, token: &'a str) -> [(&'static str, &'a str); 5] {
    [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("scope", "https://containerregistry.azure.net/.default"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", token),
    ]
}

/// By Entra itself as the assertion's issuer, since an [`Issuer`] of ours lacks what strict libraries want.
#[tokio::test]
async fn an_assertion_is_taken_once_entra_has_heard_of_it_and_only_as_agreed() {
    let entra = Entra::start().await;
    let directory = &entra.directory;
    let identity = directory.identity("reader");
    let application = directory.application(TENANT, "partner");
    directory.trust(
        &application,
        Credential {
            issuer: directory.issuer(TENANT),
            subject: identity.object_id.clone(),
            audience: EXCHANGE_AUDIENCE.to_owned(),
            unheard: 1,
        },
    );
    let url = entra.token_url(TENANT);
    let token = |subject: &str, audience: &str| directory.token(TENANT, subject, "x", audience);
    let good = token(&identity.object_id, EXCHANGE_AUDIENCE);
    let form = assertion(&application.client_id, &good);
    let (status, body) = post(&url, &form).await;
    assert_eq!((status, &body["error_codes"]), (400, &json!([70_021])));
    let (status, body) = post(&url, &form).await;
    assert_eq!(status, 200, "{body}");
    let issued = directory.verify(body["access_token"].as_str().unwrap(), ACR_AUDIENCE);
    assert_eq!(issued.unwrap()["oid"], application.object_id);
    let stranger = Key::rs256("entra-1");
    let claims = jwt::parts(&good).unwrap().claims;
    for (wrong, code) in [
        (token("somebody", EXCHANGE_AUDIENCE), 70_021),
        (token(&identity.object_id, "api://other"), 70_021),
        (stranger.token(&claims), 50_013),
        (Key::es256("entra-1").token(&claims), 70_021),
    ] {
        let (_, body) = post(&url, &assertion(&application.client_id, &wrong)).await;
        assert_eq!(body["error_codes"], json!([code]), "{body}");
    }
    let (_, body) = post(&url, &assertion("nobody", &good)).await;
    assert_eq!(body["error_codes"], json!([700_016]));
    let (_, body) = post(&entra.token_url("nowhere"), &form).await;
    assert_eq!(body["error_codes"], json!([90_002]));
}

#[tokio::test]
async fn an_acr_gives_by_role_and_sends_blobs_elsewhere() {
    let directory = Directory::default();
    let (acr, reader) = (Acr::start(&directory).await, directory.identity("reader"));
    let image = Image::single(1).build();
    acr.put("team/app", "1", &image);
    acr.put("team/other", "1", &image);
    acr.allow(&reader.object_id, "team/app");
    let (host, base) = (acr.host(), format!("http://{}", acr.address()));
    let entra =
        |audience: &str| directory.token(TENANT, &reader.object_id, &reader.client_id, audience);
    let exchange = format!("{base}/oauth2/exchange");
    let form = |token| {
        [
            ("grant_type", "access_token"),
            ("service", &host),
            ("access_token", token),
        ]
    };
    let (wrong, right) = (entra(VAULT_AUDIENCE), entra(ACR_AUDIENCE));
    assert_eq!(post(&exchange, &form(&wrong)).await.0, 401);
    let (status, body) = post(&exchange, &form(&right)).await;
    assert_eq!(status, 200, "{body}");
    let refresh = body["refresh_token"].as_str().unwrap();
    let scope = "repository:team/app:pull repository:team/other:pull";
    let form = [
        ("grant_type", "refresh_token"),
        ("service", &host),
        ("scope", scope),
        ("refresh_token", refresh),
    ];
    let (_, body) = post(&format!("{base}/oauth2/token"), &form).await;
    assert!(body.get("expires_in").is_none(), "{body}");
    let token = body["access_token"].as_str().unwrap();
    let get = async |path: String, token: Option<&str>| {
        let mut request = http().get(base.clone() + &path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };
    let manifest = |name: &str| format!("/v2/{name}/manifests/1");
    assert_eq!(get(manifest("team/app"), Some(token)).await.status(), 200);
    assert_eq!(get(manifest("team/app"), None).await.status(), 401);
    // A refresh token opens nothing, nor does a token for another repository.
    assert_eq!(get(manifest("team/app"), Some(refresh)).await.status(), 401);
    let other = get(manifest("team/other"), Some(token)).await;
    let challenge = other.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    let (digest, content) = &image.blobs[0];
    let blob = get(format!("/v2/team/app/blobs/{digest}"), Some(token)).await;
    assert_eq!(blob.status(), 307);
    let location = blob.headers()["location"].to_str().unwrap();
    let data = http().get(location).send().await.unwrap();
    assert_eq!(data.bytes().await.unwrap(), content.to_bytes());
    acr.assert_data_saw_no_secret();
    let shown = http()
        .get(location)
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(shown.status(), 400);
    acr.forbid(&reader.object_id);
    assert_eq!(get(manifest("team/app"), Some(token)).await.status(), 401);
}

#[tokio::test]
async fn imds_wants_its_header_its_version_and_one_identity_that_it_knows() {
    let directory = Directory::default();
    let reader = directory.identity("reader");
    let imds = Imds::start_at(At::loopback(), &directory).await;
    let url = imds.url() + "/metadata/identity/oauth2/token";
    let good = HashMap::from([
        ("api-version", "2018-02-01"),
        ("resource", ACR_AUDIENCE),
        ("client_id", reader.client_id.as_str()),
    ]);
    let get = async |query: &HashMap<&str, &str>, header: Option<&str>| {
        let mut request = http().get(&url).query(query);
        if let Some(value) = header {
            request = request.header("metadata", value);
        }
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (status, body) = get(&good, Some("true")).await;
    assert_eq!(status, 200);
    assert!(body["expires_in"].is_string() && body["expires_on"].is_string());
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(
        directory.verify(token, ACR_AUDIENCE).unwrap()["oid"],
        reader.object_id
    );
    assert_eq!(get(&good, None).await.0, 400);
    for (name, value) in [
        ("api-version", "2017-01-01"),
        ("client_id", "nobody"),
        ("resource", ""),
    ] {
        let mut bad = good.clone();
        bad.insert(name, value);
        assert_eq!(get(&bad, Some("true")).await.0, 400, "{name}");
    }
}

#[tokio::test]
async fn a_vault_challenges_first_and_then_looks_at_audience_and_role() {
    let directory = Directory::default();
    let reader = directory.identity("reader");
    let vault = Vault::start_at(At::loopback(), &directory).await;
    vault.put("hub", "canary-hub");
    let url = vault.secret_url("hub") + "/?api-version=2025-07-01";
    let get = async |token: Option<String>| {
        let mut request = http().get(&url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };
    let challenged = get(None).await;
    assert_eq!(challenged.status(), 401);
    let challenge = challenged.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("resource=\"https://vault.azure.net\""),
        "{challenge}"
    );
    let token = |audience: &str| directory.token(TENANT, &reader.object_id, "x", audience);
    assert_eq!(get(Some(token(ACR_AUDIENCE))).await.status(), 401);
    assert_eq!(get(Some(token(VAULT_AUDIENCE))).await.status(), 403);
    vault.allow(&reader);
    let body: Value = get(Some(token(VAULT_AUDIENCE))).await.json().await.unwrap();
    assert_eq!(body["value"], "canary-hub");
}

#[tokio::test]
async fn the_issuer_of_an_assertion_is_asked_for_all_that_strict_libraries_want() {
    let (entra, issuer) = (Entra::start().await, Issuer::github().await);
    let application = entra.directory.application(TENANT, "partner");
    entra.directory.trust(
        &application,
        Credential {
            issuer: issuer.url(),
            subject: "me".to_owned(),
            audience: EXCHANGE_AUDIENCE.to_owned(),
            unheard: 0,
        },
    );
    let token = issuer.token(&json!({"sub": "me", "aud": EXCHANGE_AUDIENCE}));
    let (status, body) = post(
        &entra.token_url(TENANT),
        &assertion(&application.client_id, &token),
    )
    .await;
    let said = body["error_description"].as_str().unwrap();
    assert!(
        status == 401 && said.contains("no authorization_endpoint"),
        "{body}"
    );
    assert_eq!(issuer.discoveries(), 1);
}
