//! An identity's token at a node or an ACR: one exchange, a token for each scope, what a refusal costs, and where nothing goes.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::token_source;

const CANARY: &str = "canary-grant-7f3a";

/// Shows the canary; after a refusal the canary of the next version, as often as it was told.
#[derive(Debug, Default)]
struct Identity {
    spare: AtomicUsize,
    refused: AtomicUsize,
    away: Mutex<Option<token_source::Error>>,
}

#[async_trait]
impl TokenSource for Identity {
    fn kind(&self) -> &'static str {
        "managed"
    }

    async fn proof(&self) -> Result<Presented, token_source::Error> {
        if let Some(error) = self.away.lock().unwrap().clone() {
            return Err(error);
        }
        let version = self.refused.load(Ordering::SeqCst) as u64 + 1;
        Ok(Presented {
            proof: Proof::Token(Secret::new(format!("{CANARY}-{version}"))),
            version,
        })
    }

    async fn refused(&self, version: u64) {
        let has_spare = self
            .spare
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if has_spare.is_ok() {
            self.refused.store(version as usize, Ordering::SeqCst);
        }
    }
}

impl Rig {
    fn as_identity(&self, spare: usize) -> (Authenticator, Arc<Identity>) {
        let source = Arc::new(Identity::default());
        source.spare.store(spare, Ordering::SeqCst);
        let options = egress::Options {
            policy: egress::Policy::naming(["127.0.0.1"]),
            ..egress::Options::default()
        };
        let shared: Arc<dyn TokenSource> = Arc::<Identity>::clone(&source);
        let client = options.build().unwrap();
        let authenticator = self
            .config()
            .build(shared, client, self.clock.clone(), &self.tasks);
        (authenticator, source)
    }

    fn at_a_node(&self) -> Vec<Challenge> {
        let line = format!(
            r#"Bearer realm="http://{}/oauth2/token",service="hub.test""#,
            self.address
        );
        Challenge::parse([line.as_str()])
    }

    fn paths(&self) -> Vec<String> {
        let seen = self.service.seen();
        let path = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
        seen.iter().map(path).collect()
    }

    fn exchanges(&self) -> usize {
        let paths = self.paths();
        paths.iter().filter(|p| *p == "/oauth2/exchange").count()
    }
}

fn refusal(error: Error) -> (Refusal, Option<u16>, String) {
    match error {
        Error::Refused {
            refusal,
            detail,
            status,
        } => (refusal, status, detail),
        away @ Error::Away { .. } => unreachable!("{away}"),
    }
}

#[tokio::test]
async fn a_token_is_exchanged_once_and_then_costs_one_call_for_each_scope_and_none_when_warm() {
    let rig = Rig::new().await;
    let (authenticator, _) = rig.as_identity(0);
    let first = authenticator
        .challenged(&rig.at_a_node(), &scopes("team/app"), None)
        .await;
    assert_eq!(shown(&first.unwrap()), "Bearer t2");
    let other = authenticator.authorize(&scopes("team/other")).await;
    assert_eq!(shown(&other.unwrap().unwrap()), "Bearer t3");
    let warm = authenticator.authorize(&scopes("team/app")).await;
    assert!(warm.unwrap().unwrap().cached);
    assert_eq!(
        rig.service.seen(),
        [
            "POST /oauth2/exchange grant_type=access_token&service=hub.test&access_token=canary-grant-7f3a-1",
            "POST /oauth2/token grant_type=refresh_token&refresh_token=r1&client_id=regmesh&scope=repository%3Ateam%2Fapp%3Apull&service=hub.test",
            "POST /oauth2/token grant_type=refresh_token&refresh_token=r1&client_id=regmesh&scope=repository%3Ateam%2Fother%3Apull&service=hub.test",
        ]
    );
}

#[tokio::test]
async fn a_thousand_at_once_for_many_repositories_cost_one_exchange() {
    let rig = Rig::new().await;
    let (authenticator, _) = rig.as_identity(0);
    let challenge = rig.at_a_node();
    let repositories: Vec<_> = (0..250).map(|n| scopes(&format!("team/r{n}"))).collect();
    let asks =
        (0..1_000).map(|n| authenticator.challenged(&challenge, &repositories[n % 250], None));
    for got in futures_util::future::join_all(asks).await {
        got.unwrap();
    }
    assert_eq!((rig.exchanges(), rig.paths().len()), (1, 251));
}

/// ACR says no `expires_in`: the token says when it ends.
#[tokio::test]
async fn an_acrs_token_lives_as_long_as_it_says_itself() {
    let rig = Rig::new().await;
    let (authenticator, _) = rig.as_identity(0);
    let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1800004500}"#);
    let jwt = format!("e30.{claims}.c2ln");
    rig.service.then(200, "", r#"{"refresh_token":"acr"}"#);
    rig.service
        .then(200, "", &format!(r#"{{"access_token":"{jwt}"}}"#));
    let app = scopes("team/app");
    authenticator
        .challenged(&rig.at_a_node(), &app, None)
        .await
        .unwrap();
    rig.clock.advance(Duration::from_secs(2_249));
    let warm = authenticator.authorize(&app).await.unwrap().unwrap();
    assert_eq!(shown(&warm), format!("Bearer {jwt}"));
    assert_eq!(rig.paths().len(), 2);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_taken_costs_one_new_exchange() {
    let rig = Rig::new().await;
    let (authenticator, source) = rig.as_identity(1);
    let challenge = rig.at_a_node();
    authenticator
        .challenged(&challenge, &scopes("a/a"), None)
        .await
        .unwrap();
    rig.service.then(401, "", r#"{"error":"invalid_grant"}"#);
    let next = authenticator.authorize(&scopes("b/b")).await;
    assert_eq!(shown(&next.unwrap().unwrap()), "Bearer t5");
    assert_eq!(rig.exchanges(), 2);
    // A fresh one that is not taken is no reason for a third.
    rig.service.then(400, "", "{}");
    rig.service.then(200, "", r#"{"refresh_token":"r"}"#);
    rig.service
        .then(403, "", r#"{"errors":[{"code":"DENIED","message":"no"}]}"#);
    let error = authenticator.authorize(&scopes("c/c")).await.unwrap_err();
    let (name, status, _) = refusal(error);
    assert_eq!((name, status), (Refusal::UpstreamUnauthorized, Some(403)));
    assert_eq!(rig.exchanges(), 3);
    assert_eq!(source.refused.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refused_proof_is_asked_for_anew_once() {
    let rig = Rig::new().await;
    let (authenticator, _) = rig.as_identity(1);
    rig.service
        .then(401, "", r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
    let app = scopes("team/app");
    let got = authenticator.challenged(&rig.at_a_node(), &app, None).await;
    assert_eq!(shown(&got.unwrap()), "Bearer t3");
    assert!(rig.service.seen()[1].ends_with("access_token=canary-grant-7f3a-2"));
    let warm = authenticator.authorize(&app).await.unwrap().unwrap();
    assert!(warm.cached, "what the second proof gave is found again");

    let rig = Rig::new().await;
    let (authenticator, _) = rig.as_identity(1);
    for _ in 0..2 {
        let words =
            format!(r#"{{"errors":[{{"code":"DENIED","message":"{CANARY}-2 is withdrawn"}}]}}"#);
        rig.service.then(401, "", &words);
    }
    let error = authenticator.challenged(&rig.at_a_node(), &app, None).await;
    let (name, status, detail) = refusal(error.unwrap_err());
    assert_eq!((name, status), (Refusal::UpstreamUnauthorized, Some(401)));
    assert!(detail.contains("[secret] is withdrawn"), "{detail}");
    assert_eq!(rig.paths().len(), 2);
}

/// Whoever gives proofs is not asked for another one on account of a refusal that is not about the proof; the words are told.
#[tokio::test]
async fn a_refusal_that_no_other_proof_mends_costs_none() {
    for (status, body) in [
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"not from there","detail":{"refusal":"NETWORK_REFUSED"}}]}"#,
        ),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"not from there"}]}"#,
        ),
        (
            400,
            r#"{"errors":[{"code":"UNSUPPORTED","message":"not from there"}],"error":"invalid_target"}"#,
        ),
    ] {
        let rig = Rig::new().await;
        let (authenticator, source) = rig.as_identity(1);
        rig.service.then(status, "", body);
        let got = authenticator
            .challenged(&rig.at_a_node(), &scopes("a/a"), None)
            .await;
        let error = got.unwrap_err();
        assert!(error.to_string().contains("not from there"), "{error}");
        assert_eq!(rig.exchanges(), 1, "{body}");
        assert_eq!(source.refused.load(Ordering::SeqCst), 0, "{body}");
    }
}

#[tokio::test]
async fn each_answer_of_an_exchange_has_its_class() {
    use Refusal::{
        NetworkRefused, UpstreamDenied, UpstreamRateLimited, UpstreamUnauthorized,
        UpstreamUnavailable,
    };
    let network =
        r#"{"errors":[{"code":"DENIED","message":"no","detail":{"refusal":"NETWORK_REFUSED"}}]}"#;
    let denied = r#"{"errors":[{"code":"DENIED","message":"no role"}]}"#;
    for (status, header, body, refused, name) in [
        (400, "", "{}", true, UpstreamUnauthorized),
        (403, "", "{}", true, UpstreamUnauthorized),
        (403, "", denied, true, UpstreamDenied),
        (403, "", network, true, NetworkRefused),
        (
            400,
            "",
            r#"{"error":"invalid_target"}"#,
            false,
            UpstreamUnavailable,
        ),
        (404, "", "", false, UpstreamUnavailable),
        (429, "retry-after: 7", "", false, UpstreamRateLimited),
        (503, "", "", false, UpstreamUnavailable),
        (200, "", "{}", false, UpstreamUnavailable),
        (
            200,
            "",
            r#"{"refresh_token":"a b"}"#,
            false,
            UpstreamUnavailable,
        ),
        (
            307,
            "location: http://127.0.0.1:9/",
            "",
            false,
            UpstreamUnavailable,
        ),
    ] {
        let rig = Rig::new().await;
        let (authenticator, _) = rig.as_identity(0);
        rig.service.then(status, header, body);
        let got = authenticator
            .challenged(&rig.at_a_node(), &scopes("a/a"), None)
            .await;
        let (is_refused, refusal) = match got.unwrap_err() {
            Error::Refused { refusal, .. } => (true, refusal),
            Error::Away { refusal, .. } => (false, refusal),
        };
        assert_eq!((is_refused, refusal), (refused, name), "{status} {body}");
        assert_eq!(rig.paths().len(), 1);
    }
}

/// T48: an identity's token goes into the body of an exchange at a checked origin, and to nothing else that is offered.
#[tokio::test]
async fn t48_the_token_of_an_identity_is_never_basic_and_never_goes_elsewhere() {
    let rig = Rig::new().await;
    let thief = Rig::new().await;
    let (authenticator, _) = rig.as_identity(0);
    let app = scopes("a/a");
    for (line, name) in [
        (
            r#"Basic realm="x""#.to_owned(),
            Refusal::UpstreamUnauthorized,
        ),
        ("Negotiate".to_owned(), Refusal::UpstreamUnauthorized),
        (
            format!(r#"Bearer realm="http://{}/oauth2/token""#, thief.address),
            Refusal::UpstreamRealmRefused,
        ),
        (
            r#"Bearer realm="http://169.254.169.254/oauth2/token""#.to_owned(),
            Refusal::UpstreamRealmRefused,
        ),
    ] {
        let challenge = Challenge::parse([line.as_str()]);
        let error = authenticator.challenged(&challenge, &app, None).await;
        let (got, _, detail) = refusal(error.unwrap_err());
        assert_eq!(got, name, "{line}");
        if name == Refusal::UpstreamUnauthorized {
            assert!(detail.contains("no Bearer"), "{detail}");
        }
    }
    assert!(thief.service.seen().is_empty() && rig.service.seen().is_empty());
}

#[tokio::test]
async fn who_may_not_use_the_identity_any_more_does_not_use_its_tokens_either() {
    let rig = Rig::new().await;
    let (authenticator, source) = rig.as_identity(0);
    let app = scopes("a/a");
    authenticator
        .challenged(&rig.at_a_node(), &app, None)
        .await
        .unwrap();
    let away = token_source::Error::Away {
        detail: "the control plane is away".into(),
        retry_after: None,
    };
    *source.away.lock().unwrap() = Some(away.clone());
    assert!(authenticator.authorize(&app).await.unwrap().is_some());
    let error = authenticator.authorize(&scopes("b/b")).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Away {
                refusal: Refusal::IdentityTokenFailed,
                ..
            }
        ),
        "never anonymous: {error}"
    );
    let refused = token_source::Error::Refused {
        detail: "Entra answers 401: AADSTS7000215".into(),
        unheard: false,
    };
    *source.away.lock().unwrap() = Some(refused);
    let error = authenticator.authorize(&app).await.unwrap_err();
    let (name, _, detail) = refusal(error);
    assert_eq!(name, Refusal::UpstreamUnauthorized);
    assert!(detail.contains("AADSTS7000215"), "{detail}");
    *source.away.lock().unwrap() = Some(away);
    let error = authenticator.authorize(&app).await.unwrap_err();
    assert!(matches!(error, Error::Away { .. }), "not again: {error}");
    let gone = token_source::Error::NotAttached {
        detail: "not on this node".into(),
    };
    *source.away.lock().unwrap() = Some(gone);
    let error = authenticator.authorize(&app).await.unwrap_err();
    assert_eq!(refusal(error).0, Refusal::IdentityNotAttached);
}
