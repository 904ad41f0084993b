//! Who a token says one is, what ends a session, and whose roles count where.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::error::{Error as Refusal, Refused};
use serde_json::json;
use wire::assignment::Role;

use super::*;

const ADMIN: &str = "an-admin-token-of-more-than-32-characters";

fn topology(accounts: &str, access: &str) -> Arc<Topology> {
    let text = format!(
        "version: 1\nmesh: one\nnodes:\n  dev: {{endpoint: 'http://127.0.0.1:5000'}}\n  prod: {{endpoint: 'http://127.0.0.1:5001'}}\n\
         identities:\n  promoter: {{kind: managed, on: [prod]}}\naccounts: {accounts}\naccess: {access}\n"
    );
    let loaded = topology::load(&[("test.yaml".into(), text)]);
    Arc::new(loaded.expect("valid").topology)
}

fn both() -> Arc<Topology> {
    topology(
        "{ci: {password: {env: CI}}, ops: {password: {env: OPS}}}",
        "[{allow: cache-rule-administrator, to: 'account:ci'}, {allow: identity-user, to: 'account:ci', identities: [promoter]},\
          {allow: node-enroller, to: 'account:ci', on: dev}, {allow: mesh-reader, to: authenticated}, \
          {allow: mesh-administrator, to: 'account:ops'}]",
    )
}

struct Rig {
    sign_in: SignIn,
    clock: Clock,
    password: Arc<Mutex<String>>,
    _tasks: Tasks,
}

fn rig() -> Rig {
    let (clock, tasks) = (Clock::manual(1_000_000), Tasks::new("test"));
    let password = Arc::new(Mutex::new("correct horse".to_owned()));
    let current = Arc::clone(&password);
    let secrets = Secrets::new(move |_| Some(current.lock().unwrap().clone()));
    let key = Secret::new(vec![7; 32]);
    let oidc = oidc::fake::oidc(&clock);
    let (admin, flows) = (Secret::from(ADMIN), Kept::in_memory(&clock));
    let sign_in = SignIn::new(&admin, &key, secrets, oidc, flows, &clock, &tasks).unwrap();
    Rig {
        sign_in,
        clock,
        password,
        _tasks: tasks,
    }
}

impl Rig {
    async fn session(&self, account: &str, topology: &Arc<Topology>) -> Secret {
        let address = "127.0.0.1".parse().unwrap();
        let password = Secret::from("correct horse");
        let signed = self
            .sign_in
            .sign_in(account, &password, address, Some(topology));
        Secret::new(signed.await.unwrap().1.token)
    }

    async fn caller(&self, token: &Secret, topology: &Arc<Topology>) -> Result<Caller, Error> {
        self.sign_in.caller(Some(token), Some(topology)).await
    }
}

#[tokio::test]
async fn the_admin_token_may_everything_and_another_nothing() {
    let rig = rig();
    let admin = rig
        .sign_in
        .caller(Some(&Secret::from(ADMIN)), None)
        .await
        .unwrap();
    assert!(admin.is_administrator() && admin.has(&[Role::MeshReader]) && admin.may_use("any"));
    assert_eq!(admin.who, "admin-token");
    for wrong in [
        "",
        "an-admin-token",
        "regmesh-session.v1.",
        "regmesh-session.v1.e30.AAAA",
        "a.b.c",
    ] {
        let refused = rig.sign_in.caller(Some(&Secret::from(wrong)), None).await;
        assert!(matches!(refused, Err(Error::Token)), "{wrong}");
    }
    let nobody = rig.sign_in.caller(None, Some(&both())).await.unwrap();
    assert!(!nobody.is_known() && nobody.roles.is_empty());
}

#[tokio::test]
async fn a_session_has_the_roles_of_its_account_where_they_were_given() {
    let (rig, topology) = (rig(), both());
    let ci = rig
        .caller(&rig.session("ci", &topology).await, &topology)
        .await
        .unwrap();
    assert_eq!(ci.who, "account:ci");
    assert!(ci.has(&[Role::CacheRuleAdministrator]) && ci.has(&[Role::MeshReader]));
    assert!(!ci.has(&[Role::CredentialSetAdministrator]) && !ci.is_administrator());
    assert!(ci.may_use("promoter") && !ci.may_use("other"));
    let on = |node: &str| ci.has_on(Role::NodeEnroller, &node.parse().unwrap(), Some(&topology));
    assert!(on("dev") && !on("prod") && !on("none"));
    let ops = rig
        .caller(&rig.session("ops", &topology).await, &topology)
        .await
        .unwrap();
    assert!(ops.is_administrator());
}

#[tokio::test]
async fn a_session_ends_with_its_time_its_account_and_its_password() {
    let (rig, topology) = (rig(), both());
    let token = rig.session("ci", &topology).await;
    assert!(rig.caller(&token, &topology).await.is_ok());
    let without = self::topology("{ops: {password: {env: OPS}}}", "[]");
    assert!(matches!(
        rig.caller(&token, &without).await,
        Err(Error::Token)
    ));
    "another".clone_into(&mut rig.password.lock().unwrap());
    assert!(matches!(
        rig.caller(&token, &topology).await,
        Err(Error::Token)
    ));
    "correct horse".clone_into(&mut rig.password.lock().unwrap());
    rig.clock.advance(LIFE);
    assert!(matches!(
        rig.caller(&token, &topology).await,
        Err(Error::Token)
    ));
}

#[tokio::test]
async fn a_session_of_another_key_or_with_other_words_is_none() {
    let (mine, topology) = (rig(), both());
    let token = mine.session("ci", &topology).await;
    let content = token.expose().strip_prefix(PREFIX).unwrap();
    let (content, tag) = content.split_once('.').unwrap();
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(content).unwrap()).unwrap();
    let raised = URL_SAFE_NO_PAD.encode(text.replace("\"ci\"", "\"ops\""));
    let forged = Secret::new(format!("{PREFIX}{raised}.{tag}"));
    assert!(matches!(
        mine.caller(&forged, &topology).await,
        Err(Error::Token)
    ));
    assert!(
        !text.contains("correct horse"),
        "a session shows no password: {text}"
    );
    let tasks = Tasks::new("other");
    let key = Secret::new(vec![8; 32]);
    let secrets = Secrets::new(|_| Some("correct horse".to_owned()));
    let oidc = oidc::fake::oidc(&mine.clock);
    let other = SignIn::new(
        &Secret::from(ADMIN),
        &key,
        secrets,
        oidc,
        Kept::in_memory(&mine.clock),
        &mine.clock,
        &tasks,
    )
    .unwrap();
    let refused = other.caller(Some(&token), Some(&topology)).await;
    assert!(matches!(refused, Err(Error::Token)));
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let (rig, topology) = (rig(), both());
    let address = "192.0.2.1".parse().unwrap();
    let mut last = None;
    for n in 0..12 {
        let guess = Secret::new(format!("guess {n}"));
        last = rig
            .sign_in
            .sign_in("ci", &guess, address, Some(&topology))
            .await
            .err();
        if n == 0 {
            assert!(matches!(last, Some(Refusal::Refused(Refused::Password))));
        }
    }
    assert!(matches!(last, Some(Refusal::TooOften { .. })));
}

fn with_issuers(issuers: &str) -> Arc<Topology> {
    let text = format!(
        "version: 1\nmesh: one\nnodes:\n  dev: {{endpoint: 'http://127.0.0.1:5000'}}\n  prod: {{endpoint: 'http://127.0.0.1:5001'}}\n\
         issuers: {issuers}\naccess:\n\
         - {{allow: mesh-reader, to: {{issuer: corp, claims: {{groups: ops}}}}}}\n\
         - {{allow: node-enroller, to: {{issuer: corp, claims: {{sub: me}}}}, on: dev}}\n"
    );
    let loaded = topology::load(&[("test.yaml".into(), text)]);
    Arc::new(loaded.expect("valid").topology)
}

const CORP: &str = "{corp: {url: 'https://corp.example', clientId: c}}";

#[tokio::test]
async fn an_issuers_token_is_who_it_says_with_the_roles_that_its_claims_have_until_it_ends() {
    let (rig, topology) = (rig(), with_issuers(CORP));
    let claims = json!({"sub": "me", "groups": ["dev", "ops"], "exp": 1_100});
    let token = oidc::fake::token("corp", &claims);
    let me = rig.caller(&token, &topology).await.unwrap();
    assert_eq!(me.who, "issuer:corp:me");
    assert_eq!(me.until, Some(WallTime(1_100_000)));
    assert!(me.has(&[Role::MeshReader]) && !me.is_administrator());
    let on = |node: &str| me.has_on(Role::NodeEnroller, &node.parse().unwrap(), Some(&topology));
    assert!(on("dev") && !on("prod"));
    let other = oidc::fake::token("corp", &json!({"sub": "you", "exp": 1_100}));
    let other = rig.caller(&other, &topology).await.unwrap();
    assert!(other.is_known() && other.roles.is_empty());
    let strange = oidc::fake::token("other", &claims);
    let away = oidc::fake::token("corp", &json!({"sub": "me", "exp": 1_100, "away": true}));
    for (token, expected) in [(&strange, "refused"), (&away, "away")] {
        let found = match rig.caller(token, &topology).await {
            Err(Error::Oidc(oidc::Error::Refused(_))) => "refused",
            Err(Error::Oidc(oidc::Error::Away(_))) => "away",
            found => panic!("{found:?}"),
        };
        assert_eq!(found, expected);
    }
    let of_a_person = json!({"sub": "me", "groups": ["ops"], "exp": 1_100, "person": true});
    let of_a_person = oidc::fake::token("corp", &of_a_person);
    let refused = rig.caller(&of_a_person, &topology).await;
    assert!(
        matches!(refused, Err(Error::Oidc(oidc::Error::Person))),
        "nodes see ID tokens, too"
    );
    let listed = with_issuers("{corp: {url: 'https://corp.example', clientId: c, audience: c}}");
    assert!(rig.caller(&of_a_person, &listed).await.is_ok());
    let gone =
        with_issuers("{corp: {url: 'https://corp.example'}, more: {url: 'https://x.example'}}");
    assert!(
        rig.caller(&token, &gone).await.is_ok(),
        "declared as before"
    );
    rig.clock.advance(Duration::from_secs(100));
    let late = rig.caller(&token, &topology).await;
    assert!(matches!(late, Err(Error::Oidc(oidc::Error::Refused(_)))));
}

#[tokio::test]
async fn a_persons_session_ends_with_the_issuer_as_it_was_declared_and_after_eight_hours() {
    let (rig, topology) = (rig(), with_issuers(CORP));
    let content = |url: &str| Content::Person {
        issuer: "corp".parse().unwrap(),
        until: WallTime(rig.clock.wall_ms()).plus(LIFE),
        url: url.to_owned(),
        claims: Arc::new(
            json!({"sub": "me", "groups": "ops"})
                .as_object()
                .unwrap()
                .clone(),
        ),
    };
    let session = |content: &Content| Secret::new(rig.sign_in.0.sessions.write(content));
    let token = session(&content("https://corp.example"));
    let me = rig.caller(&token, &topology).await.unwrap();
    assert_eq!(
        (me.who.as_str(), me.has(&[Role::MeshReader])),
        ("issuer:corp:me", true)
    );
    for other in [
        "{corp: {url: 'https://new.example', clientId: c}}",
        "{corp2: {url: 'https://corp.example', clientId: c}, corp: {url: 'https://corp.example/'}}",
    ] {
        let refused = rig.caller(&token, &with_issuers(other)).await;
        assert!(matches!(refused, Err(Error::Token)), "{other}");
    }
    rig.clock.advance(LIFE);
    assert!(matches!(
        rig.caller(&token, &topology).await,
        Err(Error::Token)
    ));
}
