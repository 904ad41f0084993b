//! What is refused, what is away, and what never leaves: classes of answers, thieves, secrets, rules apart.

use super::*;
use crate::{secret::Unavailable, token_source};

#[tokio::test]
async fn each_answer_of_a_token_service_has_its_class() {
    use Refusal::{UpstreamDenied, UpstreamRateLimited, UpstreamUnauthorized, UpstreamUnavailable};
    // status, header, body, refused (else away), its name.
    let cases = [
        (
            401,
            "",
            r#"{"details":"incorrect"}"#,
            true,
            UpstreamUnauthorized,
        ),
        (403, "", "{}", true, UpstreamUnauthorized),
        (
            400,
            "",
            r#"{"error":"invalid_request"}"#,
            true,
            UpstreamUnauthorized,
        ),
        (429, "retry-after: 7", "slow", false, UpstreamRateLimited),
        (500, "", "<html>", false, UpstreamUnavailable),
        (503, "retry-after: 9", "", false, UpstreamUnavailable),
        (200, "", "<html>", false, UpstreamUnavailable),
        (200, "", "{}", false, UpstreamUnavailable),
        (
            307,
            "location: http://127.0.0.1:9/",
            "",
            false,
            UpstreamUnavailable,
        ),
        (
            401,
            "",
            r#"{"errors":[{"code":"DENIED"}]}"#,
            true,
            UpstreamDenied,
        ),
    ];
    for (status, header, body, refused, name) in cases {
        let rig = Rig::new().await;
        let mut config = rig.config();
        config.refusal_may_mean_missing = name == UpstreamDenied;
        let authenticator = rig.build(config, Anonymous);
        rig.service.then(status, header, body);
        let got = authenticator
            .challenged(&rig.challenge(), &scopes("a/a"), None)
            .await;
        match got.unwrap_err() {
            Error::Refused { refusal, .. } => {
                assert!(refused && refusal == name, "{status} {body}")
            }
            Error::Away {
                refusal,
                retry_after,
                ..
            } => {
                assert!(!refused && refusal == name, "{status} {body}");
                let wanted = header.strip_prefix("retry-after: ");
                let wanted = wanted.map(|s| Duration::from_secs(s.parse().unwrap()));
                assert_eq!(retry_after, wanted);
            }
        }
        assert_eq!(
            rig.service.seen().len(),
            1,
            "nothing is asked twice or followed"
        );
    }
}

#[tokio::test]
async fn what_a_token_service_repeats_of_a_password_is_not_passed_on() {
    let rig = Rig::new().await;
    rig.service.then(
        401,
        "",
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"robot may not use hunter2"}]}"#,
    );
    let got = rig
        .with_password()
        .challenged(&rig.challenge(), &scopes("a/a"), None)
        .await;
    let error = got.unwrap_err().to_string();
    assert!(
        error.contains("may not use [secret]") && !error.contains("hunter2"),
        "{error}"
    );
}

/// T48: a realm that is not the upstream's gets nothing, not even a connection, also when it was learnt before.
#[tokio::test]
async fn t48_a_realm_elsewhere_never_sees_a_credential() {
    let rig = Rig::new().await;
    let thief = Rig::new().await;
    let authenticator = rig.with_password();
    let at_the_thief = format!(
        r#"Bearer realm="http://{}/token",service="s""#,
        thief.address
    );
    for line in [
        at_the_thief.as_str(),
        r#"Bearer realm="http://169.254.169.254/token""#,
        r#"Bearer realm="https://evil.example/token""#,
        r#"Bearer realm="file:///etc/passwd""#,
    ] {
        let challenge = Challenge::parse([line]);
        let got = authenticator
            .challenged(&challenge, &scopes("a/a"), None)
            .await;
        let refused = matches!(
            got,
            Err(Error::Refused {
                refusal: Refusal::UpstreamRealmRefused,
                ..
            })
        );
        assert!(refused, "{line}: {got:?}");
        assert!(
            authenticator
                .authorize(&scopes("a/a"))
                .await
                .unwrap()
                .is_none()
        );
    }
    // A token service that redirects takes nothing along either.
    let location: &'static str = format!("location: http://{}/token", thief.address).leak();
    rig.service.then(307, location, "");
    let got = authenticator
        .challenged(&rig.challenge(), &scopes("a/a"), None)
        .await;
    assert!(matches!(got, Err(Error::Away { .. })));
    assert!(thief.service.seen().is_empty());
}

#[tokio::test]
async fn an_unreadable_secret_is_away_and_never_anonymous_but_a_token_in_hand_serves() {
    let rig = Rig::new().await;
    let source = Arc::new(Fixed::password("robot", "hunter2"));
    let away = || {
        Err(token_source::Error::Secret(Unavailable {
            place: "file /run/secrets/hub".into(),
            reason: "not found".into(),
        }))
    };
    let options = egress::Options {
        policy: egress::Policy::naming(["127.0.0.1"]),
        ..egress::Options::default()
    };
    let shared: Arc<dyn TokenSource> = Arc::<Fixed>::clone(&source);
    let authenticator = rig.config().build(
        shared,
        options.build().unwrap(),
        rig.clock.clone(),
        &rig.tasks,
    );
    let app = scopes("a/a");
    source.set(away());
    let error = authenticator.authorize(&app).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Away {
                refusal: Refusal::SecretUnavailable,
                ..
            }
        ),
        "{error}"
    );
    assert!(rig.service.seen().is_empty());
    source.set(Fixed::password("robot", "hunter2").proof().await);
    authenticator
        .challenged(&rig.challenge(), &app, None)
        .await
        .unwrap();
    source.set(away());
    let in_hand = authenticator.authorize(&app).await.unwrap().unwrap();
    assert_eq!(shown(&in_hand), "Bearer t1");
    rig.clock.advance(Duration::from_secs(300));
    assert!(authenticator.authorize(&app).await.is_err());
}

#[tokio::test]
async fn a_rotated_password_is_in_force_for_the_next_request() {
    let rig = Rig::new().await;
    let source = Arc::new(Fixed::password("robot", "old"));
    let options = egress::Options {
        policy: egress::Policy::naming(["127.0.0.1"]),
        ..egress::Options::default()
    };
    let shared: Arc<dyn TokenSource> = Arc::<Fixed>::clone(&source);
    let authenticator = rig.config().build(
        shared,
        options.build().unwrap(),
        rig.clock.clone(),
        &rig.tasks,
    );
    let app = scopes("a/a");
    authenticator
        .challenged(&rig.challenge(), &app, None)
        .await
        .unwrap();
    source.set(Ok(Presented {
        proof: Proof::Password {
            username: "robot".into(),
            password: "hunter2".into(),
        },
        version: 2,
    }));
    let next = authenticator.authorize(&app).await.unwrap().unwrap();
    assert_eq!(shown(&next), "Bearer t2");
    assert!(rig.service.seen()[1].ends_with(ROBOT));
}

#[tokio::test]
async fn two_rules_share_nothing() {
    let rig = Rig::new().await;
    let app = scopes("a/a");
    let (one, two) = (rig.with_password(), rig.anonymous());
    one.challenged(&rig.challenge(), &app, None).await.unwrap();
    assert!(two.authorize(&app).await.unwrap().is_none());
    let own = two.challenged(&rig.challenge(), &app, None).await.unwrap();
    assert_eq!(shown(&own), "Bearer t2");
}
