//! Promises of federated identities, against a token endpoint on loopback.

use std::{sync::Mutex, time::Duration};

use runtime::egress;

use super::*;
use crate::{
    mint::Minted,
    token_source::{
        azure, conformance,
        scripted::{Answer, Asked, Scripted, in_seconds, json, silence},
    },
};

const PARTNER: &str = "partner.azurecr.io";
const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";
const CANARY: &str = "canary-eyJhbGciOiJSUzI1NiJ9";

/// A control plane that numbers what it mints, or says no.
#[derive(Debug, Default)]
struct Control {
    asked: Mutex<Vec<Wanted>>,
    no: Option<mint::Error>,
}

#[async_trait]
impl Mint for Control {
    async fn mint(&self, wanted: &Wanted) -> Result<Minted, mint::Error> {
        if let Some(no) = &self.no {
            return Err(no.clone());
        }
        let mut asked = self.asked.lock().unwrap();
        asked.push(wanted.clone());
        let expires = WallTime(in_seconds(600) * 1000);
        Ok(Minted {
            token: Secret::new(format!("{CANARY}.{}", asked.len())),
            expires,
            refresh: expires,
        })
    }
}

fn assertion(control: &Arc<Control>) -> Assertion {
    Assertion::Mesh {
        mint: Arc::clone(control) as Arc<_>,
        rule: "shared".parse().unwrap(),
        identity: "partner".parse().unwrap(),
    }
}

fn client() -> egress::Client {
    let options = egress::Options {
        policy: egress::Policy::naming(["127.0.0.1"]),
        ..egress::Options::default()
    };
    options.build().unwrap()
}

fn endpoint(url: &str, flow: Flow, scope: &str, host: &str) -> Result<Endpoint, Error> {
    let scope = Some(scope.to_owned()).filter(|scope| !scope.is_empty());
    let says = (Some("client".to_owned()), scope);
    let by = (client(), Duration::from_millis(400));
    Endpoint::new(url, flow, says, host, by)
}

async fn rig(
    flow: Flow,
    answers: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
) -> (Tasks, Scripted, Arc<Control>, Config) {
    let tasks = Tasks::new("test");
    let server = Scripted::start(&tasks, answers).await;
    let control = Arc::new(Control::default());
    let endpoint = endpoint(&server.at("/tenant/token"), flow, wire::acr::SCOPE, PARTNER);
    let config = Config {
        assertion: assertion(&control),
        audience: EXCHANGE_AUDIENCE.to_owned(),
        endpoint: Some(endpoint.unwrap()),
        password_of: None,
    };
    (tasks, server, control, config)
}

fn granted() -> Answer {
    json(
        200,
        r#"{"token_type":"Bearer","expires_in":3599,"access_token":"foreign"}"#,
    )
}

async fn shown(source: &Federated) -> String {
    match source.proof().await.unwrap().proof {
        Proof::Token(token) => token.expose().clone(),
        Proof::Password { username, password } => {
            format!("{}:{}", username.expose(), password.expose())
        }
        Proof::None => unreachable!("something is shown"),
    }
}

#[tokio::test]
async fn a_client_assertion_becomes_the_foreign_token_once_for_many() {
    let (tasks, server, control, config) = rig(Flow::ClientAssertion, |_, _| granted()).await;
    let source = config.build(&Clock::system(), &tasks);
    conformance::check(&source).await;
    assert_eq!(shown(&source).await, "foreign");
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /tenant/token");
    assert_eq!(asked[0].header("authorization"), None);
    let type_ = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for (field, wanted) in [
        ("grant_type", "client_credentials"),
        ("client_id", "client"),
        ("client_assertion_type", type_),
        ("client_assertion", &format!("{CANARY}.1")),
        ("scope", wire::acr::SCOPE),
    ] {
        assert_eq!(asked[0].field(field).as_deref(), Some(wanted), "{field}");
    }
    let wanted = control.asked.lock().unwrap()[0].clone();
    assert_eq!(
        wanted.audience,
        Audience::Foreign(EXCHANGE_AUDIENCE.to_owned())
    );
    assert_eq!(
        (wanted.rule.as_str(), wanted.identity.as_str()),
        ("shared", "partner")
    );
}

#[tokio::test]
async fn a_token_exchange_gives_the_password_of_googles_user() {
    let pool =
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/v";
    let (tasks, server, _control, config) = rig(Flow::TokenExchange, |_, _| {
        json(200, r#"{"access_token":"ya29","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#)
    })
    .await;
    let config = Config {
        audience: pool.to_owned(),
        password_of: Some("oauth2accesstoken".to_owned()),
        ..config
    };
    let source = config.build(&Clock::system(), &tasks);
    conformance::check(&source).await;
    assert_eq!(shown(&source).await, "oauth2accesstoken:ya29");
    let asked = server.asked();
    assert_eq!(asked[0].header("authorization"), None);
    for (field, wanted) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("audience", pool),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", &format!("{CANARY}.1")),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
    ] {
        assert_eq!(asked[0].field(field).as_deref(), Some(wanted), "{field}");
    }
}

#[tokio::test]
async fn direct_shows_the_federation_token_itself() {
    let (tasks, control) = (Tasks::new("test"), Arc::new(Control::default()));
    let config = Config {
        assertion: assertion(&control),
        audience: "hub.sister.example".to_owned(),
        endpoint: None,
        password_of: None,
    };
    let source = config.build(&Clock::system(), &tasks);
    assert_eq!(shown(&source).await, format!("{CANARY}.1"));
    assert_eq!(shown(&source).await, format!("{CANARY}.1"));
    assert!(source.ends().unwrap().seconds() <= in_seconds(600));
    let asked = control.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].audience,
        Audience::Foreign("hub.sister.example".to_owned())
    );
}

#[tokio::test]
async fn an_azure_identity_may_stand_for_us() {
    let (tasks, server, control, config) = rig(Flow::ClientAssertion, |_, _| granted()).await;
    let machine = Scripted::start(&tasks, |_, _| {
        let until = in_seconds(600);
        json(200, &format!(r#"{{"access_token":"entra-a","expires_on":"{until}","resource":"r","token_type":"Bearer"}}"#))
    })
    .await;
    let made = Machine::with_imds_at(
        azure::Environment::default(),
        azure::ATTEMPT,
        Clock::system(),
        machine.url.clone(),
    );
    let id = Id {
        client_id: Some("umi".into()),
        ..Id::default()
    };
    let config = Config {
        assertion: Assertion::Azure {
            machine: made.unwrap(),
            id,
        },
        ..config
    };
    assert_eq!(
        shown(&config.build(&Clock::system(), &tasks)).await,
        "foreign"
    );
    assert_eq!(
        machine.asked()[0].query("resource").unwrap(),
        EXCHANGE_AUDIENCE
    );
    assert_eq!(
        server.asked()[0].field("client_assertion").unwrap(),
        "entra-a"
    );
    assert!(control.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_and_absence_are_told_apart_and_repeat_no_assertion() {
    let aad = |code: u32| {
        format!(
            r#"{{"error":"invalid_client","error_description":"AADSTS{code}: no match for {CANARY}.1","error_codes":[{code}]}}"#
        )
    };
    let busy = (429, vec![("retry-after", "30".to_owned())], String::new());
    let cases: Vec<(Answer, bool, &str, Option<u64>)> = vec![
        (json(401, &aad(70_021)), false, "AADSTS70021", None),
        (json(401, &aad(700_027)), true, "AADSTS700027", None),
        (
            json(400, r#"{"error":"invalid_grant"}"#),
            true,
            "invalid_grant",
            None,
        ),
        (json(403, "<html>forbidden"), true, "403", None),
        (busy, false, "429", Some(30)),
        (json(500, ""), false, "500", None),
        (json(200, "{}"), false, "200 without a token", None),
        (
            json(200, &"x".repeat(1_100_000)),
            false,
            "longer than 1 MiB",
            None,
        ),
        (silence(), false, "did not answer within 0.4 s", None),
    ];
    for (answer, refused, wanted, after) in cases {
        let (tasks, _server, _control, config) =
            rig(Flow::ClientAssertion, move |_, _| answer.clone()).await;
        let error = config
            .build(&Clock::system(), &tasks)
            .proof()
            .await
            .unwrap_err();
        assert_eq!(
            matches!(error, Error::Refused { .. }),
            refused,
            "{wanted}: {error:?}"
        );
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("the token service 127.0.0.1") && text.contains(wanted),
            "{wanted}: {text}"
        );
        assert!(!text.contains("canary"), "{text}");
        if let Error::Away { retry_after, .. } = error {
            assert_eq!(retry_after, after.map(Duration::from_secs), "{wanted}");
        }
    }
}

#[tokio::test]
async fn an_assertion_follows_no_redirect() {
    let tasks = Tasks::new("test");
    let thief = Scripted::start(&tasks, |_, _| granted()).await;
    for status in [302, 307, 308] {
        let to = thief.at("/token");
        let answers =
            move |_: usize, _: &Asked| (status, vec![("location", to.clone())], String::new());
        let (tasks, _server, _control, config) = rig(Flow::TokenExchange, answers).await;
        let error = config
            .build(&Clock::system(), &tasks)
            .proof()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not followed"), "{error}");
    }
    assert!(thief.asked().is_empty());
}

#[test]
fn an_assertion_goes_over_https_and_registries_tokens_go_to_registries() {
    let acr = wire::acr::SCOPE;
    let cases = [
        ("https://login.partner.example/t", acr, PARTNER, true),
        ("http://127.0.0.1:1/t", acr, PARTNER, true),
        ("http://login.partner.example/t", acr, PARTNER, false),
        ("https://login.partner.example/t", acr, "quay.io", false),
        ("https://login.partner.example/t", "", "quay.io", true),
        ("https://login.partner.example/t", "repo", "quay.io", true),
        ("nonsense", acr, PARTNER, false),
    ];
    for (url, scope, host, allowed) in cases {
        let made = endpoint(url, Flow::ClientAssertion, scope, host);
        assert_eq!(made.is_ok(), allowed, "{url} {scope} {host}");
    }
}

#[tokio::test]
async fn the_control_planes_no_and_its_absence_stay_what_they_are() {
    for (no, attached) in [
        (mint::Error::Refused("not this rule".into()), false),
        (mint::Error::Away("it is down".into()), true),
    ] {
        let (tasks, server, _control, config) = rig(Flow::ClientAssertion, |_, _| granted()).await;
        let control = Arc::new(Control {
            no: Some(no),
            ..Control::default()
        });
        let config = Config {
            assertion: assertion(&control),
            ..config
        };
        let error = config
            .build(&Clock::system(), &tasks)
            .proof()
            .await
            .unwrap_err();
        assert_eq!(matches!(error, Error::Away { .. }), attached, "{error:?}");
        assert!(server.lines().is_empty());
    }
}
