//! Tokens of issuers: where they may be shown, and how long what is given for them lasts.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use serde_json::{Value, json};
use wire::name::IssuerName;

use super::{
    outsiders::{Outsiders, Verified},
    *,
};

const ISS: &str = "https://issuer.example";

/// Knows one issuer, whose tokens it believes by their `sub` alone: `wrong` is not genuine, `away` cannot be asked about.
#[derive(Debug)]
struct One {
    name: &'static str,
    iss: &'static str,
    person: bool,
}

const CORP: One = One {
    name: "corp",
    iss: ISS,
    person: false,
};

#[async_trait]
impl Outsiders for One {
    async fn verify(&self, token: &Secret, now: WallTime) -> Result<Option<Verified>, Error> {
        let claims = token.expose().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL.decode(claims).unwrap()).unwrap();
        let Value::Object(claims) = claims else {
            unreachable!()
        };
        if claims["iss"] != self.iss {
            return Ok(None);
        }
        match claims["sub"].as_str().unwrap() {
            "wrong" => Err(Refused::Token.into()),
            "away" => Err(Error::Unavailable {
                what: "the issuer",
                source: "away".into(),
            }),
            _ => Ok(Some(Verified {
                principal: Principal::Workload {
                    issuer: self.name.parse().unwrap(),
                    claims: Arc::new(claims),
                },
                expires: now.plus(Duration::from_secs(600)),
                person: self.person,
            })),
        }
    }

    fn declares(&self, name: &IssuerName, iss: &str) -> bool {
        name.as_str() == self.name && iss == self.iss
    }
}

fn token(iss: &str, sub: &str) -> Secret {
    let parts = [
        json!({"alg": "RS256", "typ": "JWT"}),
        json!({"iss": iss, "sub": sub}),
    ];
    let [header, claims] = parts.map(|part| URL.encode(part.to_string()));
    Secret::new(format!("{header}.{claims}.c2ln"))
}

fn plain() -> (Authenticate, Clock, Tasks) {
    authenticate(&Arc::new(std::sync::Mutex::new("one".to_owned())))
}

#[tokio::test]
async fn an_issuers_token_is_a_password_under_any_user_and_may_be_exchanged() {
    let (authenticate, _clock, _tasks) = plain();
    let accounts = accounts(&["ci"]);
    let local = Local {
        outsiders: &CORP,
        ..at("a:1", &accounts)
    };
    let job = token(ISS, "job");
    for user in [
        "oidc",
        "00000000-0000-0000-0000-000000000000",
        "ci",
        "anybody",
        "",
    ] {
        let proven = authenticate.prove(local, user, &job, ORIGIN).await.unwrap();
        assert_eq!(proven.principal.to_string(), "issuer:corp:job", "{user}");
    }
    for proven in [
        authenticate.exchange(local, &job, ORIGIN).await.unwrap(),
        authenticate.subject(local, &job).await.unwrap(),
    ] {
        assert_eq!(proven.principal.to_string(), "issuer:corp:job");
        let issued = authenticate
            .issue(local, &proven, Bound::default())
            .unwrap();
        assert_eq!(issued.expires_in_seconds(), 3600);
    }
    // The data path takes this node's own tokens, and Basic.
    let bearer = Credentials::Bearer(job.clone());
    assert!(
        authenticate
            .caller(local, Some(&bearer), ORIGIN)
            .await
            .is_err()
    );
    let shown = basic("oidc", &job);
    let caller = authenticate
        .caller(local, Some(&shown), ORIGIN)
        .await
        .unwrap();
    assert_eq!(caller.principal.to_string(), "issuer:corp:job");
}

#[tokio::test]
async fn a_token_that_is_not_genuine_is_not_tried_as_a_password_and_one_that_cannot_be_checked_is_no_refusal()
 {
    let (authenticate, _clock, _tasks) = plain();
    let accounts = accounts(&["ci"]);
    let local = Local {
        outsiders: &CORP,
        ..at("a:1", &accounts)
    };
    for (sub, user) in [("wrong", "ci"), ("wrong", "oidc")] {
        let refused = authenticate
            .prove(local, user, &token(ISS, sub), ORIGIN)
            .await;
        assert!(matches!(refused, Err(Error::Refused(Refused::Token))));
    }
    let away = token(ISS, "away");
    for result in [
        authenticate.prove(local, "ci", &away, ORIGIN).await,
        authenticate.exchange(local, &away, ORIGIN).await,
        authenticate.subject(local, &away).await,
    ] {
        assert!(matches!(result, Err(Error::Unavailable { .. })));
    }
    let strange = token("https://stranger.example", "job");
    for result in [
        authenticate.exchange(local, &strange, ORIGIN).await,
        authenticate.subject(local, &strange).await,
    ] {
        assert!(matches!(result, Err(Error::Refused(Refused::Token))));
    }
    // However often: nobody's account is locked by it.
    for _ in 0..100 {
        let refused = authenticate.prove(local, "oidc", &strange, ORIGIN).await;
        assert!(matches!(refused, Err(Error::Refused(Refused::Token))));
    }
}

#[tokio::test]
async fn a_workloads_session_ends_with_its_token_and_a_persons_after_eight_hours() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for (person, lasts_for) in [(false, minutes(10)), (true, refresh::LIFE)] {
        let (authenticate, clock, _tasks) = plain();
        let accounts = accounts(&[]);
        let one = One { person, ..CORP };
        let local = Local {
            outsiders: &one,
            ..at("a:1", &accounts)
        };
        let job = token(ISS, "x");
        let proven = authenticate.exchange(local, &job, ORIGIN).await;
        let given = Given::to(&proven.unwrap(), &authenticate, local).await;
        let lasts = async || {
            let refreshed = authenticate.refreshed(local, &given.refresh, ORIGIN);
            refreshed.await.is_ok()
        };
        clock.advance(lasts_for - Duration::from_secs(1));
        assert!(lasts().await);
        clock.advance(Duration::from_secs(1));
        assert!(!lasts().await);
    }
}

/// T38: an issuer that is gone, or is now somebody else under its name.
#[tokio::test]
async fn what_was_given_for_an_issuers_token_ends_when_the_issuer_is_not_declared_any_more() {
    let (authenticate, _clock, _tasks) = plain();
    let accounts = accounts(&[]);
    let with = |outsiders: &'static dyn Outsiders| Local {
        outsiders,
        ..at("a:1", &accounts)
    };
    let job = token(ISS, "x");
    let proven = authenticate.exchange(with(&CORP), &job, ORIGIN).await;
    let given = Given::to(&proven.unwrap(), &authenticate, with(&CORP)).await;
    let moved: &'static One = &One {
        iss: "https://other.example",
        ..CORP
    };
    let renamed: &'static One = &One {
        name: "other",
        ..CORP
    };
    for (local, counts) in [
        (with(&CORP), true),
        (with(&outsiders::Nobody), false),
        (with(moved), false),
        (with(renamed), false),
        (with(&CORP), true),
    ] {
        assert_eq!(given.counts(&authenticate, local).await, counts);
    }
}
