//! A device flow from its beginning to its end, with an issuer on loopback, and with issuers that mean no good.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use runtime::{Tasks, listener};
use serde_json::{Value, json};

use super::*;

/// What the issuer answers, and what it was asked.
#[derive(Default)]
struct Script {
    discovery: Option<Value>,
    begun: Option<(u16, String)>,
    polled: Vec<(u16, Value)>,
    redirect: bool,
    asked: Vec<Asked>,
}

/// Where, with which `Authorization`, with which form.
type Asked = (String, String, Vec<(String, String)>);

struct Issuer {
    script: Arc<Mutex<Script>>,
    url: String,
    _tasks: Tasks,
}

type Shared = State<Arc<Mutex<Script>>>;

async fn discovery(State(script): Shared) -> Response {
    let script = script.lock().unwrap();
    if script.redirect {
        let to = [(header::LOCATION, "http://127.0.0.1:1/elsewhere")];
        return (StatusCode::FOUND, to).into_response();
    }
    script
        .discovery
        .clone()
        .unwrap()
        .to_string()
        .into_response()
}

fn note(script: &mut Script, at: &str, headers: &HeaderMap, body: &str) {
    let form = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map_or("", |value| value.to_str().unwrap());
    script
        .asked
        .push((at.to_owned(), authorization.to_owned(), form));
}

async fn authorize(State(script): Shared, headers: HeaderMap, body: String) -> Response {
    let mut script = script.lock().unwrap();
    note(&mut script, "device", &headers, &body);
    let (status, body) = script.begun.clone().unwrap();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

async fn token(State(script): Shared, headers: HeaderMap, body: String) -> Response {
    let mut script = script.lock().unwrap();
    note(&mut script, "token", &headers, &body);
    let (status, body) = script.polled.remove(0);
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

async fn issuer() -> Issuer {
    let script = Arc::new(Mutex::new(Script::default()));
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/device", post(authorize))
        .route("/token", post(token))
        .with_state(Arc::clone(&script));
    let tasks = Tasks::new("issuer");
    let bound = listener::bind(listener::Config::new(([127, 0, 0, 1], 0).into()));
    let bound = bound.await.unwrap();
    let url = format!("http://{}", bound.local_addr());
    bound.serve(router, &tasks);
    {
        let mut script = script.lock().unwrap();
        script.discovery = Some(json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "device_authorization_endpoint": format!("{url}/device"),
            "token_endpoint": format!("{url}/token"),
        }));
        let begun = json!({"device_code": "canary-device-code", "user_code": "WDJB-MJHT", "interval": 5,
            "verification_uri": "https://corp.example/device", "expires_in": 300});
        script.begun = Some((200, begun.to_string()));
    }
    Issuer {
        script,
        url,
        _tasks: tasks,
    }
}

impl Issuer {
    fn topology(&self, more: &str) -> Topology {
        let text = format!(
            "version: 1\nmesh: one\nnodes:\n  dev: {{endpoint: 'http://127.0.0.1:5000'}}\n\
             issuers:\n  corp: {{url: '{}', clientId: regmesh-cli{more}}}\n  robots: {{url: 'https://robots.example'}}\n",
            self.url
        );
        let loaded = topology::load(&[("t.yaml".to_owned(), text)]);
        loaded.expect("valid").topology
    }

    fn says(&self, status: u16, body: Value) {
        self.script.lock().unwrap().polled.push((status, body));
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }
}

fn devices() -> (Devices, Clock) {
    let clock = Clock::manual(1_700_000_000_000);
    let secrets = Secrets::new(|name| (name == "CORP").then(|| "canary/secret".to_owned()));
    let kept = Kept::in_memory(&clock);
    (Devices::new(kept, secrets, &clock), clock)
}

fn here() -> IpAddr {
    [127, 0, 0, 1].into()
}

/// `seconds` to wait, the token, which ends it, or the error.
async fn stands(devices: &Devices, id: &str, topology: &Topology) -> Result<String, Error> {
    Ok(match devices.poll(id, Some(topology)).await? {
        Standing::Waiting(seconds) => seconds.to_string(),
        Standing::Done(issuer, token) => {
            assert_eq!(devices.end(id).await, Ok(true));
            format!("{issuer} {}", token.expose())
        }
    })
}

#[tokio::test]
async fn a_person_types_a_code_and_the_issuer_is_asked_at_its_own_pace_until_they_did() {
    let issuer = issuer().await;
    let (topology, (devices, clock)) = (issuer.topology(", clientSecret: {env: CORP}"), devices());
    assert_eq!(offered(Some(&topology)), ["corp".parse().unwrap()]);
    let begun = devices
        .begin("corp", here(), Some(&topology))
        .await
        .unwrap();
    assert_eq!(begun.user_code, "WDJB-MJHT");
    assert_eq!(begun.verification_uri, "https://corp.example/device");
    assert_eq!(
        (begun.interval, begun.expires_at),
        (5, WallTime(1_700_000_300_000))
    );
    assert!(begun.id.len() >= 43);
    let (_, authorization, form) = issuer.asked().remove(0);
    assert_eq!(authorization, "Basic cmVnbWVzaC1jbGk6Y2FuYXJ5JTJGc2VjcmV0");
    assert_eq!(form[0], ("scope".to_owned(), "openid".to_owned()));

    let early = stands(&devices, &begun.id, &topology).await;
    assert_eq!((early, issuer.asked().len()), (Ok("5".to_owned()), 0));
    issuer.says(400, json!({"error": "authorization_pending"}));
    issuer.says(400, json!({"error": "slow_down"}));
    issuer.says(503, json!({}));
    issuer.says(200, json!({"id_token": "a.b.c", "access_token": "canary"}));
    let seconds = Duration::from_secs;
    clock.advance(seconds(5));
    assert_eq!(stands(&devices, &begun.id, &topology).await, Ok("5".into()));
    clock.advance(seconds(5));
    assert_eq!(
        stands(&devices, &begun.id, &topology).await,
        Ok("10".into())
    );
    clock.advance(seconds(5));
    assert_eq!(
        stands(&devices, &begun.id, &topology).await,
        Ok("5".into()),
        "slower"
    );
    clock.advance(seconds(5));
    let away = stands(&devices, &begun.id, &topology).await;
    assert!(matches!(away, Err(Error::Away { .. })), "{away:?}");
    clock.advance(seconds(10));
    let done = stands(&devices, &begun.id, &topology).await;
    assert_eq!(done, Ok("corp a.b.c".into()));
    let again = stands(&devices, &begun.id, &topology).await;
    assert_eq!(again, Err(Error::Ended), "once");
    let asked = issuer.asked();
    assert_eq!(asked.len(), 4);
    for (at, _, form) in asked {
        assert_eq!(at, "token");
        assert_eq!(
            form[1],
            ("device_code".to_owned(), "canary-device-code".to_owned())
        );
    }
}

#[tokio::test]
async fn a_flow_ends_as_the_person_the_clock_or_the_operator_says() {
    let issuer = issuer().await;
    let (topology, (devices, clock)) = (issuer.topology(""), devices());
    let begin = async || {
        devices
            .begin("corp", here(), Some(&topology))
            .await
            .unwrap()
            .id
    };
    for (word, expected) in [
        ("access_denied", Error::Denied),
        ("expired_token", Error::Ended),
    ] {
        let id = begin().await;
        issuer.says(400, json!({"error": word}));
        clock.advance(Duration::from_secs(5));
        assert_eq!(stands(&devices, &id, &topology).await, Err(expected));
        assert_eq!(stands(&devices, &id, &topology).await, Err(Error::Ended));
    }
    let late = begin().await;
    clock.advance(Duration::from_secs(300));
    assert_eq!(stands(&devices, &late, &topology).await, Err(Error::Ended));
    let id = begin().await;
    issuer.asked();
    let mut elsewhere = topology.clone();
    let corp = elsewhere
        .issuers
        .get_mut(&"corp".parse::<IssuerName>().unwrap());
    let corp = corp.unwrap();
    corp.url = "http://127.0.0.1:1".to_owned();
    clock.advance(Duration::from_secs(5));
    assert_eq!(stands(&devices, &id, &elsewhere).await, Err(Error::Ended));
    assert_eq!(
        stands(&devices, "made-up", &topology).await,
        Err(Error::Ended)
    );
    assert!(issuer.asked().is_empty(), "nothing was sent on");
    for name in ["robots", "nobody", "\u{1b}[31m"] {
        let refused = devices.begin(name, here(), Some(&topology)).await;
        let Err(error @ Error::NoIssuer(_)) = refused.map(drop) else {
            panic!("{name} is offered")
        };
        assert!(!error.to_string().contains('\u{1b}'));
    }
    assert!(matches!(
        devices.begin("corp", here(), None).await.map(drop),
        Err(Error::NoIssuer(_))
    ));
}

#[tokio::test]
async fn an_issuer_that_means_no_good_gets_nothing_and_gives_nothing() {
    let issuer = issuer().await;
    let (topology, (devices, clock)) = (issuer.topology(", clientSecret: {env: CORP}"), devices());
    let begin = async || {
        let begun = devices.begin("corp", here(), Some(&topology)).await;
        match begun.map(drop) {
            Err(Error::Refused { why, .. } | Error::Away { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    issuer.script.lock().unwrap().redirect = true;
    assert!(begin().await.contains("302"));
    issuer.script.lock().unwrap().redirect = false;
    let good = issuer.script.lock().unwrap().discovery.clone().unwrap();
    // Addresses where nothing but harm is: metadata services, and this machine under a name that the operator did not write.
    for at in [
        "http://169.254.169.254/device",
        "http://[::1]:9/device",
        "http://10.1.2.3/device",
    ] {
        let mut bad = good.clone();
        bad["device_authorization_endpoint"] = at.into();
        issuer.script.lock().unwrap().discovery = Some(bad);
        begin().await;
    }
    let mut other = good.clone();
    other["issuer"] = "https://evil.example".into();
    issuer.script.lock().unwrap().discovery = Some(other);
    assert!(begin().await.contains("evil.example"));
    assert!(issuer.asked().is_empty(), "no secret moved");
    issuer.script.lock().unwrap().discovery = Some(good);
    for (status, body) in [
        (200, "x".repeat(300 << 10)),
        (200, "<html>".to_owned()),
        (200, r#"{"device_code":"a","user_code":"\u001b[2J","verification_uri":"https://c.example/"}"#.to_owned()),
        (302, String::new()),
        (400, r#"{"error":"invalid_client","error_description":"who\u001b[31m?"}"#.to_owned()),
    ] {
        issuer.script.lock().unwrap().begun = Some((status, body));
        let why = begin().await;
        assert!(!why.contains('\u{1b}') && why.len() < 1_000, "{why}");
        assert!(!why.contains("canary"), "{why}");
    }
    let begun =
        json!({"device_code": "d", "user_code": "A", "verification_uri": "https://corp.example/"});
    issuer.script.lock().unwrap().begun = Some((200, begun.to_string()));
    for answer in [
        json!({"access_token": "x"}),
        json!("a.b.c"),
        json!({"id_token": 7}),
    ] {
        let id = devices
            .begin("corp", here(), Some(&topology))
            .await
            .unwrap()
            .id;
        issuer.says(200, answer);
        clock.advance(Duration::from_secs(5));
        let refused = stands(&devices, &id, &topology).await;
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
        clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_session_comes_of_an_id_token_of_the_very_issuer_and_of_no_other() {
    use super::super::{Error as SignInError, Outcome, SignIn, oidc};
    let (issuer, clock, tasks) = (
        issuer().await,
        Clock::manual(1_700_000_000_000),
        Tasks::new("test"),
    );
    let topology = Arc::new(issuer.topology(""));
    let key = Secret::new(vec![7; 32]);
    let (admin, flows) = (Secret::from("admin"), Kept::in_memory(&clock));
    // Two control planes over one state.
    let [sign_in, other] = [(); 2].map(|()| {
        let (secrets, oidc) = (Secrets::new(|_| None), oidc::fake::oidc(&clock));
        SignIn::new(&admin, &key, secrets, oidc, flows.clone(), &clock, &tasks).unwrap()
    });
    let claims = |exp: i64| json!({"sub": "me", "exp": exp, "person": true});
    let ahead = 1_700_009_000;
    let cases = [
        ("robots", claims(ahead), "another issuer's"),
        ("nobody", claims(ahead), "not valid"),
        ("corp", claims(1_600_000_000), "not valid"),
        ("corp", claims(ahead), "issuer:corp:me"),
    ];
    for (name, claims, expected) in cases {
        let begun = sign_in.begin("corp", here(), Some(&topology)).await;
        let id = begun.map(|begun| begun.id).unwrap_or_default();
        let token = oidc::fake::token(name, &claims);
        issuer.says(200, json!({"id_token": token.expose()}));
        clock.advance(Duration::from_secs(5));
        let text = match other.outcome(&id, Some(&topology)).await {
            Ok(Outcome::In { who, signed_in, .. }) => {
                let session = Secret::new(signed_in.token);
                let caller = sign_in.caller(Some(&session), Some(&topology)).await;
                assert_eq!(caller.map(|caller| caller.who).ok(), Some(who.clone()));
                who
            }
            Ok(Outcome::Waiting(_)) => "waiting".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expected), "{name} {claims}: {text}");
        let again = sign_in.outcome(&id, Some(&topology)).await.err();
        assert!(
            matches!(again, Some(SignInError::Device(Error::Ended))),
            "{name}"
        );
    } // The issuer gives its token once, and its keys are away just then.
    let begun = sign_in
        .begin("corp", here(), Some(&topology))
        .await
        .unwrap();
    let late = json!({"sub": "me", "exp": ahead, "person": true, "away": 1_700_000_060});
    issuer.says(
        200,
        json!({"id_token": oidc::fake::token("corp", &late).expose()}),
    );
    clock.advance(Duration::from_secs(5));
    for each in [&sign_in, &other, &sign_in] {
        let away = each.outcome(&begun.id, Some(&topology)).await.err();
        assert!(matches!(away, Some(SignInError::Oidc(_))), "{away:?}");
    }
    clock.advance(Duration::from_secs(60));
    let came = other.outcome(&begun.id, Some(&topology)).await;
    assert!(matches!(came, Ok(Outcome::In { .. })));
    let again = sign_in.outcome(&begun.id, Some(&topology)).await.err();
    let ended = matches!(again, Some(SignInError::Device(Error::Ended)));
    assert!(ended, "once");
}
